"""The ready file and the ready lines: written when everything accepts, whole, and true."""

import json

import pytest
from support import clients, manifests


def two_listeners():
    return manifests.manifest(
        {
            "echo-on-data": manifests.listener(),
            "packets": manifests.listener("packet-echo", "connect", ["127.0.0.1:0", "127.0.0.1:0"]),
        }
    )


@pytest.mark.quick
def test_ready_file_tells_what_is_served(run_host, system):
    host = run_host(two_listeners())
    ready = host.ready
    assert ready["pid"] > 0
    if not system.is_windows:  # Wine counts processes in its own way
        assert ready["pid"] == host.process.pid
    assert ready["engine"] == system.engine
    # Wine's second lives are mute, and Linux needs none: the trial must have found that out.
    assert ready["socket_reuse"].startswith("off: "), ready["socket_reuse"]
    if system.is_windows:
        assert "DisconnectEx: " in ready["socket_reuse"]
        assert "TransmitFile: " in ready["socket_reuse"]
    assert f"sockets used again: {ready['socket_reuse']}" in host.log()
    assert list(ready["listeners"]) == ["echo-on-data", "packets"]
    data, packets = ready["listeners"].values()
    assert (data["plugin"], data["accept"]) == ("echo", "data")
    assert (packets["plugin"], packets["accept"]) == ("packet-echo", "connect")
    assert data["version"] and packets["version"]
    assert len(data["addresses"]) == 1 and len(packets["addresses"]) == 2
    for name in ready["listeners"]:
        for _, port in host.addresses(name):
            assert port > 0


@pytest.mark.quick
def test_ready_lines_tell_the_same_a_line_a_listener(run_host, system):
    host = run_host(two_listeners())
    lines = host.output().splitlines()
    assert len(lines) == 2
    for line, (name, listener) in zip(lines, host.ready["listeners"].items()):
        when = "first data" if listener["accept"] == "data" else "connect"
        assert line.startswith(f"{name}: listening on {', '.join(listener['addresses'])} ")
        assert f"{listener['plugin']} {listener['version']}" in line
        assert f"accepts on {when}" in line
        assert f"engine {system.engine}" in line


def test_ready_file_is_whole_whenever_it_can_be_seen(start_host, system):
    """Looked at again and again while the host starts: it is not there, or it is complete."""
    for _ in range(2 if system.is_windows else 10):
        host = start_host(two_listeners())

        def seen():
            assert host.process.poll() is None, host.log()
            try:
                return json.loads(host.ready_file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return None

        ready = clients.wait_until(seen, "the ready file", clients.START_S)
        assert len(ready["listeners"]) == 2
        assert clients.is_served(host.address("echo-on-data")), "ready means accepting"
        host.stop()


def test_ready_file_replaces_an_old_one(start_host):
    host = start_host(two_listeners(), old_ready_text="{ an old one")

    def replaced():
        assert host.process.poll() is None, host.log()
        return not host.ready_file.read_text(encoding="utf-8").startswith("{ an old")

    clients.wait_until(replaced, "a new ready file", clients.START_S)
    assert clients.is_served(host.address("echo-on-data"))


def test_ready_file_leaves_nothing_beside_it(run_host):
    host = run_host(two_listeners())
    names = {path.name for path in host.ready_file.parent.iterdir()}
    assert names == {"ready.json", "berth.json", "stdout", "stderr"}


def test_ready_file_that_cannot_be_written_fails_the_start(fail_to_start, tmp_path):
    result = fail_to_start(two_listeners(), ready_file=tmp_path / "no such folder" / "ready.json")
    assert result.code == 1
    assert len(result.error_lines) == 1
    assert "ready file" in result.errors and "no such folder" in result.errors
