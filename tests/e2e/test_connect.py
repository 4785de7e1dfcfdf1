"""Outbound connections that a plugin asks for."""

import contextlib
import socket
import threading

import pytest
from support import clients, services

pytestmark = [pytest.mark.threads, pytest.mark.direct]


@contextlib.contextmanager
def server(family=socket.AF_INET, address="127.0.0.1", backlog=16):
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind((address, 0))
        listening.listen(backlog)
        listening.settimeout(clients.WAIT_S)
        yield listening


def port_of(listening):
    return listening.getsockname()[1]


@pytest.mark.parametrize("first", ["", "hello"])
def test_connect_with_and_without_first_data(run_services, first):
    host = run_services()
    with server() as upstream, services.session(host) as session:
        session.send("connect", "127.0.0.1", port_of(upstream), 5000, *([first] if first else []))
        accepted, peer = upstream.accept()
        with accepted:
            word, local, remote = session.line().split()
            assert word == "connected"
            assert local == f"127.0.0.1:{peer[1]}" and remote == f"127.0.0.1:{port_of(upstream)}"
            assert clients.receive_exactly(accepted, len(first)) == first.encode()
            accepted.sendall(b"from upstream\n")
            assert session.line() == "from upstream"
        services.wait_for_log(host, "outbound closed 2")
        assert session.ask("echo", "x") == "x"


@pytest.mark.quick
def test_connect_over_ipv6(run_services):
    host = run_services()
    with server(socket.AF_INET6, "::1") as upstream, services.session(host) as session:
        session.send("connect", "::1", port_of(upstream), 5000, "six")
        accepted, peer = upstream.accept()
        with accepted:
            assert session.line() == f"connected [::1]:{peer[1]} [::1]:{port_of(upstream)}"
            assert clients.receive_exactly(accepted, 3) == b"six"


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connect_to_a_name_reaches_the_family_that_answers(run_services, family, address):
    """`localhost` has an address of both families on most machines; the server has one."""
    names = {info[0] for info in socket.getaddrinfo("localhost", None)}
    if family not in names:
        pytest.skip("localhost has no address of this family here")
    host = run_services()
    with server(family, address) as upstream, services.session(host) as session:
        session.send("connect", "localhost", port_of(upstream), 20000, "name")
        accepted, _ = upstream.accept()
        with accepted:
            assert session.line().startswith("connected ")
            assert clients.receive_exactly(accepted, 4) == b"name"


def test_connect_to_a_closed_port_is_refused(run_services):
    with server() as upstream:
        port = port_of(upstream)
    host = run_services()
    with services.session(host) as session:
        assert session.ask("connect", "127.0.0.1", port, 5000, "lost") == "connect REFUSED"
        assert session.ask("echo", "x") == "x"


def test_connect_that_cannot_be_is_told_at_once(run_services):
    host = run_services(limits={"outbound": 0})
    with services.session(host) as session:
        assert session.ask("connect", "127.0.0.1", 0, 0) == "connect refused at once: INVALID"
        assert session.ask("connect", "127.0.0.1", 1, 0) == "connect refused at once: LIMIT"
        assert session.ask("connect", "x" * 300, 1, 0) == "connect refused at once: INVALID"


def test_connect_to_a_name_that_is_none(run_services):
    host = run_services()
    with services.session(host) as session:
        session.send("connect", "no-such-host.invalid", 80, 20000)
        session.send("echo", "meanwhile")
        told = {session.line(), session.line()}
        assert "meanwhile" in told and told & {"connect UNREACHABLE", "connect TIMEOUT"}, told


@contextlib.contextmanager
def mute_server():
    """A port that answers no attempt: its backlog is full. Linux drops what comes then."""
    with server(backlog=0) as listening, contextlib.ExitStack() as held:
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening


def test_connect_that_is_not_answered_times_out(run_services):
    host = run_services()
    with mute_server() as upstream, services.session(host) as session:
        session.send("connect", "127.0.0.1", port_of(upstream), 1500)
        assert session.ask("echo", "meanwhile") == "meanwhile"
        assert session.line() == "connect TIMEOUT"


def test_connect_is_called_off_when_the_asker_ends(run_services):
    host = run_services()
    with mute_server() as upstream:
        with services.session(host) as session:
            session.send("connect", "127.0.0.1", port_of(upstream), 60000)
            assert session.ask("echo", "x") == "x"
        services.wait_for_log(host, "connect CANCELLED")
        services.wait_for_log(host, ": closed ")
        log = host.log()
        assert log.index("connect CANCELLED") < log.index(": closed ")


def test_connect_under_way_does_not_hold_up_a_stop(run_services):
    host = run_services(host={"drain_timeout_ms": 200})
    with mute_server() as upstream, services.session(host) as session:
        session.send("connect", "127.0.0.1", port_of(upstream), 60000)
        assert session.ask("echo", "x") == "x"
        host.stop()


def test_connects_of_many_at_once(run_services):
    host = run_services(limits={"outbound": 1000})
    with server(backlog=128) as upstream:
        stopping = threading.Event()

        def answer():
            while not stopping.is_set():
                with contextlib.suppress(OSError):
                    accepted, _ = upstream.accept()
                    with accepted:
                        accepted.recv(64)  # who closes with data unread resets, and the answer is lost
                        accepted.sendall(b"y\n")

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        with services.session(host) as session:
            for _ in range(50):
                session.send("connect", "127.0.0.1", port_of(upstream), 20000, "first")
            lines = [session.line() for _ in range(100)]
            assert sum(line.startswith("connected ") for line in lines) == 50
            assert lines.count("y") == 50
        stopping.set()
        with contextlib.suppress(OSError):
            clients.connect(upstream.getsockname()).close()
        answering.join(clients.WAIT_S)


def test_outbound_connections_are_limited_at_a_time(run_services):
    host = run_services(limits={"outbound": 2})
    with server() as upstream, services.session(host) as session:
        held = []
        for _ in range(2):
            session.send("connect", "127.0.0.1", port_of(upstream), 5000)
            held.append(upstream.accept()[0])
            assert session.line().startswith("connected ")
        refused = "connect refused at once: LIMIT"
        assert session.ask("connect", "127.0.0.1", port_of(upstream), 5000) == refused
        held.pop().close()
        services.wait_for_log(host, "outbound closed ")
        clients.wait_until(
            lambda: session.ask("connect", "127.0.0.1", port_of(upstream), 5000) != refused,
            "a place for one more",
        )
        for one in held:
            one.close()
