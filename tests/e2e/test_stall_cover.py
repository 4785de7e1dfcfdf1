"""A worker that stalls in a plugin's callback: the others accept the clients that the system gives to it."""

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
