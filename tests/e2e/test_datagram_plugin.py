"""The plugin `datagram`: an echo, and a receiver of syslog messages (RFC 5424)."""

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import threading

import pytest
from support import clients, manifests

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]

WHOLE = '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 '
LINE = re.compile(r"(?P<received>\S+) (?P<sender>\S+) (?P<kind>\S+) (?P<rest>.*)")


@pytest.fixture
def run_datagram(run_host, tmp_path, system):
    """run_datagram(…) serves a syslog receiver and an echo; .file is what the first writes."""

    def run(host=None, address="127.0.0.1:0", folder=tmp_path, environment=None, **config):
        file = folder / "messages ü.log"
        common = {"plugin": "datagram", "transport": "udp",
                  "socket": {"receive_buffer_bytes": 4194304}}
        listeners = {
            "syslog": {**common, "address": address,
                       "config": {"mode": "syslog", "file": system.path(file), **config}},
            "echo": {**common, "address": "127.0.0.1:0"},
        }
        running = run_host(manifests.manifest(listeners, **(host or {})), environment=environment)
        running.file = file
        return running

    return run


def udp(family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(2)
    return sock


def lines_of(host):
    if not host.file.exists():
        return []
    return host.file.read_text(encoding="utf-8").split("\n")[:-1]


def receives(host, *datagrams):
    """Sends them, one after the other has come into the file; what then stands there for each,
    without time and sender."""
    found = []
    with udp() as sock:
        sock.bind(("127.0.0.1", 0))
        for data in datagrams:
            count = len(lines_of(host))
            sock.sendto(data if isinstance(data, bytes) else data.encode(), host.address("syslog"))
            clients.wait_until(lambda: len(lines_of(host)) > count, f"a line for {data!r}")
            (line,) = lines_of(host)[count:]
            match = LINE.fullmatch(line)
            assert match and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", match["received"])
            assert match["sender"] == "{}:{}".format(*sock.getsockname())
            found.append(f"{match['kind']} {match['rest']}")
    return found


# -- echo --------------------------------------------------------------------------------------------


def ask(sock, address, data):
    for _ in range(30):
        sock.sendto(data, address)
        try:
            return sock.recv(65536)
        except TimeoutError:
            continue
    raise AssertionError("no answer")


def test_datagram_echo_sends_back_what_comes(run_datagram):
    host = run_datagram()
    with udp() as sock:
        for data in (b"x", b"", bytes(range(256)) * 16):
            assert ask(sock, host.address("echo"), data) == data


def test_datagram_echo_answers_nothing_that_is_cut_off(run_datagram):
    host = run_datagram(host={"buffers": {"bytes": 4096}})
    with udp() as sock:
        sock.sendto(bytes(4097), host.address("echo"))
        assert ask(sock, host.address("echo"), b"x") == b"x"
        host.wait_for_log("echo: 1 datagrams not echoed")


def test_datagram_echo_sends_back_the_longest_there_is(run_datagram):
    host = run_datagram(host={"buffers": {"bytes": 65536}})
    with udp() as sock:
        data = clients.random_bytes(65507, seed=71)
        assert ask(sock, host.address("echo"), data) == data


def test_datagram_echo_answers_no_service(run_datagram):
    """Two services that answer each other would never end."""
    host = run_datagram()
    with udp() as service, udp() as sock:
        for port in range(1023, 511, -1):
            with contextlib.suppress(OSError):
                service.bind(("127.0.0.1", port))
                break
        if service.getsockname()[1] == 0:
            pytest.skip("no port of a service can be had here")
        service.sendto(b"x", host.address("echo"))
        host.wait_for_log("echo: 1 datagrams not echoed")
        assert ask(sock, host.address("echo"), b"y") == b"y"
        service.settimeout(0.1)
        with pytest.raises(TimeoutError):
            service.recv(1)


# -- syslog ------------------------------------------------------------------------------------------


def test_datagram_syslog_writes_a_line_a_message(run_datagram):
    host = run_datagram()
    fields = "2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47"
    data = '[a@1 x="1" y="\\"\\]"][b@2]'
    assert receives(
        host, WHOLE + "- hello", WHOLE + data + " and more", WHOLE + "-", WHOLE + "- ",
        "<0>1 - - - - - -", "<191>1 2024-02-29T00:00:00+23:59 h a p m - x\n",
        WHOLE + "- \ufeffgrüße",
    ) == [
        f"local4.notice {fields} - hello", f"local4.notice {fields} {data} and more",
        f"local4.notice {fields} - ", f"local4.notice {fields} - ",
        "kern.emerg - - - - - - ", "local7.debug 2024-02-29T00:00:00+23:59 h a p m - x",
        f"local4.notice {fields} - grüße",
    ]


ESCAPED = [
    (b"two\nlines", r"two\x0alines"),
    (b"nul\0 and \x1b[31mred", r"nul\x00 and \x1b[31mred"),
    (b"cr\r\n\n", r"cr\x0d\x0a"),
    (rb"a\x0a backslash", r"a\\x0a backslash"),
    (b"\xff\xc3 bad", r"\xff\xc3 bad"),
    ("c1 \x85, lines \u2028 \u2029".encode(), r"c1 \xc2\x85, lines \xe2\x80\xa8 \xe2\x80\xa9"),
    ("\u202etxet\u202c \u2066x\u2069".encode(),
     r"\xe2\x80\xaetxet\xe2\x80\xac \xe2\x81\xa6x\xe2\x81\xa9"),
]


def test_datagram_syslog_text_makes_no_lines_of_its_own(run_datagram):
    host = run_datagram()
    lines = receives(host, *(WHOLE.encode() + b"- " + text for text, _ in ESCAPED))
    for line, (_, written) in zip(lines, ESCAPED, strict=True):
        assert line.endswith(f"ID47 - {written}")


MALFORMED = [
    b"", b"x", b"<", b"<13", b"<13>", b"<192>1 - - - - - -", b"<013>1 - - - - - -", b"<>1 - - - - - -",
    b"<13>Oct 11 22:14:15 mymachine su: of RFC 3164", b"<13>2 - - - - - -", b"<13>01 - - - - - -",
    b"<13>1", b"<13>1 - - - - -", b"<13>1 - - - - - ", b"<13>1  - - - - -", b"<13>1 - - - - - x",
    b"<13>1 2003-13-11T22:14:15Z - - - - -", b"<13>1 2003-02-29T22:14:15Z - - - - -",
    b"<13>1 2003-10-11T22:14:60Z - - - - -", b"<13>1 2003-10-11T22:14:15 - - - - -",
    b"<13>1 2003-10-11T22:14:15.1234567Z - - - - -", b"<13>1 2003-10-11t22:14:15z - - - - -",
    b"<13>1 - " + b"h" * 256 + b" - - - -", b"<13>1 - - " + b"a" * 49 + b" - - -",
    b"<13>1 - h\xc3\xa9 - - - -", b"<13>1 - - - - - [", b"<13>1 - - - - - []", b"<13>1 - - - - - [a",
    b"<13>1 - - - - - [a x]", b'<13>1 - - - - - [a x="]', b'<13>1 - - - - - [a x="]"]',
    b'<13>1 - - - - - [a x="\xff"]', b"<13>1 - - - - - [" + b"a" * 33 + b"]", b"<13>1 - - - - - -x",
    b"<13>1 - - - - - [a][a]", b'<13>1 - - - - - [a x="1"][b][a x="2"] text',
    b"<13>1 - - - - - " + b"".join(b"[%d]" % number for number in range(257)),
    b"<13>1 - - - - - [a]x", b"<13>1 - - - - - - \xef\xbb\xbf\xff", b"\n\n\n", bytes(2000),
]


def test_datagram_syslog_takes_much_structured_data(run_datagram):
    data = "".join(f"[{number}]" for number in range(256))
    other = '[aa b="1"][a b="1"][ab b="1"][A b="1"]'
    lines = receives(run_datagram(), WHOLE + data, WHOLE + other)
    assert lines[0].endswith(f" ID47 {data} ") and lines[1].endswith(f" ID47 {other} ")


def test_datagram_syslog_survives_noise(run_datagram):
    """Of every size, whole messages among it; what is written is text, a line for each."""
    host = run_datagram(host={"buffers": {"bytes": 65536}})
    with udp() as sock:
        for number in range(96):
            noise = clients.random_bytes(1 << number % 16, seed=number)
            sock.sendto(noise if number % 3 else WHOLE.encode() + b"- " + noise, host.address("syslog"))
            with udp() as other:
                other.sendto(noise, host.address("echo"))
        assert ask(sock, host.address("echo"), b"x") == b"x"

        def there():
            sock.sendto((WHOLE + "- after").encode(), host.address("syslog"))
            return any(line.endswith("- after") for line in lines_of(host))

        clients.wait_until(there, "the last one")
    for line in lines_of(host):
        assert LINE.fullmatch(line), line
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line), line


