"""Stopping: nobody new, everybody there may finish, and who does not is cut in the end."""

import json
import signal

import pytest
from support import clients, manifests

MIB = 1024 * 1024
FOR_EVER_MS = 600_000
FINISHED = "every connection has finished"


def start_stopping(host):
    host.interrupt()
    host.wait_for_log("stopping: no new connections")


@pytest.mark.quick
def test_stop_without_connections_ends_at_once(run_host):
    host = run_host(manifests.one(host={"drain_timeout_ms": FOR_EVER_MS}))
    host.interrupt()
    assert host.wait() == 0
    assert FINISHED in host.log()


@pytest.mark.linux("Windows has no SIGTERM: there Ctrl-C and the console's events stop the host")
def test_stop_on_sigterm_drains_as_on_ctrl_c(run_host):
    host = run_host(manifests.one(host={"drain_timeout_ms": FOR_EVER_MS}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"before") == b"before"
        host.send_signal(signal.SIGTERM)
        host.wait_for_log("stopping: no new connections; 1 open ones")
        assert clients.echo(sock, b"after") == b"after"
    assert host.wait() == 0


@pytest.mark.parametrize("when", ["data", "connect"])
def test_stop_before_a_client_has_spoken_is_clean(run_host, when):
    host = run_host(manifests.one(when=when, host={"drain_timeout_ms": 100}))
    with clients.connect(host.address("echo")) as sock:
        host.interrupt()
        clients.wait_ended(sock)
    assert host.wait() == 0


@pytest.mark.threads
@pytest.mark.parametrize("when", ["data", "connect"])
def test_stop_with_data_in_flight_loses_none(run_host, when):
    """The host is asked to stop while its queue, and those of the system, are full of an answer."""
    host = run_host(manifests.one(when=when, host={"drain_timeout_ms": FOR_EVER_MS}))
    data = clients.random_bytes(16 * MIB, seed=31)
    with clients.connect(host.address("echo"), clients.TRANSFER_S) as sock:
        with clients.Writer(sock, clients.fragments(data, seed=32), half_close=True):
            first = clients.receive_exactly(sock, MIB)
            start_stopping(host)
            rest = clients.receive_to_end(sock)
        assert first + rest == data
    assert host.wait() == 0
    assert FINISHED in host.log()


@pytest.mark.threads
def test_stop_with_many_clients_in_the_middle_loses_none(run_host, system):
    count = 50 if system.is_windows else 200
    host = run_host(manifests.one(when="connect", host={"drain_timeout_ms": FOR_EVER_MS}))
    data = clients.random_bytes(4096, seed=33)
    socks = [clients.connect(host.address("echo")) for _ in range(count)]
    for sock in socks:
        assert clients.echo(sock, data) == data
        sock.sendall(data)
    start_stopping(host)
    for sock in socks:
        assert clients.receive_exactly(sock, len(data)) == data
        assert clients.echo(sock, data) == data, "the connection goes on until the client ends it"
        sock.close()
    assert host.wait() == 0
    assert FINISHED in host.log()


def test_stop_draining_host_refuses_new_clients(run_host):
    host = run_host(manifests.one(host={"drain_timeout_ms": FOR_EVER_MS}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"before") == b"before"
        start_stopping(host)
        assert clients.is_refused(host.address("echo"))
        assert clients.echo(sock, b"after") == b"after"
    assert host.wait() == 0


def test_stop_connections_that_do_not_finish_are_cut_and_counted(run_host):
    host = run_host(manifests.one(host={"drain_timeout_ms": 300}))
    socks = [clients.connect(host.address("echo")) for _ in range(3)]
    for sock in socks:
        assert clients.echo(sock, b"and then nothing") == b"and then nothing"
    host.interrupt()
    for sock in socks:
        clients.wait_ended(sock)
        sock.close()
    assert host.wait() == 0
    assert "3 connections had not finished and were cut" in host.log()
    left = [line for line in host.log().splitlines() if "still open: " in line]
    assert any('still open: listener "echo", generation 1: draining, 3 references' in line
               for line in left), left
    connections = [line for line in left if "still open: connection " in line]
    assert len(connections) == 3, left
    assert all("from 127.0.0.1:" in line and "16 bytes received, 16 sent" in line
               for line in connections), left


def test_connection_that_is_left_at_a_stop_is_named_in_fields_of_json(run_host):
    host = run_host(manifests.one(host={"drain_timeout_ms": 100, "log": {"format": "json"}}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"and then nothing") == b"and then nothing"
        host.interrupt()
        clients.wait_ended(sock)
        peer = "%s:%u" % sock.getsockname()
    assert host.wait() == 0
    (line,) = [line for line in map(json.loads, host.log().splitlines())
               if line["message"].startswith("still open: connection ")]
    assert line["peer"] == peer and line["listener"] == "echo", line
    assert f"connection {line['connection']} from {peer}: " in line["message"], line


def test_stop_cuts_a_client_that_does_not_read(run_host):
    data = clients.random_bytes(64 * MIB, seed=34)  # before a client must say something
    host = run_host(manifests.one(host={"drain_timeout_ms": 300}))
    with clients.connect(host.address("echo")) as sock:
        clients.fill(sock, data)
        host.interrupt()
        assert host.wait() == 0
    assert "1 connections had not finished and were cut" in host.log()


def test_stop_asked_a_second_time_does_not_wait_any_longer(run_host):
    host = run_host(manifests.one(host={"drain_timeout_ms": FOR_EVER_MS}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"and then nothing") == b"and then nothing"
        start_stopping(host)
        assert clients.echo(sock, b"still served") == b"still served"
        host.interrupt()
        clients.wait_ended(sock)
        assert host.wait() == 0
    assert "asked again to stop" in host.log()
    assert "1 connections had not finished and were cut" in host.log()


def test_stop_while_clients_wait_for_a_place_is_clean(run_host):
    """Those in the queue of a full listener were never served and are told so by an end."""
    manifest = manifests.one(limits={"connections": 1}, host={"drain_timeout_ms": FOR_EVER_MS})
    host = run_host(manifest)
    with clients.connect(host.address("echo")) as served:
        assert clients.echo(served, b"the only one") == b"the only one"
        waiting = [clients.connect(host.address("echo")) for _ in range(5)]
        for sock in waiting:
            sock.sendall(b"me too")
        start_stopping(host)
        for sock in waiting:
            clients.wait_ended(sock)
            sock.close()
        assert clients.echo(served, b"to the last") == b"to the last"
    assert host.wait() == 0


def test_stop_and_start_on_the_same_port_works_at_once(run_host):
    """Connections of the first host that the system still remembers (TIME_WAIT) do not keep the
    second one from its port."""
    host = run_host(manifests.one(host={"drain_timeout_ms": 100}))
    address = host.address("echo")
    with clients.connect(address) as sock:
        assert clients.echo(sock, b"cut by the host") == b"cut by the host"
        host.interrupt()
        clients.wait_ended(sock)
    assert host.wait() == 0
    again = run_host(manifests.one(address=f"{address[0]}:{address[1]}"))
    assert clients.is_served(again.address("echo"))
