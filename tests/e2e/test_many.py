"""One host that holds about as many connections as a process here may open descriptors, each with one."""

import resource

import pytest
from support import load, manifests

pytestmark = pytest.mark.any_engine

COUNT = 19000
DESCRIPTORS = 20000


@pytest.fixture
def limits_allow(system):
    if system.name != "linux":
        pytest.skip("once, on the build as it is shipped for Linux: what it counts is the same elsewhere")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"a process here may open {hard} descriptors, and it takes {DESCRIPTORS}")


@pytest.mark.parametrize("when", ["connect", "data"])
def test_many_connections_are_held_and_answered(run_host, system, limits_allow, tmp_path, when):
    limits = {"connections": COUNT, "per_client": COUNT}
    host = run_host(manifests.one(when=when, limits=limits, accept={"backlog": 4096}))
    address = "{}:{}".format(*host.address("echo"))
    run = load.run(system, tmp_path, "-m", "idle", "-c", COUNT, "-d", 1, "--processes", 2, "--from",
                   "127.0.0.1-127.0.0.9", "--patience", 60, address)
    found = run.expect_fine().json["connections"]
    assert found["attempted"] == found["connected"] == found["open_max"] == COUNT
    assert found["refused"] == found["cut"] == 0
    assert "accepting slows down" not in host.log()
