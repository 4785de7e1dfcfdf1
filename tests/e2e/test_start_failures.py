"""What keeps a host from starting: one clear line each, exit code 1, and nothing half started."""

import socket

import pytest
from support import clients, manifests


@pytest.fixture
def busy_port():
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def assert_one_line(result, *parts, code=1):
    assert result.code == code, result
    assert len(result.error_lines) == 1, result
    for part in parts:
        assert part in result.errors, result


def test_port_in_use_by_a_stranger_is_one_line(fail_to_start, busy_port):
    result = fail_to_start(manifests.one(address=f"127.0.0.1:{busy_port}"))
    assert_one_line(result, 'listener "echo"', f"bind 127.0.0.1:{busy_port}", "address in use")


@pytest.mark.quick
def test_port_in_use_by_another_host_is_one_line(run_host, fail_to_start):
    """Neither host may share the port with the other, whatever the system would allow."""
    first = run_host(manifests.one())
    ip, port = first.address("echo")
    result = fail_to_start(manifests.one(address=f"{ip}:{port}"))
    assert_one_line(result, 'listener "echo"', f"bind {ip}:{port}", "address in use")
    assert clients.is_served((ip, port)), "the first one goes on"


def test_port_in_use_twice_in_one_manifest_is_one_line(fail_to_start):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    manifest = manifests.manifest(
        {
            "first": manifests.listener(address=f"0.0.0.0:{port}"),
            "second": manifests.listener(address=f"127.0.0.1:{port}"),
        }
    )
    result = fail_to_start(manifest)
    assert result.code in (1, 78)
    assert len(result.error_lines) == 1 and "second" in result.errors


def test_port_in_use_keeps_the_good_listeners_from_serving(fail_to_start, busy_port):
    with socket.create_server(("127.0.0.1", 0)) as free:
        good_port = free.getsockname()[1]
    manifest = manifests.manifest(
        {
            "good": manifests.listener(address=f"127.0.0.1:{good_port}"),
            "busy": manifests.listener(address=f"127.0.0.1:{busy_port}"),
        }
    )
    result = fail_to_start(manifest)
    assert_one_line(result, 'listener "busy"', f"bind 127.0.0.1:{busy_port}", "address in use")
    assert clients.is_refused(("127.0.0.1", good_port))


def test_address_of_another_machine_is_one_line(fail_to_start):
    result = fail_to_start(manifests.one(address="192.0.2.1:0"))
    assert_one_line(result, 'listener "echo"', "bind 192.0.2.1:0")


def test_plugin_that_is_not_there_suggests_the_nearest(fail_to_start):
    result = fail_to_start(manifests.one("ecko"))
    assert_one_line(result, "/listeners/ecko/plugin", '"ecko"', 'did you mean "echo"?')


def test_plugins_that_are_not_there_are_all_told(fail_to_start):
    manifest = manifests.manifest(
        {
            "good": manifests.listener(),
            "one": manifests.listener("packet-ecko"),
            "two": manifests.listener("zzz"),
        }
    )
    result = fail_to_start(manifest)
    assert result.code == 1 and len(result.error_lines) == 2, result
    assert "/listeners/one/plugin" in result.errors
    assert 'did you mean "packet-echo"?' in result.errors
    assert "/listeners/two/plugin" in result.errors


def test_plugins_folder_that_is_not_there_is_one_line(fail_to_start, tmp_path):
    result = fail_to_start(manifests.one(), plugins=tmp_path / "nowhere")
    assert_one_line(result, "nowhere")
