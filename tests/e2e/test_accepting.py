"""Accepting under attack and at limits: silent clients, bursts, refusals, rates, lists, shortages."""

import asyncio
import contextlib
import time

import pytest
from support import clients, manifests

HIGH = 16
FIRST_DATA_S = 6
BUSY = b"421 too busy, try later\r\n"


def silent_listener(**more):
    accept = {"first_data_timeout_ms": FIRST_DATA_S * 1000, "pool": {"initial": HIGH, "high": HIGH}}
    return manifests.one(accept=accept, **more)


# -- silent clients --------------------------------------------------------------------------------


@pytest.mark.threads
def test_accepting_four_times_high_silent_clients_keep_nobody_waiting(run_host, system):
    workers = 1 if system.is_windows else 2
    host = run_host(silent_listener(host={"workers": workers}))
    address = host.address("echo")
    began = time.monotonic()
    silent = [clients.connect(address) for _ in range(4 * HIGH * workers)]
    for index in range(200):
        assert clients.is_served(address, b"speaker %d" % index)
    # Whatever the speed of this machine: nobody was cut before its time.
    if time.monotonic() - began < FIRST_DATA_S:
        assert not any(clients.has_ended(sock) for sock in silent), "cut before its time"
    for sock in silent:
        clients.wait_ended(sock)
        sock.close()
    assert time.monotonic() - began >= FIRST_DATA_S, "all cut before their time"
    assert clients.is_served(address), "afterwards"


def test_accepting_a_silent_client_that_speaks_in_time_is_served(run_host):
    host = run_host(silent_listener())
    late = [clients.connect(host.address("echo")) for _ in range(3 * HIGH)]
    for sock in reversed(late):
        assert clients.echo(sock, b"at last") == b"at last"
        sock.close()


def test_accepting_silent_clients_that_leave_cost_nothing(run_host):
    host = run_host(silent_listener(limits={"connections": 2}))
    for leave in (clients.reset, lambda sock: sock.close()):
        for sock in [clients.connect(host.address("echo")) for _ in range(3 * HIGH)]:
            leave(sock)
        assert clients.is_served(host.address("echo"))


def test_accepting_silent_clients_count_under_no_limit_on_connections(run_host):
    host = run_host(silent_listener(limits={"connections": 1, "per_client": 1}))
    silent = [clients.connect(host.address("echo")) for _ in range(3 * HIGH)]
    assert clients.is_served(host.address("echo"))
    for sock in silent:
        sock.close()


def test_accepting_at_the_most_pending_the_rest_wait_in_the_backlog(run_host):
    """When all that may be silent are, a speaker waits until their time is up: and then is served."""
    accept = {"first_data_timeout_ms": 1500, "pending_max": 4, "pool": {"initial": 4, "high": 4}}
    host = run_host(manifests.one(accept=accept, host={"workers": 1}))
    silent = [clients.connect(host.address("echo")) for _ in range(30)]
    assert clients.is_served(host.address("echo"))
    for sock in silent:
        sock.close()


# -- bursts ----------------------------------------------------------------------------------------


async def burst(address, count):
    """All at once; how many were answered."""

    async def one(index):
        text = b"client %d" % index
        reader, writer = await asyncio.open_connection(*address)
        writer.write(text)
        answer = await reader.readexactly(len(text))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer == text

    return sum(await asyncio.gather(*(one(index) for index in range(count))))


@pytest.mark.threads
@pytest.mark.parametrize("when", ["data", "connect"])
def test_accepting_a_burst_refuses_nobody(run_host, system, when):
    count = 1000 if system.is_windows or system.is_sanitized else 5000
    # The burst is of one thread, which may take its time between a connect and the first data.
    # A full backlog of Windows refuses; that of Linux, also Wine's, resets who has waited for seconds.
    accept = {"pool": {"initial": 16, "low": 16, "high": 64}, "backlog": count if system.is_windows else 200,
              "first_data_timeout_ms": 60000}
    host = run_host(manifests.one(when=when, accept=accept))
    assert asyncio.run(burst(host.address("echo"), count)) == count