def test_datagram_syslog_keeps_what_is_malformed_as_that(run_datagram):
    host = run_datagram()
    for data, line in zip(MALFORMED, receives(host, *MALFORMED), strict=True):
        beginning = "malformed - - - - - - "
        assert line.startswith(beginning), data
        assert len(re.sub(r"\\x..", ".", line[len(beginning):]).encode()) == len(data)
    host.wait_for_log("syslog: 1 datagrams were no syslog messages of RFC 5424")


def test_datagram_syslog_writes_to_a_long_path(run_datagram, tmp_path):
    """Longer than the 260 characters that a path of Windows may have without more ado."""
    folder = tmp_path.joinpath(*("d" * 100 for _ in range(4)))
    folder.mkdir(parents=True)
    (line,) = receives(run_datagram(folder=folder), WHOLE + "- hello")
    assert line.endswith("- hello")


def test_datagram_syslog_drops_what_is_malformed_where_that_is_wanted(run_datagram):
    host = run_datagram(malformed="drop")
    with udp() as sock:
        for _ in range(50):
            sock.sendto(b"noise", host.address("syslog"))
    host.wait_for_log("were no syslog messages")
    (line,) = receives(host, WHOLE + "- hello")
    assert line.endswith("- hello")
    host.stop()
    assert host.log().count("were no syslog messages") <= 2, "it is told rarely, and at the end"


