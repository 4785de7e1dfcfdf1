"""Which engine the host runs on: its own choice, one that is asked for, and where io_uring is refused,
as container profiles do (here by a filter of libseccomp)."""

import errno

import pytest
from support import clients, manifests
from support.host import EXIT_FAILED

pytestmark = pytest.mark.any_engine


def on(engine, **host):
    return manifests.manifest({"echo": manifests.listener()}, engine=engine, **host)


REGISTER_PROBE = 8
REGISTER_BUFFER_RING = 22

# What container profiles, security modules, limits and old kernels refuse.
REFUSALS = {
    "setup-EPERM": errno.EPERM,
    "setup-ENOSYS": errno.ENOSYS,
    "setup-EACCES": errno.EACCES,
    "setup-EINVAL": errno.EINVAL,
    "setup-ENOMEM": errno.ENOMEM,
    "setup-EMFILE": errno.EMFILE,
    "enter-EPERM": {"io_uring_enter": errno.EPERM},
    "enter-EACCES": {"io_uring_enter": errno.EACCES},
    "enter-ENOSYS": {"io_uring_enter": errno.ENOSYS},
    "register-EPERM": {"io_uring_register": errno.EPERM},
    "register-probe": {"io_uring_register": {REGISTER_PROBE: errno.EINVAL}},
    "register-buffers": {"io_uring_register": {REGISTER_BUFFER_RING: errno.EINVAL}},
}


@pytest.mark.linux("Windows has one engine")
@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
def test_engine_refused_io_uring_serves_through_epoll(run_host, refused):
    host = run_host(on("auto", workers=2), io_uring_errno=refused)
    assert host.ready["engine"] == "epoll"
    assert "engine epoll" in host.output()
    lines = [line for line in host.log().splitlines() if "io_uring is refused" in line]
    assert len(lines) == 1 and "engine epoll" in lines[0], host.log()
    data = clients.random_bytes(1024 * 1024, seed=5)
    with clients.connect(host.address("echo")) as sock, clients.Writer(sock, [data]):
        assert clients.receive_exactly(sock, len(data)) == data


@pytest.mark.linux("Windows has one engine")
@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
def test_engine_asked_for_and_refused_is_an_error_with_its_remedy(fail_to_start, refused):
    result = fail_to_start(on("io_uring"), io_uring_errno=refused)
    assert result.code == EXIT_FAILED and len(result.error_lines) == 1, result
    assert "io_uring is refused by this system" in result.errors, result
    assert '"epoll"' in result.errors, result


@pytest.mark.linux("Windows has one engine")
@pytest.mark.parametrize("engine", ["io_uring", "epoll"])
def test_engine_asked_for_is_used_and_named(run_host, engine):
    host = run_host(on(engine))
    assert host.ready["engine"] == engine
    assert f"engine {engine}" in host.output()
    assert clients.is_served(host.address("echo"))


@pytest.mark.linux("Windows has one engine")
def test_engine_of_choice_is_io_uring_where_it_may_be(run_host):
    for manifest in (manifests.one(), on("auto")):
        assert run_host(manifest).ready["engine"] == "io_uring"


@pytest.mark.windows("about the engines of Linux on Windows")
def test_engine_of_another_system_is_an_error_on_windows(fail_to_start):
    result = fail_to_start(on("epoll"))
    assert result.code == EXIT_FAILED, result
    assert 'there is no engine "epoll" on Windows' in result.errors, result
