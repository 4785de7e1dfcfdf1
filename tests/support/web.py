"""Talks HTTP to the plugin `http`: raw bytes out, answers read by their framing."""

import contextlib

from support import clients, manifests


def manifest(system, root, config=None, **more):
    return manifests.one("http", more.pop("when", "data"),
                         config={"root": system.path(root), **(config or {})}, **more)


class Answer:
    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:200]!r}"


class Client:
    """One connection."""

    def __init__(self, address, sock=None):
        self.sock = sock or clients.connect(address)
        self.reader = self.sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, head=False):
        """The next answer; None at the end of the connection. `head`: it has no body."""
        first = self.reader.readline()
        if not first:
            return None
        assert first.startswith(b"HTTP/1.1 ") and first.endswith(b"\r\n"), first
        status = int(first.split()[1])
        fields = {}
        while (line := self.reader.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, value = line[:-2].decode("latin-1").split(": ", 1)
            assert name.lower() not in fields, f"{name} twice"
            fields[name.lower()] = value
        length = 0 if head or status in (100, 204, 304) else int(fields["content-length"])
        body = self.reader.read(length)
        assert len(body) == length, f"{len(body)} of {length} bytes"
        return Answer(status, fields, body)

    def ask(self, target, method="GET", version="HTTP/1.1", **fields):
        """Sends a request and returns its answer; names of fields with _ in place of -."""
        self.send(request(target, method, version, **fields))
        return self.answer(head=method == "HEAD")

    def ended(self):
        """Whether nothing more comes."""
        try:
            return self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.reader.close()
        self.sock.close()


def request(target, method="GET", version="HTTP/1.1", **fields):
    lines = [f"{method} {target} {version}", *([] if "Host" in fields else ["Host: test"])]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@contextlib.contextmanager
def client(host, listener="http"):
    one = Client(host.address(listener))
    try:
        yield one
    finally:
        one.close()


def ask(host, target, **more):
    """One request on a connection of its own."""
    with client(host) as one:
        return one.ask(target, **more)
