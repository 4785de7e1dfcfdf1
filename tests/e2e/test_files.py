"""Files and packets."""

import hashlib
import os
import random
import threading

import pytest
from support import clients, services

pytestmark = pytest.mark.direct

MIB = 1024 * 1024
GIB = 1024 * MIB


@pytest.fixture
def content(tmp_path):
    """A file of 3 MiB and something: its path, as the host sees it, and its bytes."""
    data = random.Random(5).randbytes(3 * MIB + 12345)
    path = tmp_path / "content.bin"
    path.write_bytes(data)
    return path, data


@pytest.mark.quick
def test_file_whole_with_head_and_tail(run_services, system, content):
    path, data = content
    host = run_services()
    with services.session(host) as session:
        session.send("file", system.path(path), 0, "all", "head", "tail")
        assert session.read(len(data) + 8) == b"head" + data + b"tail"
        assert session.ask("echo", "x") == "x"


@pytest.mark.parametrize("offset, size", [(0, 1), (1, 4095), (4096, 70000), (3 * MIB, 12345)])
def test_file_run(run_services, system, content, offset, size):
    path, data = content
    host = run_services()
    with services.session(host) as session:
        session.send("file", system.path(path), offset, size, "<", ">")
        assert session.read(size + 2) == b"<" + data[offset : offset + size] + b">"
        session.send("file", system.path(path), len(data), "all", "<", ">")
        assert session.read(2) == b"<>", "nothing is left behind the end"


def test_file_opened_beside_the_manifest_or_not_at_all(run_services, system, tmp_path):
    host = run_services()
    (host.manifest_file.parent / "hello.txt").write_bytes(b"hello")
    (host.manifest_file.parent / "empty").write_bytes(b"")
    (tmp_path / "a folder").mkdir()
    with services.session(host) as session:
        assert session.ask("open", "hello.txt") == "open OK ello"
        assert session.ask("open", "empty") == "open OK "
        assert session.ask("open", system.path(host.manifest_file.parent / "hello.txt")) == "open OK ello"
        assert session.ask("open", "nothing.txt") == "open NOT_FOUND "
        assert session.ask("open", "nothing/at/all") == "open NOT_FOUND "
        assert session.ask("open", "..") == "open INVALID "
        assert session.ask("open", "x" * 200 + "/" + "x" * 300) == "open NOT_FOUND "


def test_packets_of_memory_and_files_in_order(run_services, system, content):
    path, data = content
    count = 200
    host = run_services()
    expected = b"".join(b"<%d>" % i + data[i : i + 7] for i in range(count))
    with services.session(host) as session:
        session.send("packets", system.path(path), count)
        assert session.read(len(expected)) == expected
        assert session.ask("echo", "x") == "x"


def test_file_that_is_not_in_memory_arrives_too(run_services, system, content):
    """Its pages are dropped first, where the file system lets them go."""
    path, data = content
    host = run_services()
    with services.session(host) as session:
        for _ in range(3):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            session.send("file", system.path(path), 0, "all", "<", ">")
            assert session.read(len(data) + 2) == b"<" + data + b">"


def test_file_that_is_not_there_is_told_with_the_reason(run_services, system, tmp_path):
    host = run_services()
    with services.session(host) as session:
        assert session.ask("stat", system.path(tmp_path / "nothing")).startswith("no file: ")
        assert session.ask("stat", system.path(tmp_path)) == "no file: is a folder"


def test_file_status(run_services, system, content):
    path, data = content
    os.utime(path, (1234567890, 1234567890))
    host = run_services()
    with services.session(host) as session:
        assert session.ask("stat", system.path(path)) == f"{len(data)} bytes, 1234567890000"


def test_file_shorter_than_asked_for_closes_in_good_order_and_says_so(run_services, system, content):
    path, data = content
    host = run_services()
    with services.session(host) as session, services.session(host) as other:
        session.send("file", system.path(path), 0, len(data) + 1, "<", ">")
        assert session.rest() == b"<" + data, "what there is, and then a FIN"
        assert other.ask("echo", "x") == "x"
    services.wait_for_log(host, "closed 10")
    assert "a file that is sent has become shorter meanwhile; 1 bytes of it are missing" in host.log()


def test_file_that_shrinks_under_the_send(run_services, system, tmp_path):
    path = tmp_path / "shrinks.bin"
    path.write_bytes(b"s" * (64 * MIB))
    host = run_services()
    with services.session(host) as session, services.session(host) as other:
        session.send("file", system.path(path), 0, "all", "<", ">")
        assert session.read(1) == b"<"
        os.truncate(path, 1 * MIB)
        received = 0
        while part := session.sock.recv(MIB):
            received += len(part)
        assert received < 64 * MIB
        assert other.ask("echo", "x") == "x"
    services.wait_for_log(host, "closed 10")


def test_file_to_clients_that_do_not_read_costs_no_memory_and_stops_nobody(
    run_services, system, tmp_path
):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(256 * MIB)
    host = run_services()
    silent = [services.Session(host) for _ in range(8)]
    try:
        for session in silent:
            session.send("file", system.path(path), 0, "all", "<", ">")
        with services.session(host) as session:
            assert session.ask("echo", "x") == "x"
            session.send("file", system.path(path), 0, 100000, "<", ">")
            assert session.read(100002) == b"<" + bytes(100000) + b">"
        if system.measures_memory:
            assert host.memory_bytes() < 64 * MIB
    finally:
        for session in silent:
            session.close()


@pytest.mark.only("linux", why="five gibibytes take long: once, where memory tells something; both engines send alike")
def test_file_of_five_gibibytes_arrives_whole_in_little_memory(run_services, system, tmp_path):
    """Sparse, with marks around the places where 32-bit sizes wrap."""
    path = tmp_path / "sparse.bin"
    size = 5 * GIB + 3
    with path.open("wb") as file:
        file.truncate(size)
        for place in (0, 2 * GIB - 2, 4 * GIB - 2, 4 * GIB + 1, size - 4):
            file.seek(place)
            file.write(b"mark")
    host = run_services()
    with services.session(host) as session:
        session.send("file", system.path(path), 0, "all", "", "")
        received = hashlib.sha256()
        left = size
        buffer = bytearray(4 * MIB)
        while left > 0:
            count = session.sock.recv_into(buffer, min(left, len(buffer)))
            assert count > 0
            received.update(memoryview(buffer)[:count])
            if left // (16 * MIB) != (left - count) // (16 * MIB):
                assert host.memory_bytes() < 64 * MIB
            left -= count
    expected = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(16 * MIB):
            expected.update(part)
    assert received.digest() == expected.digest()


def test_file_beyond_four_gibibytes_begins_at_the_right_place(run_services, system, tmp_path):
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.seek(4 * GIB + 5)
        file.write(b"behind the fourth")
    host = run_services()
    with services.session(host) as session:
        session.send("file", system.path(path), 4 * GIB + 5, "all", "<", ">")
        assert session.read(19) == b"<behind the fourth>"


@pytest.mark.threads
def test_files_of_many_connections_at_once(run_services, system, content):
    path, data = content
    host = run_services()
    failures = []

    def fetch():
        with services.session(host) as session:
            session.send("file", system.path(path), 0, "all", "<", ">")
            if session.read(len(data) + 2) != b"<" + data + b">":
                failures.append("other bytes")

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(clients.TRANSFER_S)
    assert not failures
