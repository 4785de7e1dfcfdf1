"""Talks to the plugin `chat`: a line a command, and what comes back."""

import contextlib

from support import clients, manifests


def manifest(config=None, host=None, **more):
    return manifests.one("chat", when=more.pop("when", "connect"), config=config, host=host, **more)


class Member:
    """One connection to it, with a name where one is given, and in a room where one is given."""

    def __init__(self, host, nick=None, room=None):
        self.sock = clients.connect(host.address("chat"))
        self.reader = self.sock.makefile("rb")
        if nick:
            assert self.ask(f"/nick {nick}") == f"ok nick {nick}"
        if room:
            assert self.ask(f"/join {room}", "ok join").startswith(f"ok join {room} ")

    def send(self, *lines):
        self.sock.sendall(b"".join(as_bytes(line) + b"\n" for line in lines))

    def line(self):
        """The next line, without its end; None at the end of the connection."""
        line = self.reader.readline()
        assert line == b"" or line.endswith(b"\n"), line
        return line.decode()[:-1] if line else None

    def line_with(self, *beginnings):
        """The next line that begins with one of those; others are passed over."""
        while (line := self.line()) is not None:
            if line.startswith(beginnings):
                return line
        raise AssertionError(f"the connection ended before {beginnings}")

    def ask(self, line, *beginnings):
        """Sends a line and gives the answer: the next line, or the next one that begins so."""
        self.send(line)
        return self.line_with(*beginnings) if beginnings else self.line()

    def until_pong(self):
        """All lines up to the answer to a /ping: what was under way before has come by then."""
        self.send("/ping")
        lines = []
        while (line := self.line()) != "pong":
            assert line is not None, lines
            lines.append(line)
        return lines

    def rest(self):
        """All lines to the end of the connection."""
        return self.reader.read().decode().splitlines()

    def close(self):
        self.reader.close()
        self.sock.close()


def as_bytes(line):
    return line.encode() if isinstance(line, str) else line


@contextlib.contextmanager
def members(host, *nicks, room=None):
    """So many of them, in a room where one is given."""
    with contextlib.ExitStack() as stack:
        found = []
        for nick in nicks:
            found.append(Member(host, nick, room))
            stack.callback(found[-1].close)
        yield found