def test_datagram_syslog_marks_what_is_cut_off(run_datagram):
    host = run_datagram(host={"buffers": {"bytes": 4096}})
    long = (WHOLE + "- \ufeff").encode() + "é".encode() * 3000
    lines = receives(host, long, long.replace(b"- \xef", b"- x\xef"), bytes(5000))
    assert [line.split()[0] for line in lines] == [
        "local4.notice+truncated", "local4.notice+truncated", "malformed+truncated"]
    assert lines[0].endswith("é")


def test_datagram_syslog_takes_a_flood_and_loses_nothing_unsaid(run_datagram, system):
    """Every message is in the file once, or the system lost it before; in the order of its sender where
    one receive at a time is under way."""
    host = run_datagram(host={"workers": 2}, queue_max_bytes=16777216)
    senders, count = 3, 3000

    def send(number):
        with udp() as sock:
            for turn in range(count):
                sock.sendto(f"<13>1 - - - - - - {number} {turn}".encode(), host.address("syslog"))

    clients.in_threads([lambda n=number: send(n) for number in range(senders)])
    receives_one = WHOLE + "- the last"
    with udp() as sock:
        def there():
            sock.sendto(receives_one.encode(), host.address("syslog"))
            return "the last" in host.file.read_text(encoding="utf-8")
        clients.wait_until(there, "the last one")
    host.stop()
    came = {number: [] for number in range(senders)}
    for line in lines_of(host):
        if "user.notice" in line:
            number, turn = map(int, line.split()[-2:])
            came[number].append(turn)
    for turns in came.values():
        assert len(turns) == len(set(turns)) and len(turns) > count // 100
        assert system.is_windows or turns == sorted(turns)


