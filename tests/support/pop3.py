"""Mail for the plugin `pop3`: users, their Maildirs, and sessions spoken by hand."""

import base64
import contextlib
import hashlib
import itertools

from support import clients, manifests

ROUNDS = 1000

MAIL = b"From: ann@example.org\nSubject: %d\n\nHello,\n.\n..two dots\nthe end\n"


def hashed(password, rounds=ROUNDS, salt=b"0123456789abcdef"):
    """An entry of the users file, written as passlib does."""

    def encode(data):
        return base64.b64encode(data).decode().rstrip("=").replace("+", ".")

    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    return f"$pbkdf2-sha256${rounds}${encode(salt)}${encode(key)}"


def as_sent(data):
    """What a message is on the wire, without the dots in front."""
    data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return data if data.endswith(b"\r\n") or not data else data + b"\r\n"


class Mail:
    """A folder with a users file, and a Maildir for each user."""

    def __init__(self, system, folder):
        self._system = system
        self._numbers = itertools.count(1)
        self.folder = folder
        self.users = folder / "users"
        self.users.touch()
        self.separator = ";" if system.is_windows else ":"

    def add_user(self, name, entry=None, password="secret"):
        box = self.folder / name
        for part in ("new", "cur", "tmp"):
            (box / part).mkdir(parents=True)
        with self.users.open("a", encoding="utf-8") as file:
            file.write(f"{name}:{entry or hashed(password)}:{self._system.path(box)}\n")

    def deliver(self, user, data=None, unique=None, flags=None):
        """Puts a message into new/, or with flags into cur/; returns the unique part of its name."""
        number = next(self._numbers)
        unique = unique or f"{1700000000 + number}.M{number}.here"
        if flags is None:
            path = self.folder / user / "new" / unique
        else:
            path = self.folder / user / "cur" / f"{unique}{self.separator}2,{flags}"
        path.write_bytes(MAIL % number if data is None else data)
        return unique

    def files(self, user):
        return sorted(p for part in ("new", "cur") for p in (self.folder / user / part).iterdir())

    def messages(self, user):
        """The unique parts of the names of what is there, sorted; one that is there twice is twice."""
        return sorted(path.name.split(self.separator)[0] for path in self.files(user))

    def manifest(self, config=None, **more):
        config = {"users": self._system.path(self.users), **(config or {})}
        return manifests.one("pop3", "connect", config=config, **more)


class Session:
    """One connection, whose greeting has been read; `first` is what a proxy sends before that."""

    def __init__(self, address, ip=None, first=b""):
        self.sock = clients.connect_from(ip, address) if ip else clients.connect(address)
        self.sock.sendall(first)
        self.reader = self.sock.makefile("rb")
        self.greeting = self.line()

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        """The next line without its end; None at the end of the connection."""
        line = self.reader.readline()
        assert not line or line.endswith(b"\r\n"), line
        return line.decode("latin-1")[:-2] if line else None

    def ask(self, *words):
        self.send(" ".join(str(word) for word in words).encode() + b"\r\n")
        return self.line()

    def ok(self, *words):
        """Asks, and expects +OK; returns what follows it."""
        answer = self.ask(*words)
        assert answer is not None and answer.startswith("+OK"), (words, answer)
        return answer[4:]

    def refused(self, *words):
        answer = self.ask(*words)
        assert answer is not None and answer.startswith("-ERR"), (words, answer)
        return answer[5:]

    def body(self):
        """The bytes of an answer of many lines, without the dots in front, and without the last."""
        parts = []
        while (line := self.reader.readline()) != b".\r\n":
            assert line.endswith(b"\r\n"), (parts[-3:], line)
            parts.append(line[1:] if line.startswith(b".") else line)
        return b"".join(parts)

    def listing(self, *words):
        self.ok(*words)
        return self.body().decode().splitlines()

    def log_in(self, name="ann", password="secret"):
        self.ok("USER", name)
        return self.ok("PASS", password)

    def wait_closed(self):
        assert self.line() is None

    def close(self):
        self.reader.close()
        self.sock.close()

    def reset(self):
        self.reader.close()
        clients.reset(self.sock)


@contextlib.contextmanager
def session(host, ip=None, first=b""):
    one = Session(host.address("pop3"), ip, first)
    try:
        yield one
    finally:
        one.close()


@contextlib.contextmanager
def logged_in(host, name="ann", password="secret"):
    """A session in the TRANSACTION state, once nobody else has the mailbox: one that was reset gives
    it back when its host has heard of it."""

    def try_it():
        one = Session(host.address("pop3"))
        one.ok("USER", name)
        answer = one.ask("PASS", password)
        if answer.startswith("+OK"):
            return one
        assert "[IN-USE]" in answer, answer
        one.close()
        return None

    one = clients.wait_until(try_it, "the mailbox")
    try:
        yield one
    finally:
        one.close()