# -- refused ---------------------------------------------------------------------------------------


def busy_listener(system, config=None, **limits):
    listener = manifests.listener("busy", when="connect", config=config, limits=limits,
                                  accept={"at_limit": "refuse"})
    return {"manifest": manifests.manifest({"busy": listener}), "plugins": system.fixtures}


def refused_with(address):
    """What a client hears before the end, and whether the end was a reset."""
    try:
        with clients.connect(address) as sock:
            return clients.receive_to_end(sock), False
    except ConnectionError:
        return b"", True


def test_accepting_at_a_limit_the_busy_answer_is_told_and_ends_well(run_host, system):
    host = run_host(**busy_listener(system, connections=2))
    address = host.address("busy")
    served = [clients.connect(address) for _ in range(2)]
    for sock in served:
        assert clients.echo(sock, b"in") == b"in"
    for _ in range(20):
        assert refused_with(address) == (BUSY, False)
    for sock in served:
        assert clients.echo(sock, b"as before") == b"as before"
        sock.close()
    clients.wait_until(lambda: refused_with_or_served(address), "room again")


def refused_with_or_served(address):
    with contextlib.suppress(ConnectionError), clients.connect(address) as sock:
        return clients.echo(sock, b"hello") == b"hello"
    return False


def test_accepting_who_spoke_before_being_refused_still_hears_it(run_host, system):
    """Data of the client that nobody reads would turn the end into a reset that eats the answer."""
    host = run_host(**busy_listener(system, connections=1))
    with clients.connect(host.address("busy")) as served:
        assert clients.echo(served, b"in") == b"in"
        for size in (1, 1000, 100000):
            with clients.connect(host.address("busy")) as sock:
                clients.send_quietly(sock, b"x" * size)
                assert clients.receive_to_end(sock) == BUSY


@pytest.mark.parametrize("word", ["nothing", "too-much"])
def test_accepting_without_a_busy_answer_resets(run_host, system, word):
    host = run_host(**busy_listener(system, config={"busy": word}, connections=1))
    if word == "too-much":
        host.expect_plugin_fault()
    with clients.connect(host.address("busy")) as served:
        assert clients.echo(served, b"in") == b"in"
        assert refused_with(host.address("busy")) == (b"", True)


def test_accepting_a_long_busy_answer_arrives_whole(run_host, system):
    host = run_host(**busy_listener(system, config={"busy": "long"}, connections=1))
    with clients.connect(host.address("busy")) as served:
        assert clients.echo(served, b"in") == b"in"
        assert refused_with(host.address("busy")) == (b"x" * 16384, False)


def test_accepting_no_more_are_told_at_a_time_than_the_limit_says(run_host, system):
    """Who is told and does not leave holds one of the places; the rest are reset."""
    host = run_host(**busy_listener(system, connections=1, refusing=3))
    address = host.address("busy")
    with clients.connect(address) as served:
        assert clients.echo(served, b"in") == b"in"
        told = [clients.connect(address) for _ in range(3)]
        for sock in told:
            assert clients.receive_to_end(sock) == BUSY
        assert refused_with(address) == (b"", True)
        for sock in told:
            sock.close()
        clients.wait_until(lambda: refused_with(address) == (BUSY, False), "a place to be told")


def test_accepting_surplus_of_one_client_hears_the_busy_answer_too(run_host, system):
    host = run_host(**busy_listener(system, per_client=1))
    with clients.connect(host.address("busy")) as served:
        assert clients.echo(served, b"in") == b"in"
        assert refused_with(host.address("busy")) == (BUSY, False)


def test_accepting_a_plugin_without_an_answer_resets_at_the_limit(run_host):
    host = run_host(manifests.one(when="connect", accept={"at_limit": "refuse"},
                                  limits={"connections": 1}))
    with clients.connect(host.address("echo")) as served:
        assert clients.echo(served, b"in") == b"in"
        assert refused_with(host.address("echo")) == (b"", True)


# -- rates and lists -------------------------------------------------------------------------------


