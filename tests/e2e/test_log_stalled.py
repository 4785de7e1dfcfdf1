"""Whoever reads the log, or standard output, stalls: everybody is served all the same, and what had
to be dropped is told."""

import json
import os
import re
import stat
import time

import pytest
from support import clients, manifests
from support.stalled import Pipe

pytestmark = pytest.mark.any_engine

REQUEST = b"GET /?%d HTTP/1.1\r\nHost: a\r\n\r\n"
QUEUE_BYTES = 65536
DROPPED = re.compile(r"log: (\d+) lines were dropped")
END_S = 20  # that it ends at all


def web(tmp_path, log, **host):
    (tmp_path / "www").mkdir(exist_ok=True)
    (tmp_path / "www" / "index.html").write_text("hello\n", encoding="ascii")
    return {"manifest": 1, "host": {"workers": 1, "name": f"stalled-{tmp_path.name[-40:]}", "log": log, **host},
            "listeners": {
                "web": manifests.listener("http", "connect",
                                          config={"root": str(tmp_path / "www"), "access_log": True}),
                "echo": manifests.listener(),
            }}


def ask_many(address, first, count):
    """So many requests, each answered."""
    with clients.connect(address) as sock, sock.makefile("rb") as reader:
        for begin in range(first, first + count, 50):
            sock.sendall(b"".join(REQUEST % number for number in range(begin, begin + 50)))
            for _ in range(50):
                assert reader.readline().startswith(b"HTTP/1.1 200 "), "not served"
                while reader.readline() != b"\r\n":
                    pass
                assert reader.readline() == b"hello\n"


@pytest.fixture
def run_stalled(start_host, system, tmp_path):
    """run_stalled(pipe, log=…) serves http with an access log, and an echo."""

    def run(pipe, log=None, arguments=(), **host):
        log = {"queue_bytes": QUEUE_BYTES, "flush_timeout_ms": 300, **(log or {})}
        manifest = web(tmp_path, log, **host)
        if system.is_windows:
            config = manifest["listeners"]["web"]["config"]
            config["root"] = system.path(tmp_path / "www")
        started = start_host(manifest, stderr=pipe.write_end, arguments=arguments)
        pipe.started()
        return started.wait_ready()

    return run


def test_log_reader_that_stalls_keeps_nobody_waiting(run_stalled, berth):
    with Pipe() as pipe:
        host = run_stalled(pipe)
        ask_many(host.address("web"), 0, 1500)
        assert clients.is_served(host.address("echo"))
        result = berth("status", "--json", "--manifest", host.manifest_path)
        assert json.loads(result.output)["result"]["log"]["dropped"] > 100, result
        text = berth("status", "--manifest", host.manifest_path).output
        assert DROPPED.search(text), text
        host.interrupt()
        assert host.process.wait(END_S) == 0


def test_log_tells_what_it_dropped_where_it_is_missing(run_stalled):
    with Pipe() as pipe:
        host = run_stalled(pipe, {"format": "json"})
        ask_many(host.address("web"), 0, 1500)
        text = pipe.read(lambda data: b"log_dropped" in data and data.endswith(b"\n"))
        ask_many(host.address("web"), 1500, 50)
        host.interrupt()
        text += pipe.read_rest(host.process)
    lines = [json.loads(line) for line in text.splitlines() if line]
    seen = []
    for line in lines:
        number = re.search(r"GET /\?(\d+) ", line["message"])
        dropped = DROPPED.search(line["message"])
        if number:
            seen.append(int(number[1]))
        elif dropped:
            seen.append(-int(dropped[1]))
    expected = 0
    for one in seen:
        if one < 0:
            expected -= one
        else:
            assert one == expected, "the order, and each that is missing is counted"
            expected += 1
    assert expected == 1550 and any(one < 0 for one in seen)


def test_log_that_is_read_in_time_has_every_line(run_stalled):
    with Pipe(size=1024 * 1024) as pipe:
        host = run_stalled(pipe, {"queue_bytes": 1048576})
        ask_many(host.address("web"), 0, 1000)
        host.interrupt()
        text = pipe.read_rest(host.process)
    numbers = [int(number) for number in re.findall(r"GET /\?(\d+) ", text)]
    assert numbers == list(range(1000))


def test_log_without_a_reader_keeps_nobody_waiting(run_stalled):
    with Pipe() as pipe:
        host = run_stalled(pipe)
        pipe.close()
        ask_many(host.address("web"), 0, 100)
        assert clients.is_served(host.address("echo"))
        host.interrupt()
        assert host.process.wait(END_S) == 0


@pytest.mark.linux("needs a device that is full")
def test_log_on_a_full_disk_keeps_nobody_waiting(start_host, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs a device that is full")
    device = tmp_path / "full"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    fd = os.open(device, os.O_WRONLY)
    try:
        host = start_host(web(tmp_path, {"flush_timeout_ms": 300}), stderr=fd).wait_ready()
        ask_many(host.address("web"), 0, 100)
        assert clients.is_served(host.address("echo"))
        host.interrupt()
        assert host.process.wait(END_S) == 0
    finally:
        os.close(fd)


def test_output_reader_that_stalls_keeps_nobody_waiting(start_host, tmp_path):
    with Pipe(full=True) as pipe:
        host = start_host(web(tmp_path, {"flush_timeout_ms": 300}), stdout=pipe.write_end)
        pipe.started()
        host.wait_ready()
        assert clients.is_served(host.address("echo"))
        host.interrupt()
        assert host.process.wait(END_S) == 0


def test_output_is_read_later_and_whole(start_host, tmp_path):
    with Pipe(full=True) as pipe:
        host = start_host(web(tmp_path, {}), stdout=pipe.write_end)
        pipe.started()
        host.wait_ready()
        text = pipe.read(lambda data: data.count(b"listening on") == 2)
        assert re.search(r"^web: listening on 127\.0\.0\.1:\d+ with http ", text, re.MULTILINE)
        assert re.search(r"^echo: listening on 127\.0\.0\.1:\d+ with echo ", text, re.MULTILINE)


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
@pytest.mark.parametrize("reads", [True, False])
def test_crash_with_a_stalled_log_ends_the_process(start_host, system, reads):
    with Pipe() as pipe:
        os.write(pipe.write_end, b"\n" * 4096)
        host = start_host(manifests.one("faulty", "connect", host={"log": {"flush_timeout_ms": 300}}),
                          plugins=system.fixtures, stderr=pipe.write_end)
        pipe.started()
        host.wait_ready()
        host.expect_crash()
        with clients.connect(host.address("faulty")) as sock:
            sock.sendall(b"\x800")
            if reads:
                text = pipe.read_rest(host.process)
                assert "crash: " in text and "in callback received" in text, text
            assert host.process.wait(END_S) != 0


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_supervisor_with_a_stalled_log_starts_the_host_again(start_host, berth, system):
    with Pipe() as pipe:
        os.write(pipe.write_end, b"\n" * 4096)
        host = start_host(
            manifests.one("faulty", "connect", host={"name": "stalled-supervised", "crash_end_ms": 3000}),
            plugins=system.fixtures, stderr=pipe.write_end, arguments=["--supervise"],
        )
        pipe.started()
        host.wait_ready()
        with clients.connect(host.address("faulty")) as sock:
            sock.sendall(b"\x800")

        def again():
            result = berth("status", "--json", "--manifest", host.manifest_path)
            return result.code == 0 and json.loads(result.output)["result"]["restarts"] == 1

        clients.wait_until(again, "the next host")
        host.interrupt()
        assert host.process.wait(END_S) == 0
