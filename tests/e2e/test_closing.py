"""How connections end, and what the plugin has to say in it."""

import contextlib
import time

import pytest
from support import clients, services

pytestmark = pytest.mark.direct

MIB = 1024 * 1024


def test_close_sends_what_is_queued_first(run_services):
    host = run_services()
    with services.session(host) as session:
        session.sock.sendall(b"slices 40 100000\nclose\n")
        assert session.rest() == b"x" * 4000000
    services.wait_for_log(host, ": closed 1")


def test_close_waits_for_a_client_that_takes_the_rest_slowly(run_services):
    """The system has the rest and we have nothing to do with it for several times the deadline."""
    host = run_services(close_timeout_ms=150)
    sock = clients.connect_slowly(host.address("services"))
    sock.sendall(b"slices 30 100000\nclose\n")
    count = 0
    while part := sock.recv(16384):
        count += len(part)
        time.sleep(0.005)
    sock.close()
    assert count == 3000000
    services.wait_for_log(host, ": closed 1")


def test_close_waits_for_a_client_that_pauses(run_services):
    host = run_services(close_timeout_ms=150)
    with clients.connect_slowly(host.address("services")) as sock:
        sock.sendall(b"slices 30 100000\nclose\n")
        head = sock.recv(100)
        time.sleep(1.2)
        assert len(head) + len(clients.receive_to_end(sock)) == 3000000


@pytest.mark.linux("there the system does not tell what a client has taken, and goes on with it")
@pytest.mark.other_than("linux-direct", why="there the system does not tell what a client has taken, either")
def test_close_resets_a_client_that_takes_nothing(run_services):
    host = run_services(close_timeout_ms=150)
    with clients.connect_slowly(host.address("services")) as sock:
        sock.sendall(b"slices 30 100000\nclose\n")
        services.wait_for_log(host, ": closed 1")
        with pytest.raises(ConnectionError):
            clients.receive_to_end(sock)


def test_close_at_once_sends_what_is_queued_and_waits_for_nobody(run_services):
    host = run_services(close_timeout_ms=3600000)
    with services.session(host) as session:
        session.sock.sendall(b"slices 40 100000\nleave\n")
        assert session.rest() == b"x" * 4000000
        services.wait_for_log(host, ": closed 1")  # and the client has not closed


def test_shutdown_after_queued_sends_leaves_the_other_way_open(run_services):
    host = run_services()
    with services.session(host) as session:
        session.sock.sendall(b"slices 40 100000\nshutdown\n")
        assert session.rest() == b"x" * 4000000
        session.send("close")
        assert session.rest() == b""
    services.wait_for_log(host, ": closed ")


def test_abort_resets_and_is_told_apart(run_services):
    host = run_services()
    with services.session(host) as session:
        session.send("abort")
        with pytest.raises(ConnectionError):
            session.rest()
    services.wait_for_log(host, ": closed 8")


def test_reset_of_the_client_is_told_apart(run_services, system):
    host = run_services()
    session = services.Session(host)
    assert session.ask("echo", "x") == "x"
    session.reader.close()
    clients.reset(session.sock)
    # Wine shows a receive of no bytes that was reset as the peer's FIN, or as what it was; what
    # Windows itself says in each state is in the Winsock table's tests.
    services.wait_for_log(host, ": closed ")
    assert ": closed 3" in host.log() or (system.is_windows and ": closed 2" in host.log()), host.log()


def test_peer_closed_is_told_once(run_services):
    host = run_services()
    with services.session(host) as session:
        assert session.ask("echo", "x") == "x"
    services.wait_for_log(host, ": closed 2")
    assert host.log().count("peer closed") == 1


def test_client_that_never_finishes_is_cut_at_the_deadline(run_services):
    host = run_services(close_timeout_ms=200)
    with services.session(host) as session:
        session.send("close")
        assert session.rest() == b""
        services.wait_for_log(host, ": closed 1")
        with contextlib.suppress(ConnectionError):
            session.send("echo", "x")


def test_client_that_floods_a_closing_connection_is_read_to_a_limit(run_services):
    host = run_services(close_timeout_ms=20000, limits={"linger_bytes": 65536})
    flood, sent = bytes(65536), 0
    with services.session(host) as session:
        session.send("close")
        assert session.rest() == b""
        with contextlib.suppress(ConnectionError):
            while sent < 256 * MIB:  # a loopback takes that in a second or two
                sent += session.sock.send(flood)
    assert sent < 64 * MIB, "more than all buffers together"
    services.wait_for_log(host, ": closed 1")
    assert "more than 65536 bytes after the close (limits.linger_bytes)" in host.log()


def test_stop_asks_the_plugin_about_each_connection(run_services):
    host = run_services(host={"drain_timeout_ms": 10000})
    with services.session(host) as leaves, services.session(host) as stays:
        assert leaves.ask("closing", 0, 0) == "ready"
        assert stays.ask("closing", 1, 0) == "ready"
        host.interrupt()
        assert leaves.line() == "closing 6"
        assert leaves.line() is None, "close() follows what closing() has sent"
        assert stays.line() == "closing 6"
        assert stays.ask("echo", "still") == "still"
        stays.send("close")
        assert stays.rest() == b""
        assert host.wait() == 0
    services.wait_for_log(host, ": closed 6")


def test_stop_may_be_answered_with_a_reset(run_services):
    host = run_services()
    with services.session(host) as session:
        assert session.ask("closing", 0, 1) == "ready"
        host.interrupt()
        with pytest.raises(ConnectionError):
            session.rest()
            session.sock.sendall(b"x")
            session.rest()
        assert host.wait() == 0


def test_stop_cuts_what_a_plugin_keeps_too_long(run_services):
    host = run_services(host={"drain_timeout_ms": 300})
    with services.session(host) as session:
        assert session.ask("closing", 100, 0) == "ready"
        host.interrupt()
        assert session.line() == "closing 6"
        assert session.rest() == b""
        assert host.wait() == 0
    assert "1 connections had not finished and were cut" in host.log()