def try_once(address, source):
    try:
        with clients.connect_from(source, address) as sock:
            return clients.echo(sock, b"hello") == b"hello"
    except ConnectionError:
        return False


@pytest.mark.parametrize("when", ["data", "connect"])
def test_accepting_rate_lets_the_burst_in_and_no_more(run_host, when):
    host = run_host(manifests.one(
        when=when, address="0.0.0.0:0",
        limits={"accept_rate_per_client": {"per_second": 1, "burst": 5}}))
    _, port = host.address("echo")
    began = time.monotonic()
    served = sum(try_once(("127.0.0.1", port), "127.0.0.3") for _ in range(50))
    passed = time.monotonic() - began
    assert 5 <= served <= 5 + int(passed) + 1
    assert try_once(("127.0.0.1", port), "127.0.0.4"), "another client"
    clients.wait_until(lambda: try_once(("127.0.0.1", port), "127.0.0.3"), "its turn again")


def test_accepting_caps_of_clients_hold_under_many_attempts(run_host, system):
    """Fifty clients, each with more attempts than it may have connections."""
    attempts = 20 if system.is_windows else 200
    host = run_host(manifests.one(when="connect", address="0.0.0.0:0", limits={"per_client": 4}))
    _, port = host.address("echo")
    kept = {}
    for _ in range(attempts // 10):
        for last in range(1, 51):
            source = f"127.0.1.{last}"
            socks = kept.setdefault(source, [])
            for _ in range(10):
                with contextlib.suppress(ConnectionError):
                    sock = clients.connect_from(source, ("127.0.0.1", port))
                    if clients.echo(sock, b"hello") == b"hello":
                        socks.append(sock)
                    else:
                        sock.close()
            assert len(socks) == 4
    for socks in kept.values():
        for sock in socks:
            assert clients.echo(sock, b"as before") == b"as before"
            sock.close()


def test_accepting_lists_let_in_whom_they_name(run_host):
    host = run_host(manifests.one(
        when="connect", address="0.0.0.0:0", allow=["127.0.0.0/30", "127.0.2.0/24"],
        deny=["127.0.0.2", "127.0.2.128/25"]))
    _, port = host.address("echo")
    for source, served in [("127.0.0.1", True), ("127.0.0.2", False), ("127.0.0.3", True),
                           ("127.0.0.4", False), ("127.0.2.1", True), ("127.0.2.200", False)]:
        assert try_once(("127.0.0.1", port), source) == served, source


def test_accepting_lists_see_ipv4_behind_a_dual_stack_listener(run_host):
    host = run_host(manifests.one(when="connect", address="[::]:0", deny=["127.0.0.2", "::1"]))
    _, port = host.address("echo")
    assert try_once(("127.0.0.1", port), "127.0.0.1")
    assert not try_once(("127.0.0.1", port), "127.0.0.2")
    assert not try_once(("::1", port), "::1")


# -- shortage --------------------------------------------------------------------------------------


@pytest.mark.linux("Windows sets no limit of descriptors for a process")
def test_accepting_with_too_few_descriptors_idles_and_serves_all_in_the_end(run_host):
    host = run_host(manifests.one(when="connect"), descriptors="256:256")
    address = host.address("echo")
    crowd = [clients.connect(address) for _ in range(400)]
    for index, sock in enumerate(crowd):
        sock.sendall(b"client %3d" % index)
    host.wait_for_log("accepting slows down")
    assert host.idles(3), "a busy loop"
    for index, sock in enumerate(crowd):
        assert clients.receive_exactly(sock, 10) == b"client %3d" % index
        sock.close()
    assert asyncio.run(burst(address, 1000)) == 1000
    assert host.log().count("accepting slows down") <= 4, "once a pool and an episode"


@pytest.mark.linux("Windows sets no limit of descriptors for a process")
def test_accepting_with_no_descriptors_to_speak_of_does_not_start(fail_to_start):
    result = fail_to_start(manifests.one(), descriptors="48:48")
    assert "host.limits.descriptors_reserved" in result.errors
