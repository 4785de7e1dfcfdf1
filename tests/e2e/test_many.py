"""One host that holds about as many connections as a process here may open descriptors, each with one,
and what it needs for each of them."""

import concurrent.futures
import resource

import pytest
from support import clients, load, manifests

pytestmark = pytest.mark.any_engine

COUNT = 19000
DESCRIPTORS = 20000
BYTES_EACH = 256
"""Of the host's own memory; the plugin keeps nothing for a connection."""
SLACK_BYTES = 256 * 1024
"""For what does not grow with them: buffers that the pool keeps, a table that has just doubled."""


@pytest.fixture
def limits_allow():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"a process here may open {hard} descriptors, and it takes {DESCRIPTORS}")


@pytest.mark.only("linux", why="what it counts is the same elsewhere")
@pytest.mark.parametrize("when", ["connect", "data"])
def test_many_connections_are_held_and_answered_in_little_memory(run_host, system, limits_allow,
                                                                 tmp_path, when):
    limits = {"connections": COUNT, "per_client": COUNT}
    host = run_host(manifests.one(when=when, limits=limits, accept={"backlog": 4096}))
    address = "{}:{}".format(*host.address("echo"))
    descriptors = host.descriptors()
    # The first buffers, and what else comes with the first traffic. More clients under way at once
    # might speak at once, and take more buffers: those are a burst's, and not the connections'.
    load.run(system, tmp_path, "-c", 50, "-n", 1000, address).expect_fine()
    clients.wait_until(lambda: host.descriptors() <= descriptors, "the first clients to be gone")
    before = host.own_memory_bytes()
    arguments = ["-m", "idle", "-c", COUNT, "-d", 3, "--processes", 2, "--connecting", 16,
                 "--from", "127.0.0.1-127.0.0.9", "--patience", 60]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(load.run, system, tmp_path, *arguments, address)
        clients.wait_until(lambda: running.done() or host.descriptors() >= descriptors + COUNT,
                           "all connections to be held")
        after, held = host.own_memory_bytes(), host.descriptors() - descriptors
        run = running.result()
    found = run.expect_fine().json["connections"]
    assert found["attempted"] == found["connected"] == found["open_max"] == COUNT
    assert found["refused"] == found["cut"] == 0
    assert held >= COUNT, "the memory was read while all were there"
    each = (after - before) / COUNT
    print(f"{COUNT} idle connections: {each:.0f} bytes of the host's own memory each")
    assert after - before <= BYTES_EACH * COUNT + SLACK_BYTES, f"{each:.0f} bytes each"
    assert "accepting slows down" not in host.log()
