"""Which engine the host runs on: its own choice, one that is asked for, and where io_uring is refused,
as container profiles do (here by a filter of libseccomp)."""

import errno

import pytest
from support import clients, manifests
from support.host import EXIT_FAILED

pytestmark = pytest.mark.any_engine


@pytest.fixture
def linux_only(system):
    if system.is_windows:
        pytest.skip("Windows has one engine")


def on(engine, **more):
    return manifests.manifest({"echo": manifests.listener(**more)}, engine=engine)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_engine_refused_io_uring_serves_through_epoll(run_host, linux_only, code):
    host = run_host(manifests.one(), io_uring_errno=code)
    assert host.ready["engine"] == "epoll"
    assert "engine epoll" in host.output()
    lines = [line for line in host.log().splitlines() if "io_uring is refused" in line]
    assert len(lines) == 1 and "engine epoll" in lines[0], host.log()
    data = clients.random_bytes(1024 * 1024, seed=5)
    with clients.connect(host.address("echo")) as sock, clients.Writer(sock, [data]):
        assert clients.receive_exactly(sock, len(data)) == data


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EMFILE])
def test_engine_without_resources_for_a_ring_fails_the_start(fail_to_start, linux_only, code):
    """Falling back would hide that the machine could do better."""
    result = fail_to_start(manifests.one(), io_uring_errno=code)
    assert result.code == EXIT_FAILED and len(result.error_lines) == 1, result
    assert "io_uring: " in result.errors, result


def test_engine_asked_for_and_refused_is_an_error(fail_to_start, linux_only):
    result = fail_to_start(on("io_uring"), io_uring_errno=errno.EPERM)
    assert result.code == EXIT_FAILED and len(result.error_lines) == 1, result
    assert "io_uring is refused by this system" in result.errors, result


@pytest.mark.parametrize("engine", ["io_uring", "epoll"])
def test_engine_asked_for_is_used_and_named(run_host, linux_only, engine):
    host = run_host(on(engine))
    assert host.ready["engine"] == engine
    assert f"engine {engine}" in host.output()
    assert clients.is_served(host.address("echo"))


def test_engine_of_choice_is_io_uring_where_it_may_be(run_host, linux_only):
    for manifest in (manifests.one(), on("auto")):
        assert run_host(manifest).ready["engine"] == "io_uring"


def test_engine_of_another_system_is_an_error_on_windows(fail_to_start, system):
    if not system.is_windows:
        pytest.skip("about the engines of Linux on Windows")
    result = fail_to_start(on("epoll"))
    assert result.code == EXIT_FAILED, result
    assert 'there is no engine "epoll" on Windows' in result.errors, result
