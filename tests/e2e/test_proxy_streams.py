"""The plugin `proxy` between processes: much data both ways, and an upstream that dies."""

import contextlib
import pathlib
import subprocess
import sys
import threading

import pytest
from support import clients, manifests

pytestmark = [pytest.mark.threads, pytest.mark.direct]

PEER = pathlib.Path(__file__).resolve().parents[1] / "support" / "stream_peer.py"
MIB = 1024 * 1024
SIZES = {"linux": 1024 * MIB, "windows": 16 * MIB}
"""Each way. The sanitizers and the other engine get 64 MiB."""

SLOW_READS = 2000
FOR_EVER = 10**9


class Peer:
    """The process support/stream_peer.py, and what it prints."""

    def __init__(self, where, size, seed, slow=0):
        command = [sys.executable, PEER, where, size, seed, slow]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True)
        self.said = {}
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            word, *rest = line.split()
            self.said[word] = rest

    def wait_for(self, word):
        clients.wait_until(lambda: word in self.said or not self._reading.is_alive(), word,
                           clients.TRANSFER_S)
        assert word in self.said, f"it ended without {word!r}: {self.said}"
        return self.said[word]

    def kill(self):
        self.process.kill()

    def wait(self):
        self.process.wait(clients.TRANSFER_S)
        self._reading.join(clients.WAIT_S)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def peers(run_proxy, *streams):
    """The host, its memory at the beginning, and for each (size, slow) a client and an upstream of
    its own, which reads so often slowly."""
    with contextlib.ExitStack() as stack:
        def start(*arguments):
            one = Peer(*arguments)
            stack.callback(one.end)
            return one

        upstreams = [start("listen", size, 2 * number, slow)
                     for number, (size, slow) in enumerate(streams)]
        host = run_proxy(*(upstream.wait_for("port")[0] for upstream in upstreams))
        before = host.memory_bytes()
        port = host.address("proxy")[1]
        pairs = []
        for number, (size, _) in enumerate(streams):
            client = start(port, size, 2 * number + 1)
            # With one worker and round robin the clients meet the upstreams in their order.
            clients.wait_until(lambda one=client: one.said or one.process.poll() is not None,
                               "the first bytes", clients.TRANSFER_S)
            pairs.append((client, upstreams[number]))
        yield host, before, pairs


@pytest.fixture
def run_proxy(run_host):
    def run(*ports):
        return run_host(manifests.one(
            "proxy", "connect", host={"workers": 1}, limits={"send_queue_bytes": 262144},
            config={"upstreams": [f"127.0.0.1:{port}" for port in ports]},
        ))

    return run


def assert_unchanged(one, other, size):
    """What one has sent is what the other has received."""
    (digest,) = one.wait_for("sent")
    assert other.wait_for("received") == [str(size), digest]
    assert "reset" not in one.said


@pytest.mark.timeout(clients.TRANSFER_S * 2)
def test_proxy_moves_a_gibibyte_each_way_unchanged_and_in_bounded_memory(run_proxy, system):
    size = SIZES.get(system.name, 64 * MIB)
    with peers(run_proxy, (size, SLOW_READS)) as (host, before, [(client, upstream)]):
        most = 0
        while client.process.poll() is None or upstream.process.poll() is None:
            most = max(most, host.memory_bytes())
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.process.wait(0.2)
                upstream.process.wait(0.2)
        client.wait()
        upstream.wait()
        assert_unchanged(client, upstream, size)
        assert_unchanged(upstream, client, size)
        print(f"{size // MIB} MiB each way: at the most {max(0, most - before) // 1024} KiB more")
        if system.measures_memory:
            assert most - before < 16 * MIB


@pytest.mark.timeout(clients.TRANSFER_S * 2)
def test_proxy_upstream_killed_amid_a_stream_ends_its_pair_and_no_other(run_proxy, system):
    size = 256 * MIB if system.name == "linux" else 32 * MIB
    with peers(run_proxy, (1024 * MIB, FOR_EVER), (size, SLOW_READS)) as (_, _, [doomed, other]):
        for client, upstream in (doomed, other):
            client.wait_for("began")
            upstream.wait_for("began")
        client, upstream = doomed
        upstream.kill()
        client.wait()
        assert "reset" in client.said, "it sees an end, and not a whole one"
        for one in other:
            one.wait()
        assert_unchanged(other[0], other[1], size)
        assert_unchanged(other[1], other[0], size)
