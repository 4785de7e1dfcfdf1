"""What the http plugin keeps, and what it gives back; what tells one state of a file from another;
and answers that are the last of their connection."""

import os
import socket
import subprocess
import time

import pytest
from support import clients, manifests, web

LARGE = 100_000
"""Above "cache_file_bytes": such a file is kept open, and not its bytes."""


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "small").write_bytes(b"0123456789")
    return folder


@pytest.fixture
def run_web(run_host, system, root):
    def run(config=None, **more):
        return run_host(web.manifest(system, root, config, **more))

    return run


def _open_in(host, folder):
    """The files of the folder that the host has open: Linux."""
    found = []
    for fd in os.listdir(f"/proc/{host.process.pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{host.process.pid}/fd/{fd}"))
        except OSError:
            continue
    return [name for name in found if name.startswith(f"{folder}/")]


@pytest.mark.linux("there nothing large is kept open; see the test of replaced files")
def test_http_kept_file_is_closed_when_its_time_is_over(run_web, root):
    for i in range(20):
        (root / f"large-{i}").write_bytes(b"x" * LARGE)
    host = run_web({"cache_ms": 300})
    with web.client(host) as client:
        for i in range(20):
            assert client.ask(f"/large-{i}", method="HEAD").status == 200
    clients.wait_until(lambda: not _open_in(host, root), lambda: f"still open: {_open_in(host, root)}")


@pytest.mark.linux("the files that a process has open are told by /proc")
def test_http_small_file_is_not_kept_open_at_all(run_web, root):
    host = run_web({"cache_ms": 3600000})
    with web.client(host) as client:
        for _ in range(2):
            assert client.ask("/small").body == b"0123456789"
        assert not _open_in(host, root)


@pytest.mark.parametrize("size", [10, LARGE])
def test_http_file_that_was_served_can_be_replaced_by_its_own_system(run_web, root, system, wine, size):
    (root / "page").write_bytes(b"o" * size)
    (root / "new").write_bytes(b"n" * size)
    host = run_web({"cache_ms": 1000})
    with web.client(host) as client:
        assert client.ask("/page").body == b"o" * size
        if system.is_windows:
            moved = subprocess.run(
                [wine.program, "cmd", "/c", "move", "/y", "new", "page"], cwd=root, check=False,
                env=system.environment(), capture_output=True, text=True, errors="replace")
            assert moved.returncode == 0, moved
        else:
            os.replace(root / "new", root / "page")
        clients.wait_until(lambda: client.ask("/page").body == b"n" * size, "the new page")


def test_http_cache_makes_room_when_no_more_files_may_be_open(run_host, system, root):
    for i in range(60):
        (root / f"large-{i}").write_bytes(b"x" * LARGE)
    manifest = web.manifest(system, root, {"cache_ms": 3600000})
    manifest["host"] = {**manifest.get("host", {}), "limits": {"files": 10}}
    host = run_host(manifest)
    with web.client(host) as client:
        for i in range(60):
            assert client.ask(f"/large-{i}", method="HEAD").status == 200


@pytest.mark.linux("Windows does not limit how many handles a process may have")
def test_http_cache_takes_no_descriptors_of_other_listeners(run_host, system, root):
    for i in range(300):
        (root / f"large-{i}").write_bytes(b"x" * LARGE)
    manifest = web.manifest(system, root, {"cache_ms": 3600000})
    manifest["listeners"]["beside"] = manifests.listener("echo", "connect")
    host = run_host(manifest, descriptors="256:256")
    with web.client(host) as client:
        for i in range(300):
            assert client.ask(f"/large-{i}", method="HEAD").status == 200
        for _ in range(3):
            with clients.connect(host.address("beside")) as sock:
                assert clients.echo(sock, b"room for me") == b"room for me"


# -- what tells one state of a file from another ---------------------------------------------------


