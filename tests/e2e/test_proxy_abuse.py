"""The plugin `proxy` between clients and upstreams that mean it ill, or are not there."""

import contextlib
import socket
import time

import pytest
from support import clients, manifests
from support.upstreams import Crowd, black_hole, echo, nobody, upstream

pytestmark = pytest.mark.any_engine

LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
"""A header of the PROXY protocol, version 2, that is for no client."""


@pytest.fixture
def run_proxy(run_host):
    def run(*ports, config=None, host=None, when="connect", **more):
        targets = [port if isinstance(port, str) else f"127.0.0.1:{port}" for port in ports]
        return run_host(manifests.one("proxy", when, host=host,
                                      config={"upstreams": targets, **(config or {})}, **more))

    return run


def is_served(host):
    return clients.may_be_served(host.address("proxy"))


def end_badly(sock, number):
    """Half of them with a FIN, half with a reset."""
    if number % 2:
        clients.reset(sock)
    else:
        sock.close()


# -- clients -----------------------------------------------------------------------------------------


def test_proxy_half_open_clients_cost_nobody_anything(run_proxy, system):
    """Thousands that say nothing, or a little, or leave at once; then all of them leave, and so do
    their connections to the upstream."""
    count = 1500 if not (system.is_windows or system.is_sanitized) else 200
    with Crowd() as crowd, contextlib.ExitStack() as held:
        host = run_proxy(crowd.port, limits={"connections": 10000, "per_client": 10000, "outbound": 10000})
        for number in range(count):
            sock = held.enter_context(clients.connect(host.address("proxy")))
            if number % 3 == 1:
                sock.sendall(b"GET / HT")
            if number % 3 == 2:
                clients.reset(sock)
        assert is_served(host)
        clients.wait_until(lambda: crowd.open_now >= count // 2, "their connections")
        held.close()
        clients.wait_until(lambda: crowd.open_now == 0, "the end of all")
        assert is_served(host)


def test_proxy_silent_clients_never_reach_an_upstream_that_wants_data(run_proxy):
    with Crowd() as crowd, contextlib.ExitStack() as held:
        host = run_proxy(crowd.port, when="data", accept={"first_data_timeout_ms": 60000})
        for _ in range(100):
            held.enter_context(clients.connect(host.address("proxy")))
        assert is_served(host)
        assert crowd.accepted == 1


def test_proxy_clients_that_leave_while_an_upstream_is_tried_leave_nothing_behind(run_proxy):
    """Each has a place of limits.outbound until then; there are fewer places than clients, and who
    finds none is reset, perhaps before connect() has returned."""
    with black_hole() as hole, upstream(echo) as port:
        host = run_proxy(hole, port, config={"connect_timeout_ms": 300, "retry_after_ms": 0},
                         limits={"outbound": 12}, host={"workers": 2})
        for _ in range(4):
            for number in range(10):
                with contextlib.suppress(ConnectionError):
                    end_badly(clients.connect(host.address("proxy")), number)
            clients.wait_until(lambda: is_served(host), "a free place")


def test_proxy_keeps_what_a_client_says_until_an_upstream_is_found(run_proxy):
    """Its end, too."""
    with black_hole() as hole, nobody() as dead, upstream(echo) as port:
        host = run_proxy(hole, dead, port, config={"connect_timeout_ms": 300}, host={"workers": 1})
        with clients.connect(host.address("proxy")) as sock:
            sock.sendall(b"words")
            sock.shutdown(socket.SHUT_WR)
            assert clients.receive_to_end(sock) == b"words"


def test_proxy_cuts_slow_senders_by_the_limits(run_proxy):
    """One byte a second, to an upstream that has nothing to say."""
    with upstream(clients.receive_to_end) as port:
        host = run_proxy(port, idle_timeout_ms=400)
        with clients.connect(host.address("proxy")) as sock:
            deadline = time.monotonic() + clients.WAIT_S
            while clients.send_quietly(sock, b"x") and not clients.has_ended(sock):
                assert time.monotonic() < deadline, "it is still served"
                time.sleep(1)


def test_proxy_passes_garbage_on_as_it_is(run_proxy):
    """NUL bytes, endless lines, and what looks like a header of its own."""
    garbage = LOCAL + b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n" + b"\0" * 70000 + b"x" * 200000
    garbage += clients.random_bytes(300000, seed=81)
    heard = []

    def hears(connection):
        heard.append(clients.receive_to_end(connection))

    with upstream(hears) as port:
        host = run_proxy(port, config={"proxy_protocol": 1})
        with clients.connect(host.address("proxy")) as sock:
            mine, theirs = sock.getsockname()[1], host.address("proxy")[1]
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            assert clients.receive_to_end(sock) == b""
    assert heard == [b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (mine, theirs) + garbage]


# -- upstreams ---------------------------------------------------------------------------------------


def test_proxy_goes_on_when_a_name_does_not_resolve(run_proxy):
    with upstream(echo) as port:
        host = run_proxy("no..name:80", port)
        for _ in range(3):
            assert is_served(host)
        alone = run_proxy("no..name:80")
        assert clients.is_reset(alone.address("proxy"))
        assert "upstream no..name port 80 does not answer" in alone.log()


@pytest.mark.parametrize("end", [clients.reset, socket.socket.close], ids=["reset", "close"])
def test_proxy_upstream_that_ends_at_once_ends_its_clients_alone(run_proxy, end):
    with upstream(end) as bad, upstream(echo) as port:
        host = run_proxy(bad, port, host={"workers": 1})
        served = 0
        for _ in range(20):
            with contextlib.suppress(ConnectionError), clients.connect(host.address("proxy")) as sock:
                clients.send_quietly(sock, b"x")
                served += sock.recv(1) == b"x"
        assert served >= 10, "all those of the other"


def test_proxy_upstream_that_floods_and_resets_ends_its_client(run_proxy, system):
    """Who does not read, and then hears that not all has come."""
    def floods(connection):
        clients.fill(connection, bytes(33554432), 0.3)
        clients.reset(connection)

    with upstream(floods) as port:
        host = run_proxy(port, limits={"send_queue_bytes": 65536})
        before = host.memory_bytes()
        with clients.connect(host.address("proxy")) as sock:
            sock.recv(1)
            time.sleep(0.5)
            if system.measures_memory:
                assert host.memory_bytes() - before < 8 * 1024 * 1024
            if system.is_windows:  # Wine tells of no reset that comes while nobody receives
                clients.wait_ended(sock)
                return
            with pytest.raises(ConnectionError):
                clients.receive_to_end(sock)


def test_proxy_without_any_upstream_resets_a_crowd(run_proxy):
    with nobody() as dead, nobody() as other:
        host = run_proxy(dead, other, config={"retry_after_ms": 1})
        for _ in range(40):
            assert clients.is_reset(host.address("proxy"))
        assert host.log().count("does not answer") == 2, "it is told once of each"


# -- upstreams that come back ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, 1, 2])
def test_proxy_finds_an_upstream_that_is_back(run_proxy, version):
    """It is asked in the background: every client is served meanwhile, and by the others."""
    heard = []

    def hears(connection):
        heard.append(clients.receive_to_end(connection))

    def answers(connection):
        connection.sendall(b"b")
        clients.receive_to_end(connection)

    config = {"retry_after_ms": 50, **({"proxy_protocol": version} if version else {})}
    with contextlib.ExitStack() as held:
        port = held.enter_context(upstream(answers))
        with nobody() as dead:
            host = run_proxy(dead, port, config=config, host={"workers": 1})
            for _ in range(4):
                with clients.connect(host.address("proxy")) as sock:
                    assert clients.receive_exactly(sock, 1) == b"b"
                time.sleep(0.05)
        held.enter_context(upstream(hears, port=dead))

        def is_back():
            with clients.connect(host.address("proxy")) as sock:
                time.sleep(0.05)
                sock.shutdown(socket.SHUT_WR)
                clients.wait_ended(sock)
            return "answers again" in host.log()

        clients.wait_until(is_back, "the upstream")
        clients.wait_until(lambda: heard, "its first connection")
        assert heard[0] == {None: b"", 1: b"PROXY UNKNOWN\r\n", 2: LOCAL}[version]
        for _ in range(2):
            is_back()
        clients.wait_until(lambda: len(heard) > 1, "a client")
    assert host.log().count("does not answer") == 1


def test_proxy_asks_in_the_background_however_long_it_takes(run_proxy):
    """An upstream that has gone without a word costs one client the time to try it, and no other."""
    with black_hole() as hole, upstream(echo) as port:
        host = run_proxy(hole, port, config={"connect_timeout_ms": 1000, "retry_after_ms": 1},
                         host={"workers": 1})
        assert is_served(host)
        for _ in range(5):
            with clients.connect(host.address("proxy")) as sock:
                assert clients.echo(sock, b"x") == b"x"
        assert "answers again" not in host.log()
