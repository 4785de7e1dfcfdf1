"""Connections without a descriptor (host.direct_descriptors): more of them than the process may open,
what happens when the tables are full, and where there are none. That all else is as ever is shown by
the tests that are marked `direct`."""

import errno
import select

import pytest
from support import clients, load, manifests
from support.host import EXIT_FAILED

pytestmark = [pytest.mark.any_engine, pytest.mark.linux("only Linux has such tables")]

SYSTEM_LIMIT = 128
"""Descriptors that the hosts here may open."""


def with_tables(slots, when="connect", workers=1, **more):
    host = {"direct_descriptors": slots, "workers": workers}
    return manifests.one(when=when, host=host, **more)


def come(address, count):
    """Clients that have sent, and may not be served yet."""
    socks = [clients.connect(address) for _ in range(count)]
    for index, sock in enumerate(socks):
        sock.sendall(b"client %3d" % index)
    return socks


def expect_answers(socks, first=0):
    for index, sock in enumerate(socks, first):
        assert clients.receive_exactly(sock, 10) == b"client %3d" % index


def answered(socks):
    """How many have something to read."""
    return len(select.select(socks, [], [], 0)[0])


@pytest.mark.threads
@pytest.mark.parametrize("when", ["connect", "data"])
def test_direct_connections_are_more_than_the_descriptors(run_host, when):
    host = run_host(with_tables(120, when, workers=3), descriptors=f"{SYSTEM_LIMIT}:{SYSTEM_LIMIT}")
    crowd = come(host.address("echo"), 300)
    expect_answers(crowd)
    for sock in crowd:
        assert clients.echo(sock, b"still") == b"still"
    assert host.descriptors() < 100
    for sock in crowd:
        sock.close()
    expect_answers(come(host.address("echo"), 300))  # the places are free again


def test_direct_silent_clients_hold_no_descriptor(run_host):
    manifest = with_tables(120, "data", accept={"first_data_timeout_ms": 60000})
    host = run_host(manifest, descriptors=f"{SYSTEM_LIMIT}:{SYSTEM_LIMIT}")
    before = host.descriptors()
    silent = [clients.connect(host.address("echo")) for _ in range(100)]
    assert clients.is_served(host.address("echo"))  # the last one: all others have been taken
    assert host.descriptors() < before + 20
    for sock in silent:
        assert clients.echo(sock, b"at last") == b"at last"


def test_direct_table_that_is_full_leaves_descriptors_and_then_the_backlog(run_host):
    host = run_host(with_tables(20), descriptors="64:64")
    address = host.address("echo")
    crowd = come(address, 100)
    host.wait_for_log("accepting slows down")
    expect_answers(crowd[:20])
    # Those who leave a place in the table make room, although the descriptors stay in use.
    for sock in crowd[:10]:
        sock.close()
    expect_answers(crowd[20:30], 20)
    for index, sock in enumerate(crowd[30:], 30):
        crowd[index - 20].close()
        expect_answers([sock], index)
    assert clients.is_served(address)
    host.wait_for_log("accepting goes on")


def test_direct_places_are_used_although_long_connections_hold_descriptors(run_host):
    host = run_host(with_tables(10), descriptors="64:64")
    address = host.address("echo")
    first = come(address, 10)
    expect_answers(first)
    others = come(address, 60)  # what descriptors there are, and the backlog
    host.wait_for_log("accepting slows down")
    before = answered(others)
    assert before < 50
    for sock in first:
        sock.close()
    clients.wait_until(lambda: answered(others) >= before + 10, "those that wait to get the places")


def test_direct_short_connections_leave_nothing_behind(run_host, system, tmp_path):
    host = run_host(with_tables(100, "data"))
    address = "{}:{}".format(*host.address("echo"))
    run = load.run(system, tmp_path, "-m", "short", "-c", 30, "-n", 1000, "--from",
                   "127.0.0.1-127.0.0.9", address)
    assert run.expect_fine().json["operations"] == 1000
    before = host.descriptors()
    load.run(system, tmp_path, "-m", "short", "-c", 30, "-n", 500, "--reset", address).expect_fine()
    clients.wait_until(lambda: host.descriptors() <= before, "descriptors to be closed")


def test_direct_table_beyond_the_limit_of_descriptors_does_not_start(fail_to_start):
    result = fail_to_start(with_tables(200), descriptors=f"{SYSTEM_LIMIT}:{SYSTEM_LIMIT}")
    assert result.code == EXIT_FAILED and len(result.error_lines) == 1, result
    assert f"host.direct_descriptors: 200, but a worker registers no more sockets than the " \
           f"process may open descriptors, {SYSTEM_LIMIT}" in result.errors, result


def test_direct_is_said_to_be_lost_where_io_uring_is_refused(run_host):
    host = run_host(with_tables(100), io_uring_errno=errno.EPERM)
    assert host.ready["engine"] == "epoll"
    assert "warn host.direct_descriptors has no effect: engine epoll has no" in host.log()
    assert clients.is_served(host.address("echo"))


@pytest.mark.windows("about the tables of Linux on Windows")
def test_direct_on_windows_is_an_error(fail_to_start):
    result = fail_to_start(with_tables(100))
    assert result.code == EXIT_FAILED and len(result.error_lines) == 1, result
    assert "host.direct_descriptors is for io_uring on Linux" in result.errors, result
