"""A worker that stalls in a plugin's callback: the others accept the clients that the system gives to it."""

import contextlib
import socket
import time

import pytest
from support import clients, manifests

STALL_MS = 4000
CLIENTS = 16


def test_stall_of_a_worker_leaves_new_clients_to_the_others(run_host, system):
    listeners = {"faulty": manifests.listener("faulty", "connect"),
                 "one-shot": manifests.listener("faulty", "connect")}
    host = run_host(manifests.manifest(listeners, workers=2, stall_warning_ms=200, **system.host_options),
                    plugins=system.fixtures)
    with clients.connect(host.address("faulty")) as stalling:
        stalling.sendall(b"\x82%d" % STALL_MS)
        ends = time.monotonic() + STALL_MS / 1000
        host.wait_for_log("stall: ")
        served = [socket.create_connection(host.address("one-shot")) for _ in range(CLIENTS)]
        for sock in served:
            sock.sendall(b"hello")
        for sock in served:
            sock.settimeout(clients.WAIT_S)
            assert sock.recv(5) == b"hello"
            sock.close()
        if time.monotonic() > ends:
            pytest.skip("this machine is too slow to tell")
        assert stalling.recv(1) == b"\x82"
    assert all(clients.is_served(host.address("one-shot")) for _ in range(CLIENTS))


def _answered(addresses):
    """How many of the datagrams, one to each address from a socket of its own, are answered at once."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in addresses]
    try:
        for sock, address in zip(socks, addresses):
            sock.sendto(b"hello", address)
        count = 0
        for sock in socks:
            sock.settimeout(1)
            with contextlib.suppress(TimeoutError):
                count += sock.recv(100) == b"hello"
        return count
    finally:
        for sock in socks:
            sock.close()


def test_stall_of_a_worker_leaves_its_datagrams_to_the_others(run_host, system):
    """Those that come to any listener; and there is more than one, lest the worker that stalls be none of
    theirs where one receives for all."""
    listeners = {"faulty": manifests.listener("faulty", "connect"),
                 **{f"udp-{i}": {"address": "127.0.0.1:0", "plugin": "datagram-echo", "transport": "udp"}
                    for i in range(2)}}
    host = run_host(manifests.manifest(listeners, workers=2, stall_warning_ms=200, **system.host_options),
                    plugins=system.fixtures)
    addresses = [host.address(f"udp-{i}") for i in range(2)] * (CLIENTS // 2)
    with contextlib.ExitStack() as stack:
        stalling = stack.enter_context(clients.connect(host.address("faulty")))
        stalling.sendall(b"\x82%d" % STALL_MS)
        ends = time.monotonic() + STALL_MS / 1000
        host.wait_for_log("stall: ")
        rounds = []  # what came before the worker was known to stall may wait with it
        while time.monotonic() < ends and len(addresses) not in rounds:
            rounds.append(_answered(addresses))
        assert time.monotonic() < ends, rounds
        assert stalling.recv(1) == b"\x82"
    assert _answered(addresses) == len(addresses)
