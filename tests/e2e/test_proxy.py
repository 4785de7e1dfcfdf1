"""The plugin `proxy`: pairs of connections, with real servers behind it."""

import contextlib
import hashlib
import socket
import threading
import time

import pytest
from support import clients, manifests
from support.upstreams import echo, says, upstream

MIB = 1024 * 1024

pytestmark = [
    pytest.mark.threads,
    pytest.mark.direct,
    pytest.mark.full("linux-*san-epoll", why="both engines serve it alike; the tests of connections run there"),
]


@pytest.fixture
def run_proxy(run_host):
    def run(*ports, config=None, host=None, **more):
        targets = [port if isinstance(port, str) else f"127.0.0.1:{port}" for port in ports]
        return run_host(manifests.one("proxy", "connect", host=host,
                                      config={"upstreams": targets, **(config or {})}, **more))

    return run


@pytest.mark.quick
def test_proxy_carries_bytes_both_ways(run_proxy):
    with upstream(echo) as port:
        host = run_proxy(port)
        sent, received = clients.echo_stream(host.address("proxy"), 8 * MIB, seed=51)
        assert sent == received


def test_proxy_connects_by_name_and_over_ipv6(run_proxy):
    with upstream(echo, socket.AF_INET6, "::1") as six, upstream(echo) as four:
        host = run_proxy(f"[::1]:{six}")
        assert clients.is_served(host.address("proxy"))
        assert clients.is_served(run_proxy(f"localhost:{four}").address("proxy"))


@pytest.mark.parametrize("target", ["[::1%%1]:%d", "[::1%%lo]:%d"])
def test_proxy_connects_to_an_upstream_in_a_zone(run_proxy, system, target):
    if system.is_windows and "lo" in target:
        return  # there interfaces have other names
    with upstream(echo, socket.AF_INET6, "::1") as port:
        assert clients.is_served(run_proxy(target % port).address("proxy"))


def test_proxy_takes_a_mapped_upstream_for_the_ipv4_one(run_proxy):
    with upstream(echo) as port:
        assert clients.is_served(run_proxy(f"[::ffff:127.0.0.1]:{port}").address("proxy"))