def test_http_tag_tells_files_of_one_size_and_date_apart(run_web, root):
    host = run_web({"cache_ms": 0})
    old = 1_000_000_000
    os.utime(root / "small", (old, old))
    with web.client(host) as client:
        first = clients.wait_until(
            lambda: (a := client.ask("/small")).fields["etag"].startswith('"') and a, "a strong tag")
        (root / "other").write_bytes(b"abcdefghij")
        os.utime(root / "other", (old, old))
        os.replace(root / "other", root / "small")
        answer = client.ask("/small", If_None_Match=first.fields["etag"])
        assert answer.status == 200 and answer.body == b"abcdefghij"
        assert answer.fields["last-modified"] == first.fields["last-modified"]
        assert answer.fields["etag"] != first.fields["etag"]
        (root / "small").write_bytes(b"ABCDEFGHIJ")  # in place: size, date and identity are the same
        os.utime(root / "small", (old, old))
        changed = client.ask("/small", Range="bytes=1-2", If_Range=answer.fields["etag"])
        assert changed.status == 200 and changed.body == b"ABCDEFGHIJ"


def test_http_older_file_in_the_place_of_a_newer_one_is_a_modified_one(run_web, root):
    host = run_web({"cache_ms": 0})
    newer, older = 1_500_000_000, 1_400_000_000
    os.utime(root / "small", (newer, newer))
    with web.client(host) as client:
        date = client.ask("/small").fields["last-modified"]
        assert client.ask("/small", If_Modified_Since=date).status == 304
        (root / "other").write_bytes(b"abcdefghij")
        os.utime(root / "other", (older, older))
        os.replace(root / "other", root / "small")
        assert client.ask("/small", If_Modified_Since=date).status == 200
        assert client.ask("/small", If_Unmodified_Since=date).status == 412


def test_http_tag_of_a_file_that_has_just_changed_is_weak_and_no_range_goes_by_it(run_web, root):
    host = run_web({"cache_ms": 0})
    with web.client(host) as client:

        def weak():
            (root / "small").write_bytes(b"9876543210")
            answer = client.ask("/small")
            return answer.fields["etag"].startswith("W/") and answer.fields["etag"]

        tag = clients.wait_until(weak, "an answer right behind the change")
        assert client.ask("/small", Range="bytes=1-2", If_Range=tag).status == 200
        assert client.ask("/small", If_Match=tag).status == 412
        strong = clients.wait_until(
            lambda: (e := client.ask("/small").fields["etag"]).startswith('"') and e, "a strong tag")
        assert client.ask("/small", Range="bytes=1-2", If_Range=strong).status == 206
        assert client.ask("/small", If_None_Match=tag).status == 200, "it may have changed meanwhile"


# -- the last answer of a connection ---------------------------------------------------------------


def _request(version="1.1", target="/small"):
    close = "Connection: close\r\n" if version == "1.1" else ""
    return f"GET {target} HTTP/{version}\r\nHost: test\r\n{close}\r\n".encode()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("late", [b"x", b"x" * 100_000])
def test_http_last_answer_survives_what_the_client_still_says(run_web, version, late):
    host = run_web()
    for _ in range(10):
        with clients.connect(host.address("http")) as sock:
            sock.sendall(_request(version))
            clients.send_quietly(sock, late)
            time.sleep(0.02)  # it reads late, too
            assert clients.receive_to_end(sock).endswith(b"0123456789")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_http_last_answer_may_be_paused_as_long_as_any_other(run_web, root, version):
    size = 16 * 1024 * 1024
    with open(root / "big", "wb") as file:
        file.truncate(size)
    host = run_web({"keep_alive_timeout_ms": 60000}, close_timeout_ms=200)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.settimeout(clients.WAIT_S)
        sock.connect(host.address("http"))
        sock.sendall(_request(version, "/big"))
        head = sock.recv(100)
        time.sleep(2)  # ten times what a close of the host waits
        assert len(head) + len(clients.receive_to_end(sock)) > size


def test_http_last_answer_that_nobody_takes_ends_by_the_send_timeout(run_web, root):
    with open(root / "big", "wb") as file:
        file.truncate(64 * 1024 * 1024)
    host = run_web({"keep_alive_timeout_ms": 500}, close_timeout_ms=100)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(host.address("http"))
        sock.sendall(_request(target="/big"))
        assert sock.recv(100)
        clients.wait_until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0,
                           "a reset, without a byte being taken")
