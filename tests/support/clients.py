"""Native TCP clients: what the black-box tests do to a host from outside.

Nothing here asserts how long something takes. Every wait has a bound, so that a host which never
answers fails a test instead of hanging it; the bounds are far above what any system needs.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import hashlib
import math
import random
import socket
import struct
import threading
import time

WAIT_S = 60.0
"""For one answer, one event."""

START_S = 120.0
"""For a program to start: the first one under Wine takes its time."""

TRANSFER_S = 300.0
"""For a whole load: MiBs through a sanitizer, thousands of connections under Wine."""

CHUNK = 64 * 1024
"""As much as malloc() still has from memory that it keeps: a larger one is mapped and unmapped each time."""


def has_ipv6():
    """Whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def connect(address, timeout=WAIT_S):
    """A connected socket. `address` is (host, port)."""
    sock = socket.create_connection(address, timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect_slowly(address):
    """One with little room for what comes."""
    sock = socket.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.settimeout(WAIT_S)
    sock.connect(address)
    return sock


def wait_until(condition, what, timeout=WAIT_S):
    """Returns the first true value of condition(). `what` may be a function that tells it."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout:.0f} s: {told}")
        time.sleep(0.02)


def reset(sock):
    """Closes with a RST and not with a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_exactly(sock, size):
    """`size` bytes; fewer only when the peer ended before."""
    parts = []
    while size > 0:
        part = sock.recv(min(size, CHUNK))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive_to_end(sock):
    """Everything up to the peer's FIN."""
    parts = []
    while part := sock.recv(CHUNK):
        parts.append(part)
    return b"".join(parts)


def echo(sock, data):
    """Sends `data` and returns as many bytes as that."""
    sock.sendall(data)
    return receive_exactly(sock, len(data))


def fill(sock, data, quiet_s=1.0):
    """Sends from `data` without reading until nothing has been taken for a while: then all queues
    on the way are full. Returns how much was taken."""
    view = memoryview(data)
    count = 0
    sock.settimeout(quiet_s)
    with contextlib.suppress(TimeoutError):
        while count < len(view):
            count += sock.send(view[count : count + CHUNK])
    return count


def is_served(address, text=b"still there?"):
    """Whether a new client gets its echo."""
    with connect(address) as sock:
        return echo(sock, text) == text


def was_reset(sock):
    """Waits for the end of the connection: True for a RST, False for a FIN; no byte may come."""
    try:
        assert sock.recv(1) == b"", "a byte came instead of an end"
    except ConnectionError:
        return True
    return False


def is_reset(address):
    """Whether a new connection is reset, as soon as it stands or later; no byte may come."""
    try:
        with connect(address) as sock:
            return was_reset(sock)
    except ConnectionError:
        return True


def has_ended(sock):
    """Whether the end of a connection has come, without waiting for it; no byte may have come."""
    sock.setblocking(False)
    try:
        assert sock.recv(1) == b"", "a byte came instead of an end"
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        sock.settimeout(WAIT_S)


def wait_ended(sock):
    """Reads until the connection ends, in whatever way."""
    with contextlib.suppress(ConnectionError):
        receive_to_end(sock)


def is_refused(address):
    """Whether nobody listens there any more (a client that was still queued is not answered)."""
    try:
        with socket.create_connection(address, timeout=WAIT_S):
            return False
    except OSError:
        return True


# -- data and its fragments ------------------------------------------------------------------------


POOL_BYTES = 80 * 1024 * 1024
POOLED_BYTES_MIN = 4 * 1024 * 1024


@functools.cache
def _pool():
    return memoryview(random.Random(0).randbytes(POOL_BYTES))


def random_bytes(size, seed):
    """Always the same for a seed. Mebibytes of it, which take long to make, are made once, and are a
    view that begins elsewhere for another seed."""
    begin = seed * 7919 % (POOL_BYTES // 5)
    if size < POOLED_BYTES_MIN or begin + size > POOL_BYTES:
        return random.Random(seed).randbytes(size)
    return _pool()[begin : begin + size]


def fragments(data, seed, largest=1024 * 1024):
    """Cuts data into pieces of 1 byte up to `largest`: small and large ones are equally likely
    (the logarithm of the size is uniform)."""
    generator = random.Random(seed)
    view = memoryview(data)
    position = 0
    while position < len(view):
        size = int(math.exp(generator.uniform(0, math.log(largest))))
        yield view[position : position + size]
        position += size


class Writer:
    """Sends in a thread of its own, so that the test can read meanwhile."""

    def __init__(self, sock, pieces, half_close=False):
        self._sock = sock
        self._pieces = pieces
        self._half_close = half_close
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0
        self.error = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._thread.join(TRANSFER_S)
        if kind is None:
            assert not self._thread.is_alive(), f"still sending after {self.sent} bytes"
            if self.error:
                raise self.error

    def _run(self):
        try:
            for piece in self._pieces:
                self._sock.sendall(piece)
                self.sent += len(piece)
            if self._half_close:
                self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = error


def echo_stream(address, size, seed, half_close=False):
    """Sends `size` bytes in random fragments through one connection while reading them back.
    Returns the two digests, which are equal when nothing was lost, added or swapped."""
    data = random_bytes(size, seed)
    received = hashlib.sha256()
    count = 0
    with connect(address, TRANSFER_S) as sock:
        with Writer(sock, fragments(data, seed + 1), half_close):
            while count < size or half_close:
                part = sock.recv(CHUNK)
                if not part:
                    break
                received.update(part)
                count += len(part)
    assert count == size, f"{count} of {size} bytes came back"
    return hashlib.sha256(data).hexdigest(), received.hexdigest()


# -- many at once ----------------------------------------------------------------------------------


async def _one_of_many(index, address, connecting, all_there, size):
    first, second = (random_bytes(size, 2 * index + turn) for turn in range(2))
    async with connecting:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(first)
        assert await reader.readexactly(size) == first, f"client {index}: first echo"
    await all_there.wait()
    writer.write(second)
    assert await reader.readexactly(size) == second, f"client {index}: second echo"
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _many(address, count, size, connecting_max):
    connecting = asyncio.Semaphore(connecting_max)
    all_there = asyncio.Barrier(count)
    async with asyncio.timeout(TRANSFER_S), asyncio.TaskGroup() as group:
        for index in range(count):
            group.create_task(_one_of_many(index, address, connecting, all_there, size))


def echo_many(address, count, size=512, connecting_max=100):
    """`count` clients that are connected at the same time; each echoes data of its own when it has
    come, and once more when all have come."""
    asyncio.run(_many(address, count, size, connecting_max))


def in_threads(functions):
    """Runs them all at the same time; their results in order, or the first exception."""
    with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(lambda function: function(), functions))


# -- clients that may be turned away ---------------------------------------------------------------


def connect_from(ip, address):
    """A client with an address of its own (all of 127.0.0.0/8 is this machine)."""
    sock = socket.create_connection(address, timeout=WAIT_S, source_address=(ip, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send_quietly(sock, data):
    """Sends to a peer that may have reset the connection already: False when it has, which this
    socket then tells nobody again."""
    try:
        sock.sendall(data)
    except ConnectionError:
        return False
    return True


def may_be_served(address):
    """As is_served(), but a host that resets the client says no."""
    try:
        return is_served(address)
    except ConnectionError:
        return False
