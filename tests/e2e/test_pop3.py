"""The plugin `pop3`: what RFC 1939 and RFC 2449 say, spoken by hand."""

import hashlib
import socket

import pytest
from support import clients, pop3

MIB = 1024 * 1024

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]


@pytest.mark.quick
def test_pop3_serves_a_whole_session(run_pop3, mail):
    uids = [mail.deliver("ann"), mail.deliver("ann", flags="S"), mail.deliver("ann")]
    data = [pop3.as_sent(pop3.MAIL % number) for number in (1, 2, 3)]
    sizes = [len(one) for one in data]
    with pop3.session(run_pop3()) as session:
        assert session.greeting == "+OK POP3 ready"
        session.log_in()
        assert session.ok("STAT") == f"3 {sum(sizes)}"
        assert session.listing("LIST") == [f"{i + 1} {size}" for i, size in enumerate(sizes)]
        assert session.ok("LIST 2") == f"2 {sizes[1]}"
        assert session.listing("UIDL") == [f"{i + 1} {uid}" for i, uid in enumerate(uids)]
        assert session.ok("UIDL 3") == f"3 {uids[2]}"
        for number, one in enumerate(data, 1):
            assert session.ok("RETR", number) == f"{len(one)} octets"
            assert session.body() == one
        session.ok("DELE 2")
        session.refused("DELE 2")
        session.refused("RETR 2")
        assert session.listing("LIST") == [f"1 {sizes[0]}", f"3 {sizes[2]}"]
        assert session.ok("STAT") == f"2 {sizes[0] + sizes[2]}"
        session.ok("RSET")
        assert session.ok("STAT") == f"3 {sum(sizes)}"
        session.ok("NOOP")
        session.ok("DELE 1")
        assert mail.messages("ann") == sorted(uids), "nothing is removed before QUIT"
        session.ok("QUIT")
        session.wait_closed()
        assert mail.messages("ann") == sorted(uids[1:])


def test_pop3_takes_commands_however_they_are_written(run_pop3, mail):
    mail.deliver("ann")
    with pop3.session(run_pop3()) as session:
        session.ok("user ann ")
        session.ok("pAsS secret")
        session.send(b"stat\n")
        assert session.line() == f"+OK 1 {len(pop3.as_sent(pop3.MAIL % 1))}"
        session.listing("list ")
        session.ok("quit")


def test_pop3_tells_what_it_can(run_pop3):
    expected = {"TOP", "USER", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER",
                "IMPLEMENTATION Berth"}
    with pop3.session(run_pop3()) as session:
        assert set(session.listing("CAPA")) == expected
        session.log_in()
        assert set(session.listing("CAPA")) == expected


EMPTY = b""
MESSAGES = [
    EMPTY,
    b"\n",
    b"a",
    b"a\r",
    b"a\r\nb\nc\r\n",
    b"a\rb\r\r\nc",
    b".\n..\n.a\n...\r\n.",
    b"Subject: zero\n\n\0\0\n\xff\xfe",
    b"Subject: x\n\n" + b"x" * 100000 + b"\n",
    b"h: 1\n\n" + b".\n" * 40000,
    b"h: 1\n\n" + b"\n" * 40001,
    b"." * 16384 + b"\n." + b"y" * 16380 + b"\r\n.",
    b"z" * 16383 + b"\r\n." + b"z" * 16381 + b"\r",
]


def _on_the_wire(data):
    """By another way than the plugin: line by line."""
    lines = data.split(b"\n")
    rest = lines.pop()
    sent = b"".join((line[:-1] if line.endswith(b"\r") else line) + b"\r\n" for line in lines)
    return sent + (rest[:-1] if rest.endswith(b"\r") else rest) + (b"\r\n" if rest else b"")