def test_datagram_syslog_writes_what_it_accepted_before_it_stops(run_datagram):
    host = run_datagram(host={"workers": 2}, queue_max_bytes=67108864)
    stopping = threading.Event()
    address = host.address("syslog")

    def send():
        with udp() as sock:
            while not stopping.is_set():
                sock.sendto(b"<13>1 - - - - - - again and again", address)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        clients.wait_until(lambda: len(lines_of(host)) > 100, "lines")
        host.stop()
    finally:
        stopping.set()
        sending.join()
    lines = lines_of(host)
    assert host.file.read_bytes().endswith(b"\n")
    assert all(line.endswith("- again and again") for line in lines)
    assert "dropped" not in host.log() and "lost" not in host.log()


def test_datagram_syslog_makes_a_file_that_was_moved_away_again(run_datagram):
    host = run_datagram()
    for turn in range(3):
        assert len(receives(host, WHOLE + f"- {turn}")) == 1
        moved = host.file.with_suffix(f".{turn}")
        host.file.rename(moved)
        assert moved.read_text(encoding="utf-8").endswith(f"- {turn}\n")


def come(berth, host):
    """How many datagrams the syslog listener has received: the system may lose some before."""
    result = berth("status", "--json", "--manifest", host.manifest_path)
    listeners = json.loads(result.output)["result"]["listeners"]
    (syslog,) = [one for one in listeners if one["name"] == "syslog"]
    return syslog["counters"]["datagrams_received"]


@pytest.mark.linux("there is no preloading")
@pytest.mark.plain("the library is not built for sanitizers")
def test_datagram_syslog_overload_is_counted_and_told(run_datagram, berth, system, tmp_path):
    library = system.fixtures / "preload" / "hold-files.so"
    hold = tmp_path / "hold"
    host = run_datagram(host={"name": f"overload-{system.name}"}, queue_max_bytes=524288,
                        environment={"LD_PRELOAD": str(library), "BERTH_HOLD_FILES": str(hold)})
    hold.touch()
    text = b"x" * 3000
    count = itertools.count()
    with udp() as sock:

        def send_more():
            for _ in range(100):
                message = b"<13>1 - - - - - - %d " % next(count) + text
                sock.sendto(message, host.address("syslog"))
            assert ask(sock, host.address("echo"), b"x") == b"x", "others are served"
            return come(berth, host) > 1000  # the queue, twice what is being written, and more

        clients.wait_until(send_more, "more messages than the queue takes")
    hold.unlink()
    host.wait_for_log("messages dropped: they came faster than they could be written")
    host.stop()
    lines = host.file.read_text(encoding="utf-8").splitlines()
    dropped = [line for line in lines if re.search(r" - dropped - - - - - - [1-9]\d* messages$", line)]
    numbers = [int(line.split()[-2]) for line in lines if "user.notice" in line]
    assert dropped and numbers == sorted(set(numbers))
    assert len(dropped) + len(numbers) == len(lines)


def test_datagram_syslog_survives_a_disk_that_fails(run_datagram, system):
    host = run_datagram()
    receives(host, WHOLE + "- before")
    host.file.unlink()
    host.file.mkdir()
    with udp() as sock:
        sock.sendto((WHOLE + "- lost").encode(), host.address("syslog"))
        host.wait_for_log("cannot be written: ")
        host.wait_for_log("syslog: 1 messages lost")
        host.file.rmdir()
        (line,) = receives(host, WHOLE + "- after")
        assert line.endswith("- after")
        host.wait_for_log("is written again")


