"""Clients that do not read: they get what is theirs, and cost the host and the others little."""

import selectors
import socket
import threading

import pytest
from support import clients, manifests

MIB = 1024 * 1024


@pytest.mark.threads
def test_flow_client_that_does_not_read_is_paused_and_loses_nothing(run_host):
    host = run_host(manifests.one(limits={"send_queue_bytes": 65536}))
    data = clients.random_bytes(64 * MIB, seed=21)
    with clients.connect(host.address("echo")) as slow:
        count = clients.fill(slow, data)
        assert count < len(data), "the host reads without end from a client that does not"
        assert clients.is_served(host.address("echo")), "beside the slow one"
        slow.settimeout(clients.WAIT_S)
        assert clients.receive_exactly(slow, count) == data[:count]
        assert clients.echo(slow, b"and on it goes") == b"and on it goes"


@pytest.mark.threads
def test_flow_many_floods_without_reading_leave_memory_bounded(run_host, system):
    """Each of them may cost its send queue and what was under way; never what it can send."""
    floods = 20
    host = run_host(manifests.one(when="connect", limits={"send_queue_bytes": 65536}))
    data = clients.random_bytes(64 * MIB, seed=22)
    assert clients.is_served(host.address("echo"))
    before = host.memory_bytes()
    socks = [clients.connect(host.address("echo")) for _ in range(floods)]
    counts = clients.in_threads([lambda s=sock: clients.fill(s, data) for sock in socks])
    assert max(counts) < len(data), "the host reads without end from a client that does not"
    assert clients.is_served(host.address("echo")), "beside the floods"
    if system.measures_memory:
        assert host.memory_bytes() - before < 64 * MIB
    for sock in socks:
        clients.reset(sock)
    assert clients.is_served(host.address("echo")), "after the floods"


def test_flow_client_that_reads_a_byte_at_a_time_gets_everything(run_host):
    host = run_host(manifests.one(limits={"send_queue_bytes": 4096}))
    data = clients.random_bytes(20000, seed=23)
    with clients.connect(host.address("echo")) as sock, clients.Writer(sock, [data]):
        received = bytearray()
        while len(received) < len(data):
            byte = sock.recv(1)
            assert byte, f"the end after {len(received)} bytes"
            received += byte
        assert received == data


@pytest.mark.linux("what a process uses under Wine says nothing of the host")
def test_flow_those_who_are_held_up_cost_no_processor(run_host):
    """A full queue, a client that has finished with its answer still under way, and one that is idle:
    nothing can be done for any of them, so nothing may be tried again and again."""
    host = run_host(manifests.one(limits={"send_queue_bytes": 65536}))
    data = clients.random_bytes(64 * MIB, seed=24)
    address = host.address("echo")
    with clients.connect(address) as full, clients.connect(address) as finished, \
            clients.connect(address) as idle:
        assert clients.fill(full, data) < len(data)
        assert clients.fill(finished, data) < len(data)
        finished.shutdown(socket.SHUT_WR)
        assert clients.echo(idle, b"hello") == b"hello"
        assert host.idles(), "a busy loop"
        clients.reset(full)
        clients.reset(finished)
    assert clients.is_served(address)


@pytest.mark.linux("what a process uses under Wine says nothing of the host")
@pytest.mark.direct
@pytest.mark.parametrize("what", ["bytes", "file"])
def test_flow_client_that_has_finished_before_its_answer_costs_no_processor(run_host, system, tmp_path, what):
    """Its FIN is here, the answer is larger than what the system takes, and the client does not read:
    nothing can be done before it does, and then it gets everything."""
    count = 24 * MIB if what == "file" else 8 * MIB
    if what == "file":
        (tmp_path / "big").write_bytes(bytes(count))
        host = run_host(manifests.one("http", config={"root": system.path(tmp_path)}))
        request = b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    else:
        host = run_host(manifests.one(limits={"send_queue_bytes": 2 * count}))
        request = bytes(count)
    with clients.connect(host.address("http" if what == "file" else "echo")) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        assert host.idles(), "a busy loop"
        received = clients.receive_to_end(sock)
        assert len(received) >= count and received.endswith(bytes(1000))


class Greedy:
    """Clients that send and read as fast as they can, until the end of the block."""

    CHUNK = 64 * 1024

    def __init__(self, address, count):
        self._socks = [clients.connect(address) for _ in range(count)]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.received = dict.fromkeys(self._socks, 0)

    def _serve(self, sock, events):
        if events & selectors.EVENT_READ:
            data = sock.recv(self.CHUNK)
            assert data, "a greedy client is cut"
            self.received[sock] += len(data)
        if events & selectors.EVENT_WRITE:
            sock.send(bytes(self.CHUNK))

    def _run(self):
        with selectors.DefaultSelector() as selector:
            for sock in self._socks:
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while not self._ends.is_set():
                for key, events in selector.select(timeout=1):
                    self._serve(key.fileobj, events)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._ends.set()
        self._thread.join()
        for sock in self._socks:
            clients.reset(sock)


@pytest.mark.threads
def test_flow_in_the_smallest_turns_nothing_is_lost(run_host):
    host = run_host(manifests.one(host={"workers": 1, "buffers": {"bytes": 4096},
                                        "turn": {"receive_bytes": 4096, "send_bytes": 4096}}))
    address = host.address("echo")
    data = clients.random_bytes(MIB, seed=29)
    def echoed():
        with clients.connect(address) as sock:
            return clients.echo(sock, data) == data
    assert clients.in_threads([echoed] * 3) == [True] * 3


@pytest.mark.threads
def test_flow_polite_client_beside_greedy_ones_goes_on(run_host):
    """On the same worker; and none of the greedy ones is left out either."""
    host = run_host(manifests.one(when="connect", host={"workers": 1}))
    address = host.address("echo")
    with clients.connect(address) as polite, Greedy(address, 64) as greedy:
        clients.wait_until(lambda: all(greedy.received.values()), "every greedy client has its turn")
        for number in range(10):
            assert clients.echo(polite, b"please %d" % number) == b"please %d" % number
    assert clients.is_served(address)