def test_pop3_announces_what_it_sends_to_the_byte(run_pop3, mail):
    for data in MESSAGES:
        mail.deliver("ann", data)
    with pop3.session(run_pop3()) as session:
        session.log_in()
        sizes = [int(line.split()[1]) for line in session.listing("LIST")]
        for number, data in enumerate(MESSAGES, 1):
            assert session.ok("RETR", number) == f"{sizes[number - 1]} octets"
            assert session.body() == _on_the_wire(data)
            assert len(_on_the_wire(data)) == sizes[number - 1]
        assert session.ok("STAT") == f"{len(MESSAGES)} {sum(sizes)}"


@pytest.mark.parametrize("lines, expected", [
    (0, b"a: 1\r\nb: 2\r\n\r\n"),
    (1, b"a: 1\r\nb: 2\r\n\r\none\r\n"),
    (2, b"a: 1\r\nb: 2\r\n\r\none\r\n.two\r\n"),
    (99, b"a: 1\r\nb: 2\r\n\r\none\r\n.two\r\n\r\nfour\r\n"),
    (99999999999, b"a: 1\r\nb: 2\r\n\r\none\r\n.two\r\n\r\nfour\r\n"),
])
def test_pop3_sends_the_top_of_a_message(run_pop3, mail, lines, expected):
    mail.deliver("ann", b"a: 1\nb: 2\n\none\n.two\n\nfour")
    with pop3.session(run_pop3()) as session:
        session.log_in()
        session.ok("TOP 1", lines)
        assert session.body() == expected
        session.ok("NOOP")


