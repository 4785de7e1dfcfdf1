"""A client that resets its connection, in whatever state, harms nobody but itself."""

import socket

import pytest
from support import clients, manifests

pytestmark = pytest.mark.direct

MIB = 1024 * 1024
FOR_EVER_MS = 600_000

both_policies = pytest.mark.parametrize("when", ["data", "connect"])


def times(system, count):
    """Wine takes much longer for a connection."""
    return count // 10 if system.is_windows else count


@pytest.mark.threads
@both_policies
def test_reset_right_after_connect_harms_no_other(run_host, system, when):
    """Many are still in the backlog then."""
    host = run_host(manifests.one(when=when))
    address = host.address("echo")
    with clients.connect(address) as other:
        for _ in range(times(system, 500)):
            clients.reset(clients.connect(address))
        assert clients.echo(other, b"served all along") == b"served all along"
    assert clients.is_served(address)


@both_policies
def test_reset_of_a_whole_backlog_harms_no_other(run_host, when):
    """All are connected before the first is reset."""
    host = run_host(manifests.one(when=when))
    address = host.address("echo")
    for sock in [clients.connect(address) for _ in range(60)]:
        clients.reset(sock)
    assert clients.is_served(address)


def test_reset_of_silent_clients_makes_room_for_those_who_speak(run_host):
    """With few accepts and all of them taken by silent clients."""
    manifest = manifests.one(accept={"pool": {"initial": 1, "low": 1, "high": 2}})
    host = run_host(manifest)
    address = host.address("echo")
    for _ in range(5):
        for sock in [clients.connect(address) for _ in range(4)]:
            clients.reset(sock)
        assert clients.is_served(address)


@pytest.mark.threads
@both_policies
def test_reset_with_the_first_data_under_way_harms_no_other(run_host, system, when):
    host = run_host(manifests.one(when=when))
    address = host.address("echo")
    for _ in range(times(system, 500)):
        sock = clients.connect(address)
        sock.sendall(b"hello and good-bye")
        clients.reset(sock)
    assert clients.is_served(address)


@both_policies
def test_reset_after_an_echo_harms_no_other(run_host, system, when):
    host = run_host(manifests.one(when=when))
    address = host.address("echo")
    for _ in range(times(system, 200)):
        sock = clients.connect(address)
        assert clients.echo(sock, b"hello") == b"hello"
        clients.reset(sock)
    assert clients.is_served(address)


@pytest.mark.threads
def test_reset_with_a_full_send_queue_harms_no_other(run_host):
    host = run_host(manifests.one(limits={"send_queue_bytes": 65536}))
    address = host.address("echo")
    data = clients.random_bytes(64 * MIB, seed=61)
    with clients.connect(address) as other:
        for _ in range(3):
            sock = clients.connect(address)
            assert clients.fill(sock, data) < len(data)
            clients.reset(sock)
            assert clients.echo(other, b"served all along") == b"served all along"


@pytest.mark.threads
def test_reset_while_data_flows_both_ways_harms_no_other(run_host, system):
    host = run_host(manifests.one(when="connect"))
    address = host.address("echo")
    data = clients.random_bytes(MIB, seed=62)
    for index in range(times(system, 100)):
        sock = clients.connect(address)
        sock.settimeout(clients.WAIT_S)
        sock.sendall(data[: 10000 + 997 * index])
        assert sock.recv(1)
        clients.reset(sock)
    sent, received = clients.echo_stream(address, MIB, seed=63)
    assert sent == received


@both_policies
def test_reset_after_half_close_harms_no_other(run_host, system, when):
    host = run_host(manifests.one(when=when))
    address = host.address("echo")
    for _ in range(times(system, 200)):
        sock = clients.connect(address)
        sock.sendall(b"the last words")
        sock.shutdown(socket.SHUT_WR)
        clients.reset(sock)
    assert clients.is_served(address)


def test_reset_after_half_close_with_a_full_queue_harms_no_other(run_host):
    data = clients.random_bytes(64 * MIB, seed=64)  # before a client must say something
    host = run_host(manifests.one(limits={"send_queue_bytes": 65536}))
    address = host.address("echo")
    sock = clients.connect(address)
    clients.fill(sock, data)
    sock.shutdown(socket.SHUT_WR)
    clients.reset(sock)
    assert clients.is_served(address)


def test_reset_after_the_plugin_has_closed_harms_no_other(run_host, system):
    """packet-echo closes at a length of 0 and waits for the client's FIN, which never comes."""
    host = run_host(manifests.one("packet-echo"))
    address = host.address("packet-echo")
    for _ in range(times(system, 100)):
        sock = clients.connect(address)
        sock.sendall(b"\x03hi\x00")
        assert clients.receive_to_end(sock) == b"\x03hi"
        clients.reset(sock)
    with clients.connect(address) as sock:
        assert clients.echo(sock, b"\x03hi") == b"\x03hi"


@pytest.mark.threads
def test_reset_while_the_host_drains_harms_no_other(run_host):
    data = clients.random_bytes(64 * MIB, seed=65)  # before a client must say something
    host = run_host(manifests.one(host={"drain_timeout_ms": FOR_EVER_MS}))
    address = host.address("echo")
    stays, leaves = (clients.connect(address) for _ in range(2))
    for sock in (stays, leaves):
        assert clients.echo(sock, b"before") == b"before"
    full = clients.connect(address)
    clients.fill(full, data)
    host.interrupt()
    host.wait_for_log("stopping: no new connections; 3 open ones")
    clients.reset(leaves)
    clients.reset(full)
    assert clients.echo(stays, b"after") == b"after"
    stays.close()
    assert host.wait() == 0
    assert "every connection has finished" in host.log()


@both_policies
def test_reset_frees_the_place_under_a_limit(run_host, when):
    host = run_host(manifests.one(when=when, limits={"connections": 2}))
    address = host.address("echo")
    for _ in range(10):
        sock = clients.connect(address)
        assert clients.echo(sock, b"hello") == b"hello"
        clients.reset(sock)
