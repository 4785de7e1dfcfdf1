"""The steady path: echoes on connections that stay. It calls for no memory and takes no lock."""

import collections
import contextlib
import signal

import pytest
from support import calls, clients, manifests

pytestmark = [
    pytest.mark.xdist_group("many connections"),
    pytest.mark.linux("there is no preloading; tests/net/test_steady.c counts in the host's own terms"),
    pytest.mark.plain("a sanitizer has wrappers of its own for what is counted"),
]

WORKERS = 2
BURSTS = 8
"""Of the warm-up: the most that can come at once, as often as a ring of buffers can double."""

loads = pytest.mark.parametrize(
    "count, size, rounds", [(64, 64, 100), (64, 16384, 50), (1000, 64, 10), (1000, 16384, 5)],
)


def echo_round(socks, data):
    """A message on each, all of them on their way at once."""
    for sock in socks:
        sock.sendall(data)
    for sock in socks:
        assert clients.receive_exactly(sock, len(data)) == data


def burst(host, socks, data):
    """The same, all of them there before the host looks."""
    host.send_signal(signal.SIGSTOP)
    try:
        for sock in socks:
            sock.sendall(data)
    finally:
        host.send_signal(signal.SIGCONT)
    for sock in socks:
        assert clients.receive_exactly(sock, len(data)) == data


def calls_of_echoes(run_host, system, tmp_path, manifest, count, size, rounds):
    """What a host calls while `rounds` echoes go over each of `count` connections; and what it had
    called before."""
    counted = calls.CallCounts(system, tmp_path)
    plugins = system.fixtures if "costly" in manifest["listeners"] else None
    host = run_host(manifest, environment=counted.environment, plugins=plugins)
    address = host.address(next(iter(manifest["listeners"])))
    data = clients.random_bytes(size, seed=count + size)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(clients.connect(address)) for _ in range(count)]
        for _ in range(BURSTS):
            burst(host, socks, data)
        echo_round(socks, data)
        before = counted.read(host)
        for _ in range(rounds):
            echo_round(socks, data)
        after = counted.read(host)
    return calls.difference(before, after), before


def manifest_of(plugin, when, config=None):
    limits = {"connections": 2000, "per_client": 2000}
    return manifests.one(plugin, when=when, config=config, limits=limits,
                         host={"workers": WORKERS})


@loads
@pytest.mark.parametrize("when", ["data", "connect"])
def test_steady_echoes_call_for_no_memory_and_no_lock(run_host, system, tmp_path, when, count, size,
                                                      rounds):
    called, before = calls_of_echoes(run_host, system, tmp_path, manifest_of("echo", when), count,
                                     size, rounds)
    connecting = calls.of_workers(before)
    assert len(connecting) == WORKERS, "both are counted"
    for thread, counts in connecting.items():
        assert counts["memory calloc"] > 0 and counts["lock pthread_mutex_lock"] > 0, (
            f"{thread}: what connecting costs is seen")
    assert calls.of_workers(called) == {}, f"{rounds * count} echoes; of all threads: {called}"


@pytest.mark.parametrize("do, each", [
    ("nothing", {}),
    ("malloc", {"memory malloc": 1, "memory free": 1}),
    ("pages", {"memory mmap": 1, "memory munmap": 1}),
    ("mutex", {"lock pthread_mutex_lock": 1}),
    ("futex", {"lock futex": 1}),
])
def test_steady_calls_of_a_plugin_are_all_seen(run_host, system, tmp_path, do, each):
    count, rounds = 64, 20
    manifest = manifest_of("costly", "connect", {"do": do})
    called, _ = calls_of_echoes(run_host, system, tmp_path, manifest, count, 64, rounds)
    total = sum((collections.Counter(c) for c in calls.of_workers(called).values()),
                collections.Counter())
    assert total == {name: n * count * rounds for name, n in each.items()}