def test_datagram_syslog_serves_logger(run_datagram):
    """The client of util-linux."""
    program = shutil.which("logger")
    if not program:
        pytest.skip("there is no logger here")
    host = run_datagram()
    address, port = host.address("syslog")
    subprocess.run(
        [program, "--udp", "--rfc5424", "-n", address, "-P", str(port), "-p", "local3.warning",
         "-t", "a-tag", "--id=4711", "--msgid", "MSG1", "--sd-id", "zoo@123", "--sd-param",
         'tiger="hungry"', "the words, ünd möre"],
        check=True, timeout=clients.WAIT_S,
    )
    clients.wait_until(lambda: lines_of(host), "the line")
    (line,) = lines_of(host)
    assert re.search(
        r' local3\.warning \d{4}-\S+ \S+ a-tag 4711 MSG1 \[.*\[zoo@123 tiger="hungry"\] the words, ünd möre$',
        line), line


@pytest.mark.parametrize("config, code, message", [
    ({"mode": "syslog"}, 78, '/config: the key "file" is missing'),
    ({"mode": "echo", "file": "x"}, 78, "/config/file: nothing is allowed here"),
    ({"file": "x"}, 78, '"mode" is "echo", without a "file"'),
    ({"mode": "syslog", "file": "no-folder/x"}, 78, "no-folder is no folder, and the file is to be in it"),
    ({"mode": "chargen"}, 78, '/mode: expected "echo" or "syslog"'),
    ({"mode": "syslog", "file": "x", "malformed": "fix"}, 78, '/malformed: expected "keep" or "drop"'),
    ({"queue_max_bytes": 1}, 78, "/queue_max_bytes: expected a whole number from 524288"),
])
def test_datagram_tells_what_is_wrong_with_its_configuration(fail_to_start, config, code, message):
    listener = {"address": "127.0.0.1:0", "plugin": "datagram", "transport": "udp", "config": config}
    result = fail_to_start(manifests.manifest({"l": listener}))
    assert result.code == code and message in result.errors, result


# -- files that others put in the way ------------------------------------------------------------------


def _link(victim, path):
    path.symlink_to(victim)


def _second_name(victim, path):
    path.hardlink_to(victim)


def _pipe(victim, path):
    os.mkfifo(path)


def _device(victim, path):
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def _link_of_another(victim, path):
    """The folder of the file, as a link of a user who is neither root nor the host's."""
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to(victim.parent)
    os.lchown(path.parent, 65534, 65534)


@pytest.mark.linux("only root can make devices and give files away, and Wine follows Linux's links")
@pytest.mark.parametrize("put, says", [
    (_link, "it is a symbolic link"), (_second_name, "it has a second name"),
    (_pipe, "it is a FIFO, a device or a socket"), (_device, "it is a FIFO, a device or a socket"),
    (_link_of_another, "a folder of its path"),
], ids=["link", "second-name", "pipe", "device", "link-of-another"])
def test_datagram_syslog_writes_to_nothing_but_its_file(run_datagram, fail_to_start, tmp_path, put, says):
    """Whoever may write to the folder exchanges the file, before the start and while the host runs."""
    if os.geteuid() != 0:
        pytest.skip("only root can make devices and give files away, and Wine follows Linux's links")
    folder = tmp_path / "logs"
    folder.mkdir()
    victim = tmp_path / "victims" / "messages ü.log"
    victim.parent.mkdir()
    victim.write_text("precious\n", encoding="utf-8")
    host = run_datagram(folder=folder)
    host.file.unlink()
    put(victim, host.file)
    with udp() as sock:
        sock.sendto(b"<13>1 - - - - - - lost", host.address("syslog"))
        host.wait_for_log(f"cannot be written: {says}" if "folder" not in says else says)
        assert ask(sock, host.address("echo"), b"x") == b"x"
    manifest = json.loads(host.manifest_file.read_text(encoding="utf-8"))
    host.stop()
    assert victim.read_text(encoding="utf-8") == "precious\n"
    assert says in fail_to_start(manifest).errors
    assert victim.read_text(encoding="utf-8") == "precious\n"
