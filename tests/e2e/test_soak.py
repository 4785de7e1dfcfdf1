"""Accepting on first data, attacked for minutes: every round four times `high` silent clients are
held open, 200 others speak and are answered, and the silent ones are cut when their time is up.
What it costs in memory and handles after the first rounds, it may cost for ever.

How long the answers take is printed and not judged: that is for whoever reads it."""

import time

import pytest
from support import clients, manifests

HIGH = 32
SPEAKERS = 200
FIRST_DATA_S = 5
WARM_UP_ROUNDS = 3
MIB = 1024 * 1024


def attack(address):
    """One round; the slowest answer and how long the first silent client was let be."""
    began = time.monotonic()
    silent = [clients.connect(address) for _ in range(4 * HIGH)]
    connected = time.monotonic()
    slowest = 0.0
    for index in range(SPEAKERS):
        start = time.monotonic()
        assert clients.is_served(address, b"speaker %d" % index)
        slowest = max(slowest, time.monotonic() - start)
    if time.monotonic() - began < FIRST_DATA_S:
        assert not any(clients.has_ended(sock) for sock in silent), "cut before its time"
    for sock in silent:
        clients.wait_ended(sock)
    ended = time.monotonic()
    for sock in silent:
        sock.close()
    assert ended - began >= FIRST_DATA_S, "all cut before their time"
    return slowest, ended - connected


@pytest.mark.soak
def test_soak_silent_clients_again_and_again(run_host, request):
    seconds = request.config.getoption("soak")
    accept = {"first_data_timeout_ms": FIRST_DATA_S * 1000, "pool": {"high": HIGH}}
    host = run_host(manifests.one(accept=accept, host={"workers": 1}))
    address = host.address("echo")
    end = time.monotonic() + seconds
    rounds, slowest, longest, first = 0, 0.0, 0.0, None
    while time.monotonic() < end or rounds <= WARM_UP_ROUNDS:
        answer, cut = attack(address)
        rounds += 1
        slowest, longest = max(slowest, answer), max(longest, cut)
        if rounds == WARM_UP_ROUNDS:
            first = host.memory_bytes(), host.descriptors()
    last = host.memory_bytes(), host.descriptors()
    print(f"{rounds} rounds of {4 * HIGH} silent clients and {SPEAKERS} speakers: slowest answer "
          f"{slowest * 1000:.0f} ms, last silent client cut after {longest:.1f} s (time limit "
          f"{FIRST_DATA_S} s); memory {first[0] / MIB:.1f} to {last[0] / MIB:.1f} MiB, descriptors "
          f"{first[1]} to {last[1]}")
    assert last[0] - first[0] < 4 * MIB, "memory grows"
    assert last[1] - first[1] < HIGH, "descriptors are left behind"
