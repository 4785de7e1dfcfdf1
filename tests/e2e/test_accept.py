"""When a plugin hears of a client: at once, or not before the client has spoken."""

import socket
import time

import pytest
from support import clients, manifests
from support.probe import events, wait_for_event

pytestmark = pytest.mark.direct


def probe(when, **more):
    return manifests.one("probe", when=when, **more)


@pytest.fixture
def run_probe(run_host, system):
    """run_probe(when, …): a host whose one plugin logs every callback it gets."""

    def run(when, **more):
        return run_host(probe(when, **more), plugins=system.fixtures)

    return run


# -- accept on data --------------------------------------------------------------------------------


def test_accept_on_data_hears_of_nothing_before_data_arrives(run_probe):
    host = run_probe("data")
    address = host.address("probe")
    with clients.connect(address) as silent, clients.connect(address) as speaks:
        speaks.sendall(b"hello")
        wait_for_event(host, speaks, "received")
        assert events(host, silent) == []
        silent.sendall(b"hello too")
        wait_for_event(host, silent, "received")


def test_accept_on_data_brings_the_first_data_with_opened(run_probe):
    host = run_probe("data")
    with clients.connect(host.address("probe")) as sock:
        sock.sendall(b"hello")
        wait_for_event(host, sock, "received")
        assert events(host, sock)[:2] == ["opened with first data", "received 5"]


@pytest.mark.parametrize("leave", ["close", "shutdown", "reset"])
def test_accept_on_data_client_that_leaves_without_a_byte_is_never_shown(run_probe, leave):
    host = run_probe("data")
    address = host.address("probe")
    sock = clients.connect(address)
    port = sock.getsockname()[1]
    if leave == "reset":
        clients.reset(sock)
    else:
        if leave == "shutdown":
            sock.shutdown(socket.SHUT_WR)
            assert not clients.was_reset(sock)
        sock.close()
    with clients.connect(address) as after:
        after.sendall(b"hello")
        wait_for_event(host, after, "received")
    host.stop()
    assert events(host, port) == []


def test_accept_on_data_cuts_silent_clients_when_their_time_is_over(run_host, system):
    timeout_ms = 1500
    host = run_host(manifests.one(accept={"first_data_timeout_ms": timeout_ms}, host={"log": {"level": "debug"}}))
    address = host.address("echo")
    begin = time.monotonic()
    silent = [clients.connect(address) for _ in range(5)]
    ports = [sock.getsockname()[1] for sock in silent]
    with clients.connect(address) as speaks:
        assert clients.echo(speaks, b"in time") == b"in time"
        for sock in silent:
            clients.wait_ended(sock)
            lasted_ms = (time.monotonic() - begin) * 1000
            assert lasted_ms >= timeout_ms, f"cut after {lasted_ms:.0f} ms"
            sock.close()
        assert clients.echo(speaks, b"not silent, so not cut") == b"not silent, so not cut"
    assert clients.is_served(address)
    host.wait_for_log("a silent client closed by first_data_timeout_ms")
    if not system.is_windows:  # where an address is known when there is data
        assert any(f"127.0.0.1:{port}: a silent client" in host.log() for port in ports), host.log()


def test_accept_on_data_serves_those_who_speak_beside_many_silent_ones(run_host):
    host = run_host(
        manifests.one(
            accept={
                "pool": {"initial": 2, "low": 2, "high": 8},
                "first_data_timeout_ms": 600_000,
            }
        )
    )
    address = host.address("echo")
    silent = [clients.connect(address) for _ in range(6)]
    for _ in range(20):
        assert clients.is_served(address)
    for sock in silent:
        assert clients.echo(sock, b"at last") == b"at last"
        sock.close()


def test_accept_on_data_serves_the_next_when_silent_ones_hold_every_accept(run_host):
    host = run_host(
        manifests.one(
            accept={
                "pool": {"initial": 1, "low": 1, "high": 2},
                "first_data_timeout_ms": 1000,
            }
        )
    )
    address = host.address("echo")
    silent = [clients.connect(address) for _ in range(8)]
    assert clients.is_served(address)
    for sock in silent:
        sock.close()


# -- accept on connect -----------------------------------------------------------------------------


def test_accept_on_connect_is_told_before_data_arrives(run_probe):
    host = run_probe("connect")
    with clients.connect(host.address("probe")) as sock:
        wait_for_event(host, sock, "opened")
        assert events(host, sock) == ["opened"]
        sock.sendall(b"hello")
        wait_for_event(host, sock, "received")
        assert events(host, sock) == ["opened", "received 5"]


def test_accept_on_connect_does_not_cut_silent_clients(run_host):
    host = run_host(manifests.one(when="connect"))
    address = host.address("echo")
    with clients.connect(address) as silent:
        silent.settimeout(1.5)
        with pytest.raises(TimeoutError):
            silent.recv(1)
        silent.settimeout(clients.WAIT_S)
        assert clients.echo(silent, b"at last") == b"at last"


# -- the end of a connection, as the plugin hears it -----------------------------------------------


@pytest.mark.parametrize("when", ["data", "connect"])
def test_end_by_the_client_is_told_once_and_last(run_probe, when):
    host = run_probe(when)
    with clients.connect(host.address("probe")) as sock:
        sock.sendall(b"hello")
        wait_for_event(host, sock, "received")
        port = sock.getsockname()[1]
        sock.shutdown(socket.SHUT_WR)
        wait_for_event(host, port, "closed")
    host.stop()
    told = events(host, port)
    assert [event for event in told if event.startswith("closed")] == ["closed by peer"]
    assert told[-1] == "closed by peer"


@pytest.mark.parametrize("when", ["data", "connect"])
def test_end_by_a_reset_is_told_as_one(run_probe, when):
    host = run_probe(when)
    sock = clients.connect(host.address("probe"))
    sock.sendall(b"hello")
    wait_for_event(host, sock, "received")
    port = sock.getsockname()[1]
    clients.reset(sock)
    wait_for_event(host, port, "closed")
    host.stop()
    told = events(host, port)
    assert [event for event in told if event.startswith("closed")] == ["closed by a reset"]


def test_end_of_the_host_is_told_to_who_is_cut(run_probe):
    host = run_probe("connect", host={"drain_timeout_ms": 200})
    with clients.connect(host.address("probe")) as sock:
        wait_for_event(host, sock, "opened")
        port = sock.getsockname()[1]
        host.interrupt()
        clients.wait_ended(sock)
    assert host.wait() == 0
    assert events(host, port)[-1] == "closed by the host's stop"