@pytest.mark.parametrize("version, said", [
    (1, b"PROXY TCP6 ::ffff:c000:201 2001:db8::1 5 6\r\n"),
    (2, b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + bytes(10) + b"\xff\xff\xc0\0\2\1"
        + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + b"\0\5\0\6"),
])
def test_proxy_names_a_client_of_another_family_than_its_target(run_proxy, version, said):
    heard = []
    with upstream(lambda sock: heard.append(clients.receive_exactly(sock, len(said)))) as port:
        host = run_proxy(port, config={"proxy_protocol": version},
                         proxy_protocol={"from": ["127.0.0.1"]})
        with clients.connect(host.address("proxy")) as sock:
            sock.sendall(b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 5 6\r\n")
            clients.wait_until(lambda: heard, "the header")
    assert heard == [said]


def test_proxy_lets_the_upstream_speak_first(run_proxy):
    with upstream(says(b"220 hello\r\n")) as port:
        host = run_proxy(port)
        with clients.connect(host.address("proxy")) as sock:
            assert clients.receive_exactly(sock, 11) == b"220 hello\r\n"


def test_proxy_carries_half_closes(run_proxy):
    def count(connection):
        total = len(clients.receive_to_end(connection))
        connection.sendall(b"%d" % total)

    with upstream(count) as port:
        host = run_proxy(port)
        with clients.connect(host.address("proxy")) as sock:
            sock.sendall(b"x" * 100000)
            sock.shutdown(socket.SHUT_WR)
            assert clients.receive_to_end(sock) == b"100000"


def test_proxy_carries_the_end_of_the_upstream_first(run_proxy):
    heard = []

    def finishes_first(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        heard.append(clients.receive_to_end(connection))

    with upstream(finishes_first) as port:
        host = run_proxy(port)
        with clients.connect(host.address("proxy")) as sock:
            assert clients.receive_to_end(sock) == b"bye"
            sock.sendall(b"and on")
            sock.shutdown(socket.SHUT_WR)
            clients.wait_until(lambda: heard, "the other direction")
        assert heard == [b"and on"]


@pytest.mark.parametrize("client_finishes", [True, False])
def test_proxy_download_whose_client_pauses_arrives_whole(run_proxy, client_finishes):
    """The upstream is gone long before the client has taken the rest."""
    size = 900_000  # which waits in the send queue, and not in the system

    def serve(connection):
        connection.sendall(b"x" * size)

    with upstream(serve) as port:
        host = run_proxy(port, close_timeout_ms=150, socket={"send_buffer_bytes": 65536},
                         idle_timeout_ms=0 if client_finishes else 300)
        with clients.connect_slowly(host.address("proxy")) as sock:
            if client_finishes:
                sock.shutdown(socket.SHUT_WR)
            head = sock.recv(100)
            time.sleep(1.2)  # eight times what a close waits for a FIN
            assert len(head) + len(clients.receive_to_end(sock)) == size


def test_proxy_carries_resets_to_the_other_side_of_the_pair_alone(run_proxy, system):
    def resets(connection):
        connection.recv(1)
        clients.reset(connection)

    with upstream(resets) as bad, upstream(echo) as good:
        host = run_proxy(bad, good)
        with clients.connect(host.address("proxy")) as one, clients.connect(host.address("proxy")) as two:
            for sock in (one, two):
                sock.sendall(b"x")
            ends = []
            for sock in (one, two):
                try:
                    ends.append(sock.recv(1))
                except ConnectionError:
                    ends.append(b"")
            assert sorted(ends) == [b"", b"x"], "one pair ended, the other goes on"


def test_proxy_tries_the_next_upstream(run_proxy):
    with socket.socket() as nobody, upstream(echo) as port:
        nobody.bind(("127.0.0.1", 0))
        dead = nobody.getsockname()[1]
        host = run_proxy(dead, port)
        for _ in range(6):
            assert clients.is_served(host.address("proxy"))
        assert host.log().count("does not answer") <= 2, "who is down is left out for a while"


def test_proxy_without_any_upstream_resets_and_says_so(run_proxy):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host = run_proxy(nobody.getsockname()[1])
        assert clients.is_reset(host.address("proxy"))
        host.wait_for_log("no upstream answers")


@pytest.mark.parametrize("balance", ["round-robin", "least-connections"])
def test_proxy_spreads_the_clients(run_proxy, balance):
    with upstream(says(b"a")) as one, upstream(says(b"b")) as two, upstream(says(b"c")) as three:
        host = run_proxy(one, two, three, config={"balance": balance}, host={"workers": 1})
        with contextlib.ExitStack() as held:
            words = []
            for _ in range(9):
                sock = held.enter_context(clients.connect(host.address("proxy")))
                words.append(clients.receive_exactly(sock, 1))
            assert sorted(words) == [b"a"] * 3 + [b"b"] * 3 + [b"c"] * 3


@pytest.mark.parametrize("version, header", [
    (1, b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n"),
    (2, None),
])
def test_proxy_names_the_client_to_the_upstream(run_proxy, version, header):
    def hears(connection):
        first = clients.receive_to_end(connection)
        connection.sendall(first)

    with upstream(hears) as port:
        host = run_proxy(port, config={"proxy_protocol": version})
        with clients.connect(host.address("proxy")) as sock:
            mine, theirs = sock.getsockname()[1], host.address("proxy")[1]
            sock.sendall(b"words")
            sock.shutdown(socket.SHUT_WR)
            expected = header % (mine, theirs) if header else (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1"
                + mine.to_bytes(2, "big") + theirs.to_bytes(2, "big"))
            assert clients.receive_to_end(sock) == expected + b"words"


def test_proxy_holds_back_who_is_faster_than_the_other_side(run_proxy, system):
    """Both sides of a full-duplex stream are slow in turn; memory stays bounded, and no byte is lost."""
    size = 64 * MIB if system.measures_memory else 8 * MIB
    digests = []

    def slow_sink(connection):
        digest = hashlib.sha256()
        while data := connection.recv(65536):
            digest.update(data)
        digests.append(digest.digest())
        connection.sendall(b"done")

    with upstream(slow_sink) as port:
        host = run_proxy(port, limits={"send_queue_bytes": 65536})
        before = host.memory_bytes()
        block = clients.random_bytes(1 * MIB, seed=52)
        expected = hashlib.sha256()
        with clients.connect(host.address("proxy")) as sock:
            for _ in range(size // MIB):
                sock.sendall(block)
                expected.update(block)
            sock.shutdown(socket.SHUT_WR)
            assert clients.receive_to_end(sock) == b"done"
        assert digests == [expected.digest()]
        if system.measures_memory:
            assert host.memory_bytes() - before < 16 * MIB


def test_proxy_of_an_echo_does_not_lock_up(run_proxy, system):
    """The client sends much before it reads: both queues are full, and neither side may wait for the
    other for ever."""
    size = 48 * MIB if not system.is_windows else 16 * MIB
    with upstream(echo) as port:
        host = run_proxy(port, limits={"send_queue_bytes": 65536})
        data = clients.random_bytes(size, seed=53)
        with clients.connect(host.address("proxy")) as sock:
            count = clients.fill(sock, data)
            sock.settimeout(clients.WAIT_S)
            reading = threading.Thread(target=sock.sendall, args=(data[count:],))
            reading.start()
            assert clients.receive_exactly(sock, size) == data
            reading.join()


def test_proxy_is_limited_and_goes_on(run_proxy):
    with upstream(echo) as port:
        host = run_proxy(port, limits={"outbound": 2})
        with clients.connect(host.address("proxy")) as one, clients.connect(host.address("proxy")) as two:
            assert clients.echo(one, b"1") == b"1" and clients.echo(two, b"2") == b"2"
            assert clients.is_reset(host.address("proxy"))
        clients.wait_until(lambda: served(host), "a free place")


def served(host):
    try:
        return clients.is_served(host.address("proxy"))
    except ConnectionError:
        return False


@pytest.mark.parametrize("config, message", [
    ({}, '/config: the key "upstreams" is missing'),
    ({"upstreams": []}, "/upstreams: expected 1 to 64 items, found 0"),
    ({"upstreams": ["127.0.0.1"]}, "/upstreams/0: expected an address with a port"),
    ({"upstreams": ["a:1", "::1:80"]}, "/upstreams/1: expected an address with a port"),
    ({"upstreams": ["a:65536"]}, "/upstreams/0: expected an address with a port"),
    ({"upstreams": ["a:1"], "balance": "best"}, '/balance: expected "round-robin" or'),
    ({"upstreams": ["a:1"], "retry_after_ms": -1}, "/retry_after_ms: expected a whole number from 0"),
    ({"upstreams": ["a:1"], "proxy_protocol": 3}, "/proxy_protocol: expected 1 or 2, found 3"),
    ({"upstreams": ["a:1"], "upstream": 1}, '/upstream: unknown key (did you mean "upstreams"?)'),
])
def test_proxy_tells_what_is_wrong_with_its_configuration(fail_to_start, config, message):
    result = fail_to_start(manifests.one("proxy", "connect", config=config))
    assert result.code == 78 and message in result.errors, result


# -- health checks ------------------------------------------------------------------------------------


def _metrics(operate):
    return {(one["name"], one["labels"]["upstream"]): one["value"] for one in operate().serving("proxy")["metrics"]}


def test_proxy_health_checks_tell_of_upstreams_without_a_client(run_proxy, operate):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        dead = reserved.getsockname()[1]
    with upstream(echo) as port:
        host = run_proxy(port, dead, config={"health_check_ms": 50})
        host.wait_for_log(f"health check: the upstream does not answer upstream=127.0.0.1 port={dead}")
        clients.wait_until(lambda: _metrics(operate)[("upstream_up", f"127.0.0.1:{port}")] == 1, host.log)
        assert _metrics(operate)[("upstream_up", f"127.0.0.1:{dead}")] == 0
        assert _metrics(operate)[("upstream_failures_total", f"127.0.0.1:{dead}")] >= 1
        with socket.create_server(("127.0.0.1", dead)):
            host.wait_for_log(f"health check: the upstream answers again upstream=127.0.0.1 port={dead}")
            clients.wait_until(lambda: _metrics(operate)[("upstream_up", f"127.0.0.1:{dead}")] == 1, host.log)
        with clients.connect(host.address("proxy")) as sock:
            assert clients.echo(sock, b"served all the while") == b"served all the while"
