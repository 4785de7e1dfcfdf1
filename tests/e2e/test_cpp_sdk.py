"""Plugins in C++ by plugin.hpp: every call of it, and exceptions that end at the boundary."""

import pytest
from support import clients, manifests

pytestmark = pytest.mark.any_engine


@pytest.fixture
def host(run_host, system):
    if not (system.fixtures / f"cpp-sdk{system.library_suffix}").exists():
        pytest.skip("no compiler of C++ was there when the fixtures were built")
    return run_host(manifests.one("cpp-sdk", "connect"), plugins=system.fixtures)


def ask(sock, *orders, size):
    sock.sendall(b"".join(order + b"\n" for order in orders))
    return clients.receive_exactly(sock, size)


@pytest.mark.parametrize(("orders", "answer"), [
    ((b"count", b"count"), b"1\n2\n"),
    ((b"keep", b"kept"), b"keep\nkeep\n"),
    ((b"make",), b"made\n"),
    ((b"timer",), b"timer\n"),
    ((b"work",), b"work 0\n"),
    ((b"work throws",), b"work -1\n"),
    ((b"post",), b"post 0\n"),
    ((b"dance",), b"no such order\n"),
])
def test_cpp_sdk_order_is_answered(host, orders, answer):
    with clients.connect(host.address("cpp-sdk")) as sock:
        assert ask(sock, *orders, size=len(answer)) == answer


def test_cpp_sdk_tells_whom_it_serves(host):
    with clients.connect(host.address("cpp-sdk")) as sock:
        own = "%s:%d" % sock.getsockname()[:2]
        assert ask(sock, b"peer", size=len(own) + 1) == f"{own}\n".encode()


def test_cpp_sdk_says_goodbye_and_is_told_the_reason(host):
    with clients.connect(host.address("cpp-sdk")) as sock:
        sock.shutdown(1)
        assert clients.receive_to_end(sock) == b"bye\n"
    clients.wait_until(lambda: "closed for " in host.log(), "the reason")


@pytest.mark.parametrize(("order", "words"), [
    (b"throw", "thrown at a client"),
    (b"throw a number", "an exception that is no std::exception"),
])
def test_cpp_sdk_exception_ends_its_connection_alone(host, order, words):
    with clients.connect(host.address("cpp-sdk")) as other:
        with clients.connect(host.address("cpp-sdk")) as sock:
            sock.sendall(order + b"\n")
            with pytest.raises(ConnectionResetError):
                while sock.recv(100):
                    pass
        assert ask(other, b"make", size=5) == b"made\n"
    clients.wait_until(lambda: words in host.log(), "what was thrown")


def test_cpp_sdk_exception_of_a_service_refuses_the_start(fail_to_start, system):
    if not (system.fixtures / f"cpp-sdk{system.library_suffix}").exists():
        pytest.skip("no compiler of C++ was there when the fixtures were built")
    manifest = manifests.one("cpp-sdk", "connect")
    manifest["listeners"]["cpp-sdk"]["config"] = {"refuse": True}
    result = fail_to_start(manifest, plugins=system.fixtures)
    assert result.code != 0 and "/refuse: told to" in result.errors, result


def test_cpp_sdk_plugin_breaks_no_rule(berth, system):
    library = system.fixtures / f"cpp-sdk{system.library_suffix}"
    if not library.exists():
        pytest.skip("no compiler of C++ was there when the fixtures were built")
    result = berth("plugin", "validate", system.path(library))
    assert result.code == 0, result
