"""Servers for the plugin `proxy` to connect to, good ones and others."""

import contextlib
import selectors
import socket
import threading

from support import clients


@contextlib.contextmanager
def upstream(serve, family=socket.AF_INET, address="127.0.0.1", port=0):
    """A server that runs serve(connection) on a thread for each; gives its port."""
    stopping = threading.Event()
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(64)
        listening.settimeout(0.2)
        open_now = []

        def accept():
            while not stopping.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    connection.settimeout(clients.WAIT_S)
                    open_now.append(connection)
                    threading.Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection):
            with connection, contextlib.suppress(OSError):
                serve(connection)

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stopping.set()
            accepting.join()
            for connection in open_now:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def says(word):
    def serve(connection):
        connection.sendall(word)
        connection.recv(1)

    return serve


class Crowd:
    """An echo of one thread for very many connections; counts them."""

    def __init__(self):
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = self._listening.getsockname()[1]
        self.accepted = 0
        self.open_now = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def _run(self):
        while not self._stopping:
            for key, _ in self._selector.select(0.2):
                if key.fileobj is self._listening:
                    self._selector.register(self._listening.accept()[0], selectors.EVENT_READ)
                    self.accepted += 1
                    self.open_now += 1
                else:
                    self._answer(key.fileobj)

    def _answer(self, sock):
        data = b""
        with contextlib.suppress(ConnectionError):
            data = sock.recv(65536)
            sock.sendall(data)
        if not data:
            self._selector.unregister(sock)
            sock.close()
            self.open_now -= 1


@contextlib.contextmanager
def black_hole():
    """A port where connections are neither taken nor refused: the queue of those who wait is full."""
    with contextlib.ExitStack() as held:
        hole = held.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        while True:
            sock = held.enter_context(socket.socket())
            sock.settimeout(0.3)
            try:
                sock.connect(hole.getsockname())
            except TimeoutError:
                break
        yield hole.getsockname()[1]


@contextlib.contextmanager
def nobody():
    """A port that nobody listens on, and nobody else gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