def test_pop3_streams_a_large_message_at_the_pace_of_the_client(run_pop3, mail, system):
    size = 64 * MIB if system.measures_memory else 8 * MIB
    line = clients.random_bytes(36, seed=61).hex().encode() + b"\r\n"
    data = b"Subject: large\r\n\r\n" + line * (size // len(line))
    mail.deliver("ann", data)
    host = run_pop3(limits={"send_queue_bytes": 65536})
    with pop3.session(host) as session:
        session.log_in()
        before = host.memory_bytes()
        session.ok("RETR 1")
        with pop3.session(host) as other:
            other.ok("CAPA")  # one that does not read keeps nobody waiting
        if system.measures_memory:
            assert host.memory_bytes() - before < 16 * MIB
        assert hashlib.sha256(session.body()).digest() == hashlib.sha256(data).digest()
        session.ok("QUIT")


def test_pop3_lists_thousands_of_messages(run_pop3, mail, system):
    count = 1000 if system.is_sanitized or system.is_windows else 5000
    uids = [mail.deliver("ann", b"x\n") for _ in range(count)]
    with pop3.session(run_pop3(limits={"send_queue_bytes": 8192})) as session:
        session.log_in()
        assert session.ok("STAT") == f"{count} {3 * count}"
        for _ in range(2):
            assert session.listing("UIDL") == [f"{i + 1} {uid}" for i, uid in enumerate(uids)]
            assert session.listing("LIST") == [f"{i + 1} 3" for i in range(count)]


def test_pop3_names_messages_the_same_in_every_session(run_pop3, mail):
    names = ["1700000001.a", "1700000002.b" + "x" * 70, "1700000003.ü", "1700000004.c d"]
    for name in names:
        mail.deliver("ann", unique=name)
    host = run_pop3()
    with pop3.logged_in(host) as session:
        first = session.listing("UIDL")
        assert [session.ok("UIDL", i + 1) for i in range(4)] == first
        session.ok("QUIT")
    for path in mail.files("ann"):
        path.rename(path.parent.parent / "cur" / f"{path.name}{mail.separator}2,RS")
    with pop3.logged_in(host) as session:
        assert session.listing("UIDL") == first
    uids = [line.split(" ", 1)[1] for line in first]
    assert uids[0] == names[0]
    assert uids[1:] == [hashlib.md5(name.encode()).hexdigest() for name in names[1:]]


def test_pop3_shows_messages_of_the_same_name_as_the_several_that_they_are(run_pop3, mail):
    """No Maildir should have them; where one has, each is there once, and the right one is removed."""
    box = mail.folder / "ann"
    texts = {}
    for name in ("new/1.x", "cur/1.x", f"cur/1.x{mail.separator}2,S", f"cur/2.y{mail.separator}2,S",
                 f"cur/2.y{mail.separator}2,RS"):
        texts[name] = f"this is {name}\n".encode()
        (box / name).write_bytes(texts[name])
    host = run_pop3()
    with pop3.logged_in(host) as session:
        uids = dict(line.split(" ") for line in session.listing("UIDL"))
        assert len(uids) == len(set(uids.values())) == 5
        bodies = []
        for number in uids:
            session.ok("RETR", number)
            bodies.append(session.body())
        assert sorted(bodies) == sorted(pop3.as_sent(text) for text in texts.values())
        session.ok("QUIT")
    gone = bodies[2]
    with pop3.logged_in(host) as session:
        assert dict(line.split(" ") for line in session.listing("UIDL")) == uids
        session.ok("DELE 3")
        kept = next(path for path in mail.files("ann") if pop3.as_sent(path.read_bytes()) == bodies[1])
        kept.rename(box / "tmp" / "away")  # somebody takes another: none is removed in its place
        session.ok("DELE 2")
        session.ok("QUIT")
    left = sorted(pop3.as_sent(path.read_bytes()) for path in mail.files("ann"))
    assert left == sorted(body for body in bodies if body not in (gone, bodies[1]))


def test_pop3_serves_a_mailbox_with_a_long_path(run_pop3, mail):
    """Longer than the 260 characters that a path of Windows may have without more ado."""
    name = "/".join("d" * 100 for _ in range(4))
    for part in ("new", "cur", "tmp"):
        (mail.folder / name / part).mkdir(parents=True)
    (mail.folder / name / "new" / "1.x").write_bytes(b"hello\n")
    with mail.users.open("a", encoding="utf-8") as file:
        file.write(f"deep:{pop3.hashed('secret')}:{name}\n")
    with pop3.session(run_pop3()) as session:
        session.log_in("deep")
        session.ok("RETR 1")
        assert session.body() == b"hello\r\n"
        session.ok("DELE 1")
        session.ok("QUIT")
    assert mail.messages(name) == []


def test_pop3_finds_messages_that_others_move(run_pop3, mail):
    mail.deliver("ann", b"one\n")
    mail.deliver("ann", b"two\n", flags="")
    mail.deliver("ann", b"three\n")
    with pop3.session(run_pop3()) as session:
        session.log_in()
        for path in mail.files("ann")[:2]:
            base = path.name.split(mail.separator)[0]
            path.rename(path.parent.parent / "cur" / f"{base}{mail.separator}2,S")
        for number, text in enumerate((b"one\r\n", b"two\r\n", b"three\r\n"), 1):
            session.ok("RETR", number)
            assert session.body() == text
            session.ok("DELE", number)
        for path in mail.files("ann"):
            base = path.name.split(mail.separator)[0]
            path.rename(path.parent.parent / "cur" / f"{base}{mail.separator}2,FS")
        session.ok("QUIT")
    assert mail.messages("ann") == []


def test_pop3_says_when_others_have_removed_a_message(run_pop3, mail):
    mail.deliver("ann")
    kept = mail.deliver("ann")
    with pop3.session(run_pop3()) as session:
        session.log_in()
        mail.files("ann")[0].unlink()
        assert "not there any more" in session.refused("RETR 1")
        session.ok("DELE 1")
        session.ok("QUIT")
    assert mail.messages("ann") == [kept]


def test_pop3_says_when_messages_cannot_be_removed(run_pop3, mail):
    stuck, _ = mail.deliver("ann"), mail.deliver("ann")
    host = run_pop3()
    with pop3.session(host) as session:
        session.log_in()
        session.ok("DELE 1")
        session.ok("DELE 2")
        path = mail.files("ann")[0]
        path.unlink()
        path.mkdir()
        (path / "inside").touch()
        assert "some deleted messages are not removed" in session.refused("QUIT")
        session.wait_closed()
    assert mail.messages("ann") == [stuck]
    host.wait_for_log("1 deleted messages could not be removed")


# -- one session at a time ---------------------------------------------------------------------------


def test_pop3_gives_a_mailbox_to_one_session_at_a_time(run_pop3, mail):
    mail.add_user("bob")
    one, two = run_pop3(), run_pop3()
    with pop3.session(one) as first:
        first.log_in()
        for host in (one, two):
            with pop3.session(host) as second:
                second.ok("USER ann")
                assert second.refused("PASS secret").startswith("[IN-USE]")
                second.log_in("bob")
                second.ok("QUIT")
        first.ok("QUIT")
    with pop3.session(two) as session:
        session.log_in()  # free by the time QUIT is answered
        session.reset()
    with pop3.logged_in(one) as session:
        session.ok("STAT")


def test_pop3_leaves_no_lock_when_the_host_is_killed(run_pop3):
    host, other = run_pop3(), run_pop3()
    with pop3.session(host) as session:
        session.log_in()
        host.process.kill()
        host.process.wait()
        host.stop = lambda: None  # it has not come to a good end
        with pop3.logged_in(other) as session:
            session.ok("QUIT")


# -- many commands at once -----------------------------------------------------------------------------


def test_pop3_answers_in_order_what_is_sent_ahead(run_pop3, mail):
    uids = [mail.deliver("ann") for _ in range(3)]
    data = pop3.as_sent(pop3.MAIL % 1)
    with pop3.session(run_pop3()) as session:
        session.send(b"USER ann\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nUIDL\r\nDELE 1\r\nRETR 1\r\n"
                     b"NOOP\r\nTOP 2 0\r\nQUIT\r\nNOOP\r\n")
        session.sock.shutdown(socket.SHUT_WR)
        assert session.line().startswith("+OK")
        assert session.line().startswith("+OK")
        assert session.line() == f"+OK 3 {3 * len(data)}"
        assert session.line() == f"+OK {len(data)} octets"
        assert session.body() == data
        assert session.line().startswith("+OK")
        assert len(session.body().splitlines()) == 3
        assert session.line().startswith("+OK")
        assert session.line().startswith("-ERR")
        assert session.line() == "+OK"
        assert session.line().startswith("+OK")
        assert session.body().startswith(b"From: ")
        assert session.line() == "+OK goodbye"
        session.wait_closed()
    assert mail.messages("ann") == uids[1:]


def test_pop3_answers_thousands_of_commands_sent_ahead(run_pop3, mail):
    mail.deliver("ann", b"x\n")
    with pop3.session(run_pop3()) as session:
        session.log_in()
        with clients.Writer(session.sock, [b"NOOP\r\nLIST 1\r\nRETR 1\r\n\r\n" * 3000]):
            for _ in range(3000):
                assert session.line() == "+OK"
                assert session.line() == "+OK 1 3"
                assert session.line() == "+OK 3 octets"
                assert session.body() == b"x\r\n"
                assert session.line() == "-ERR unknown command"
        session.ok("QUIT")


# -- ends ----------------------------------------------------------------------------------------------


def test_pop3_logs_out_who_is_silent_and_removes_nothing(run_pop3, mail):
    uid = mail.deliver("ann")
    host = run_pop3({"autologout_ms": 5000})
    with pop3.logged_in(host) as session:
        session.ok("DELE 1")
        session.wait_closed()
    assert mail.messages("ann") == [uid]
    host.wait_for_log("logged out: silent for too long")
    with pop3.logged_in(host) as session:
        assert session.ok("STAT").startswith("1 ")


@pytest.mark.parametrize("end", ["silent", "too long", "half-closed"])
def test_pop3_gives_the_mailbox_back_though_the_client_keeps_its_connection(run_pop3, mail, end):
    mail.deliver("ann")
    config = {"autologout_ms": 2500} if end == "silent" else {}
    host = run_pop3(config, close_timeout_ms=600000)
    with pop3.logged_in(host) as session:
        session.ok("DELE 1")
        if end == "too long":
            session.send(b"x" * 300)
        elif end == "half-closed":
            session.sock.shutdown(socket.SHUT_WR)
        with pop3.logged_in(host) as other:
            assert other.ok("STAT").startswith("1 ")
            other.ok("QUIT")
    assert len(mail.messages("ann")) == 1


def test_pop3_keeps_who_is_logged_in_whatever_the_listener_takes_for_idle(run_pop3):
    host = run_pop3(idle_timeout_ms=3000)
    with pop3.session(host) as silent, pop3.session(host) as session:
        session.log_in()
        silent.wait_closed()
        with pop3.session(host) as another:
            another.wait_closed()
        session.ok("NOOP")


def test_pop3_cuts_who_does_not_log_in(run_pop3):
    host = run_pop3({"login_timeout_ms": 500})
    with pop3.session(host) as session:
        clients.send_quietly(session.sock, b"USER ann\r\n")
        clients.wait_ended(session.sock)
    host.wait_for_log("not logged in for too long")


def test_pop3_stops_politely(run_pop3, mail):
    mail.deliver("ann")
    host = run_pop3()
    with pop3.session(host) as waiting, pop3.session(host) as session:
        session.log_in()
        session.ok("DELE 1")
        host.interrupt()
        assert waiting.line() == "-ERR [SYS/TEMP] the server stops, try again later"
        waiting.wait_closed()
        session.ok("NOOP")
        session.ok("QUIT")
    assert host.wait() == 0
    assert mail.messages("ann") == []


def test_pop3_says_when_it_is_busy(run_pop3):
    host = run_pop3(limits={"connections": 1}, accept={"at_limit": "refuse"})
    with pop3.session(host), pop3.session(host) as second:
        assert second.greeting.startswith("-ERR [SYS/TEMP] too many clients")
        second.wait_closed()


def test_pop3_logs_who_came(run_pop3, mail):
    host = run_pop3({"login_delay_ms": 0})
    with pop3.session(host) as session:
        session.ok("USER ann")
        session.refused("PASS wrong")
        session.log_in()
        peer = "{}:{}".format(*session.sock.getsockname())
    for event in ('log-in failed: user "ann"', 'logged in: user "ann", 0 messages'):
        host.wait_for_log(event)
        assert all(peer in line for line in host.log().splitlines() if event in line)
    assert "secret" not in host.log() and "wrong" not in host.log()


def test_pop3_waits_for_the_pool_when_that_is_full(run_pop3, mail):
    """One thread, and one work that may wait: all sessions come to their end nevertheless."""
    names = [f"user{number}" for number in range(16)]
    for name in names:
        mail.add_user(name)
        mail.deliver(name, b"Subject: x\n\n" + b"0123456789abcdef\n" * 5000)
    host = run_pop3(host={"work": {"threads_min": 1, "threads_max": 1, "queue_max": 1}})

    def fetch(name):
        with pop3.session(host) as session:
            session.log_in(name)
            session.ok("RETR 1")
            size = len(session.body())
            session.ok("DELE 1")
            session.ok("QUIT")
            return size

    sizes = clients.in_threads([lambda name=name: fetch(name) for name in names])
    assert sizes == [14 + 18 * 5000] * len(names)
    assert all(mail.messages(name) == [] for name in names)


def test_pop3_says_when_it_lacks_timers(run_pop3):
    host = run_pop3(limits={"timers": 1})
    assert clients.is_reset(host.address("pop3"))
    host.wait_for_log("no session: out of memory, or limits.timers are less than 2")
