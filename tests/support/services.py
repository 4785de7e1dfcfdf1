"""Talks to the plugin `services`: a command a line, and what comes back."""

import contextlib

from support import clients, manifests


def manifest(host=None, **more):
    return manifests.one("services", when=more.pop("when", "connect"), host=host, **more)


class Session:
    """One connection to it."""

    def __init__(self, host):
        self.sock = clients.connect(host.address("services"))
        self.reader = self.sock.makefile("rb")

    def send(self, *words):
        self.sock.sendall(" ".join(str(word) for word in words).encode() + b"\n")

    def line(self):
        """The next line, without its end; None at the end of the connection."""
        line = self.reader.readline()
        return line.decode().rstrip("\n") if line else None

    def ask(self, *words):
        self.send(*words)
        return self.line()

    def read(self, size):
        return self.reader.read(size)

    def rest(self):
        return self.reader.read()

    def close(self):
        self.reader.close()
        self.sock.close()


@contextlib.contextmanager
def session(host):
    one = Session(host)
    try:
        yield one
    finally:
        one.close()


def wait_for_log(host, text, count=1):
    clients.wait_until(lambda: host.log().count(text) >= count, lambda: f"{text!r} in {host.log()}")
