"""Talks RESP2 to the example plugin `kv`."""

from support import clients, manifests


def manifest(config=None, **more):
    return manifests.one("kv", when=more.pop("when", "connect"), config=config, **more)


def command(*words):
    """A command as clients send it."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Failure(Exception):
    """An error that was answered."""


class Client:
    def __init__(self, host):
        self.sock = clients.connect(host.address("kv"))
        self.reader = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.sock.close()

    def send(self, *words):
        self.sock.sendall(command(*words))

    def answer(self):
        """The next answer: bytes, a number, a list or None. Errors are raised."""
        line = self.reader.readline()
        assert line.endswith(b"\r\n"), line
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise Failure(text.decode())
        if kind == b"+":
            return text
        if kind == b":":
            return int(text)
        size = int(text)
        if size < 0:
            return None
        if kind == b"*":
            return [self.answer() for _ in range(size)]
        assert kind == b"$", line
        value = self.reader.read(size + 2)
        assert len(value) == size + 2 and value.endswith(b"\r\n")
        return value[:-2]

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def error(self, *words):
        try:
            got = self.ask(*words)
        except Failure as failure:
            return str(failure)
        raise AssertionError(f"no error but {got!r}")
