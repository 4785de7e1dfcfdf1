"""The built plugins of every ABI version, and what each of them must still do on a host."""

import pathlib
import socket

from support import clients, manifests

FOLDER = pathlib.Path(__file__).resolve().parent / "plugins"

CANDIDATES = FOLDER.parent / "candidates"
"""A folder for each draft that is over, with a folder for each system: built plugins of that draft."""


def folder(system):
    return FOLDER / ("windows-x86_64" if system.is_windows else "linux-x86_64")


class Session:
    """A connection to a plugin that takes commands of a line each."""

    def __init__(self, address):
        self.sock = clients.connect(address)
        self._reader = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._reader.close()
        self.sock.close()

    def send(self, line):
        self.sock.sendall(line.encode() + b"\n")

    def line(self):
        return self._reader.readline().decode().rstrip("\n")

    def ask(self, line):
        self.send(line)
        return self.line()

    def read(self, size):
        return self._reader.read(size)

    def rest(self):
        return self._reader.read()


def manifest(plugin):
    """A listener for streams, one for datagrams, one with room for one."""
    return manifests.manifest({
        "streams": manifests.listener(plugin, "connect", config={"colour": "blue"}),
        "datagrams": {"address": manifests.LOOPBACK, "plugin": plugin, "transport": "udp"},
        "narrow": manifests.listener(plugin, "connect", limits={"connections": 1},
                                     accept={"at_limit": "refuse"}),
    }, name="the-instance")


def exercise_1_0(host, system, folder):
    """Everything that ABI 1.0 has, through its built plugin."""
    file = folder / "ten.txt"
    file.write_bytes(b"0123456789")
    address = host.address("streams")
    with Session(address) as one:
        _exercise_services(one, host)
        _exercise_extensions(one, host, system.path(file))
        one.sock.shutdown(socket.SHUT_WR)
        assert one.rest() == b"peer closed\n"
    _exercise_ends(address, host)
    _exercise_flow(address, host)
    _exercise_the_narrow(host)
    _exercise_datagrams(host)
    for text in ("a listener's timer", "closed 1", "closed 8", "logged words", "no send after close"):
        clients.wait_until(lambda text=text: text in host.log(), lambda: f"{text}: {host.log()}")
    with Session(address) as last:
        assert last.ask("hello") == "hello"
        host.interrupt()
        assert last.rest() == b"closing 6\n"
    host.stop()
    assert host.log().count("listener_close") == 3, host.log()


def _exercise_services(one, host):
    assert one.ask("an echo") == "an echo"
    assert one.ask("host") == "host the-instance 1 1 1 1 1"
    assert one.ask("has") == "has 1 1 1"
    assert one.ask("config") == 'config streams {"colour":"blue"}'
    assert one.ask("path sub").endswith("sub")
    assert one.ask("path " + "x" * 490) == "path -5"
    local, remote = (f"{ip}:{port}" for ip, port in (one.sock.getpeername(), one.sock.getsockname()))
    assert one.ask("info") == f"info {local} {remote} 1 1"
    assert [one.ask("buffer of mine"), one.line()] == ["buffer of mine"] * 2
    assert one.ask("log logged words") == "logged"
    for extension in ("timer", "work", "connect", "file", "datagram"):
        assert one.ask(f"query berth.{extension}/1") == "query yes"
    for unknown in ("berth.timer/2", "berth.timer/", "berth.timer/10", "BERTH.TIMER/1", "x", ""):
        assert one.ask(f"query {unknown}") == "query no"
    assert sorted([one.ask("post"), one.line(), one.line()]) == ["post 0", "posted 0", "stranger -4"]
    lines = [one.ask("worker"), one.line(), one.line()]
    assert sorted(lines) == ["nobody -2", "post_worker 0", "worker 0"]
    assert one.ask("want 10") == "want 0"
    one.sock.sendall(b"a\nb\n")  # too little
    one.sock.sendall(b"cdefgh\n")
    assert [one.line(), one.line(), one.line()] == ["a", "b", "cdefgh"]


def _exercise_extensions(one, host, file):
    assert one.ask("timer 20") == "waiting"
    assert one.ask("while it waits") == "timer"
    assert one.line() == "while it waits"
    assert one.ask(f"file {file}") == "file 10 8 1"
    assert one.read(11) == b"12345678901"
    assert one.ask(f"file {file}.not") == "file -12 1"
    assert one.ask("work") == "worked 0"
    port = host.address("streams")[1]
    lines = [one.ask(f"connect {port}"), one.line(), one.line()]
    assert sorted(lines) == ["connected 0", "has 1 1 1", "host the-instance 1 1 1 1 1"]
    assert one.ask("connect 0") == "connect -2"


def _exercise_ends(address, host):
    with Session(address) as half:
        assert half.ask("half") == "half"
        assert half.rest() == b""
        half.send("log heard after the half-close")
        clients.wait_until(lambda: "heard after the half-close" in host.log(), "what it still hears")
    with Session(address) as ended:
        assert ended.ask("close") == "bye"
        assert ended.rest() == b""
    with Session(address) as aborted:
        aborted.send("abort")
        assert clients.was_reset(aborted.sock)


def _exercise_flow(address, host):
    """A client that does not read fills the queue; one that reads it all drains it."""
    line = b"x" * 200 + b"\n"
    with Session(address) as one:
        size = clients.fill(one.sock, line * 200000)
        one.sock.settimeout(clients.WAIT_S)
        clients.wait_until(lambda: "filled" in host.log(), "a full queue")
        whole = size - size % len(line)
        assert one.read(whole) == line * (whole // len(line))
        clients.wait_until(lambda: "drained" in host.log(), "an empty queue")


def _exercise_the_narrow(host):
    with Session(host.address("narrow")) as first:
        assert first.ask("here") == "here"
        with Session(host.address("narrow")) as second:
            assert second.rest() == b"busy\n"


def _exercise_datagrams(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect(host.address("datagrams"))

        def answered():
            sock.send(b"a datagram")
            try:
                return sock.recv(100) == b"a datagram"
            except TimeoutError:
                return False

        clients.wait_until(answered, "an answer")


EXERCISES = {"abi-1-0": exercise_1_0}
"""What each of them does. A built plugin without an exercise would prove nothing."""
