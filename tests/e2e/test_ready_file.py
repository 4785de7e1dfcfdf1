"""The ready file and the ready lines: written when everything accepts, whole, and true."""

import json
import os
import pathlib
import stat

import pytest
from support import clients, manifests
from support.host import parse_address


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
        return host.ready_file.exists() and "an old one" not in host.ready_file.read_text(encoding="utf-8")

    clients.wait_until(replaced, "a new ready file", clients.START_S)
    assert clients.is_served(host.address("echo-on-data"))


@pytest.mark.any_engine
def test_ready_file_of_an_earlier_host_goes_even_when_the_start_fails(fail_to_start, tmp_path):
    """The fixture looks: it must not be there in the end."""
    for manifest in ("{", manifests.one("no-such-plugin")):
        fail_to_start(manifest, old_ready_text='{"pid": 1, "name": "berth"}')


@pytest.mark.any_engine
def test_ready_file_is_never_the_manifest(berth, system, tmp_path):
    path = tmp_path / "berth.json"
    path.write_text(json.dumps(two_listeners()), encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    done = berth("run", "--manifest", system.path(path), "--ready-file", system.path(path))
    assert done.code == 2 and "it is the manifest" in done.errors, done
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.any_engine
def test_ready_file_of_a_host_that_serves_stays_when_another_one_cannot_start(run_host, fail_to_start):
    first = run_host(two_listeners())
    before = first.ready
    manifest = two_listeners()
    manifest["host"] = {"name": "berth"}
    with pytest.raises(AssertionError, match="ready.json"):  # the fixture expects none in the end
        fail_to_start(manifest, ready_file=first.ready_file)
    assert first.ready == before


def test_ready_file_of_the_next_host_outlives_the_one_that_drains(start_host, run_host):
    """A host that ends removes its own file, and not the one that the next host has written there."""
    first = run_host(manifests.one(host={"drain_timeout_ms": 600_000}))
    with clients.connect(first.address("echo")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        first.interrupt()
        first.wait_for_log("stopping: no new connections")
        old = first.ready
        second = start_host(manifests.one(host={"name": "next"}), ready_file=first.ready_file)
        second.wait_for_log("sockets used again")
        clients.wait_until(lambda: first.ready_file.exists() and first.ready != old, "the next one's file")
        written = second.ready
    assert first.wait() == 0
    assert second.ready == written
    second.stop()
    assert not second.ready_file.exists(), "its own it removes"


def kind_of(path):
    return stat.S_IFMT(os.lstat(path).st_mode) if os.path.lexists(path) else None


@pytest.mark.linux("such files are those of Linux; devices have a test of their own")
@pytest.mark.any_engine
def test_ready_file_that_is_a_device_stays_one(start_host, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make devices")
    node = tmp_path / "null"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    host = start_host(two_listeners(), ready_file=node)
    host.wait_for_log("sockets used again")
    host.stop()
    assert kind_of(node) == stat.S_IFCHR
    assert os.lstat(node).st_rdev == os.makedev(1, 3)


@pytest.mark.windows("its name is one on Windows only")
@pytest.mark.any_engine
def test_ready_file_that_is_a_device_of_windows_is_written_into(start_host):
    host = start_host(two_listeners(), ready_file=NulDevice("NUL"))
    host.wait_for_log("sockets used again")
    host.stop()


class NulDevice(str):
    """A file's name that is none of this machine."""

    def exists(self):
        return False


@pytest.mark.linux("such files are those of Linux; devices have a test of their own")
@pytest.mark.any_engine
def test_ready_file_that_is_a_pipe_is_written_when_somebody_reads(start_host, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    host = start_host(two_listeners(), ready_file=fifo)
    host.wait_for_log("is a named pipe that nobody reads")
    clients.wait_until(lambda: host.output().count("listening on") == 2, "it serves all the same")
    ready = json.loads(fifo.read_text(encoding="utf-8"))
    assert ready["pid"] == host.process.pid
    address = parse_address(ready["listeners"]["echo-on-data"]["addresses"][0])
    assert clients.is_served(address)
    host.stop()
    assert kind_of(fifo) == stat.S_IFIFO


@pytest.mark.linux("such files are those of Linux; devices have a test of their own")
@pytest.mark.any_engine
def test_ready_file_that_is_a_link_stays_one_and_what_it_leads_to_is_written(start_host, tmp_path):
    target = tmp_path / "target.json"
    link = tmp_path / "link.json"
    link.symlink_to(target)
    for _ in range(2):  # the file is made, and written once more
        host = start_host(two_listeners(), ready_file=link)
        host.wait_for_log("sockets used again")
        clients.wait_until(lambda: target.exists() and target.stat().st_size > 0, "what it says")
        inode = target.stat().st_ino
        assert json.loads(target.read_text(encoding="utf-8"))["pid"] == host.process.pid
        host.stop()
        assert kind_of(link) == stat.S_IFLNK and kind_of(target) == stat.S_IFREG
        assert target.stat().st_ino == inode and target.stat().st_size == 0, "it says nothing any more"


@pytest.mark.linux("such files are those of Linux; devices have a test of their own")
@pytest.mark.any_engine
def test_ready_file_on_standard_output_takes_nothing_away(start_host, tmp_path):
    host = start_host(two_listeners(), ready_file=pathlib.Path("/dev/stdout"))
    clients.wait_until(lambda: host.output().count("listening on") == 2, "the lines of the listeners")
    host.stop()
    assert '"pid"' in host.output() and host.output().count("listening on") == 2


def test_ready_file_leaves_nothing_beside_it(run_host):
    host = run_host(two_listeners())
    names = {path.name for path in host.ready_file.parent.iterdir()}
    assert names == {"ready.json", "berth.json", "stdout", "stderr"}


def test_ready_file_that_cannot_be_written_fails_the_start(fail_to_start, tmp_path):
    result = fail_to_start(two_listeners(), ready_file=tmp_path / "no such folder" / "ready.json")
    assert result.code == 1
    assert len(result.error_lines) == 1
    assert "ready file" in result.errors and "no such folder" in result.errors
