"""The load client: every mode counts what it did, and no wrong byte goes by."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import clients, load, manifests

pytestmark = [
    pytest.mark.any_engine,
    pytest.mark.full("*san*", why="the load client is a tool of these tests"),
]

PERCENTILES = ("min", "p50", "p90", "p99", "p99_9", "max")


def text_of(address):
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


@pytest.fixture
def run_load(system, tmp_path):
    """run_load(address, …) runs the client of the system under test."""

    def run(address, *arguments, **options):
        return load.run(system, tmp_path, *arguments, text_of(address), **options)

    return run


@pytest.fixture
def echo_address(run_host):
    limits = {"connections": 1000, "per_client": 1000}
    return run_host(manifests.one(limits=limits)).address("echo")


def assert_in_order(histogram):
    values = [histogram[name] for name in PERCENTILES]
    assert values == sorted(values), histogram
    assert histogram["min"] <= histogram["mean"] <= histogram["max"], histogram


def assert_served(results, connections):
    """Every connection was there at once, and every operation is in the histogram."""
    assert results["connections"]["attempted"] == connections
    assert results["connections"]["connected"] == connections
    assert results["connections"]["open_max"] == connections
    assert results["connections"]["refused"] == results["connections"]["cut"] == 0
    assert results["connect_us"]["count"] == connections
    for name in ("latency_us", "service_us", "connect_us"):
        assert_in_order(results[name])


# -- every mode against an honest server -----------------------------------------------------------


@pytest.mark.threads
@pytest.mark.parametrize("size, pipeline", [(1, 1), (64, 1), (64, 8), (102400, 1), (300000, 2)])
def test_load_round_trips_are_counted_and_timed(echo_address, run_load, size, pipeline):
    result = run_load(echo_address, "-c", 10, "-n", 200, "-s", size, "--pipeline", pipeline)
    results = result.expect_fine().json
    assert_served(results, 10)
    assert results["mode"] == "echo"
    assert results["operations"] == 200
    assert results["bytes_sent"] == results["bytes_received"] == 200 * size
    assert results["latency_us"]["count"] == 200
    assert not results["latency_from_due"]


def test_load_for_a_time_does_something_and_ends(echo_address, run_load):
    results = run_load(echo_address, "-c", 4, "-d", 0.5, "--warmup", 0.2).expect_fine().json
    assert_served(results, 4)
    assert results["seconds"] >= 0.5
    assert results["operations"] > 0
    assert results["latency_us"]["count"] == results["operations"]


def test_load_at_a_rate_sends_no_more_and_counts_from_when_it_was_due(echo_address, run_load):
    rate, size = 6400, 64
    result = run_load(echo_address, "-c", 30, "-b", 10, "-r", rate, "-s", size, "-d", 1)
    results = result.expect_fine().json
    assert_served(results, 30)
    most = 3 * (rate / size * results["seconds"] + 1)
    assert 0 < results["operations"] <= most
    assert results["operations"] * size == results["bytes_received"] == results["bytes_sent"]
    assert results["latency_from_due"]
    for name in PERCENTILES:
        assert results["latency_us"][name] >= results["service_us"][name]


@pytest.mark.parametrize("connections, block, processes, messages", [
    (40, 40, 1, 100),
    pytest.param(40, 40, 4, 100, marks=pytest.mark.linux("--processes is for Linux")),
    (60, 40, 1, 150), (6, 1000, 1, 100),
])
def test_load_rate_is_of_a_block_whole_or_in_part(echo_address, run_load, connections, block,
                                                  processes, messages):
    """A block of which several processes have a part sends as much as one that is whole, half a
    block half as much; where all are less than a block, they are one."""
    result = run_load(echo_address, "-c", connections, "-b", block, "-r", 6400, "-s", 64, "-d", 1,
                      "--processes", processes)
    results = result.expect_fine().json
    # Whatever the machine is doing: each was due within the second, and is counted as one or the other.
    assert abs(results["operations"] + results["unsent"] - messages) <= processes
    assert results["latency_us"]["count"] == results["operations"] + results["unsent"]


@pytest.mark.threads
def test_load_streams_come_back_equal_both_ways(echo_address, run_load):
    result = run_load(echo_address, "-m", "stream", "-c", 5, "-n", 4096, "-s", 2048)
    results = result.expect_fine().json
    assert results["operations"] == 4096
    assert results["bytes_sent"] == results["bytes_received"] == 4096 * 2048


@pytest.mark.threads
@pytest.mark.parametrize("how", [[], ["--reset"], ["--connect-rate", 200]])
def test_load_short_lived_each_is_a_connection(echo_address, run_load, how):
    result = run_load(echo_address, "-m", "short", "-c", 4, "-n", 60, "-s", 700, *how)
    results = result.expect_fine().json
    assert results["operations"] == results["latency_us"]["count"] == 60
    assert results["connections"]["attempted"] == results["connections"]["connected"] == 60
    assert 1 <= results["connections"]["open_max"] <= 4
    assert results["bytes_sent"] == results["bytes_received"] == 60 * 700
    assert_in_order(results["latency_us"])


def test_load_idle_ones_are_served_once_and_stay(echo_address, run_load):
    results = run_load(echo_address, "-m", "idle", "-c", 50, "-d", 0.5).expect_fine().json
    assert_served(results, 50)
    assert results["operations"] == results["bytes_sent"] == results["bytes_received"] == 0


def test_load_silent_ones_connect_and_may_be_cut(run_host, run_load):
    host = run_host(manifests.one(accept={"first_data_timeout_ms": 200}))
    results = run_load(host.address("echo"), "-m", "silent", "-c", 5, "-d", 3).expect_fine().json
    assert results["connections"]["connected"] == 5
    assert results["connections"]["cut"] == 5
    assert results["bytes_sent"] == results["bytes_received"] == 0


def test_load_slow_readers_read_at_their_rate(echo_address, run_load):
    result = run_load(echo_address, "-m", "slow", "-c", 3, "-d", 1, "--read-rate", 2000)
    results = result.expect_fine().json
    assert results["connections"]["connected"] == 3
    assert 0 < results["bytes_received"] < results["bytes_sent"]
    assert results["bytes_received"] <= 3 * 2000 * (results["seconds"] + 1)


def test_load_from_several_addresses(system, run_host, run_load):
    limits = {"per_client": 5, "connections": 100}
    host = run_host(manifests.one(limits=limits, accept={"at_limit": "refuse"}))
    addresses = "127.0.0.1-127.0.0.4"
    result = run_load(host.address("echo"), "-c", 20, "-n", 40, "--from", addresses)
    assert_served(result.expect_fine().json, 20)


def test_load_counts_the_processor_time_of_the_server(system, run_host, run_load):
    host = run_host(manifests.one())
    pid = ["--server-pid", host.process.pid]
    results = run_load(host.address("echo"), "-c", 4, "-d", 0.5, *pid).expect_fine().json
    used = results["server_cpu_seconds"]
    assert used == 0 if system.is_windows else used > 0


def test_load_from_several_processes_adds_up(system, echo_address, run_load):
    arguments = ["-c", 31, "-n", 310, "--processes", 3]
    result = run_load(echo_address, *arguments)
    if system.is_windows:
        assert result.code == 1
        assert "--processes is for Linux" in result.errors
        return
    results = result.expect_fine().json
    assert_served(results, 31)
    assert results["operations"] == results["latency_us"]["count"] == 310


@pytest.mark.skipif(not clients.has_ipv6(), reason="this machine has no ::1")
def test_load_reaches_ipv6(run_host, run_load):
    address = run_host(manifests.one(address="[::1]:0")).address("echo")
    results = run_load(address, "-c", 3, "-n", 30).expect_fine().json
    assert_served(results, 3)
    assert results["target"] == text_of(address)


# -- questions -------------------------------------------------------------------------------------


QUESTION = ["--question", "*1\\r\\n$4\\r\\nPING\\r\\n", "--answer", "+PONG\\r\\n"]
PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


def answering(question, answer, times=None):
    """A server that answers each question, so many times, and then ends the connection."""

    def run(sock):
        received, left = b"", times
        while left != 0:
            while len(received) < len(question):
                if not (more := sock.recv(65536)):
                    return
                received += more
            assert received.startswith(question)
            received = received[len(question):]
            for start in range(0, len(answer), 7):  # in pieces
                sock.sendall(answer[start:start + 7])
            left = left and left - 1
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)

    return run


def http_answer(body, status="200 OK", length=None):
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nX: y\r\ncontent-LENGTH: {length}\r\n\r\n".encode() + body


def http_question(path, close=False):
    end = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{end}\r\n".encode()


def test_load_questions_are_answered_and_counted(serve, run_load):
    result = run_load(serve(answering(PING, PONG)), "-c", 3, "-n", 60, *QUESTION)
    results = result.expect_fine().json
    assert_served(results, 3)
    assert results["operations"] == results["latency_us"]["count"] == 60
    assert results["bytes_sent"] == 60 * len(PING)
    assert results["bytes_received"] == 60 * len(PONG)


def test_load_another_answer_is_an_error(serve, run_load):
    result = run_load(serve(answering(PING, b"-ERR!\r\n")), "-n", 5, *QUESTION)
    assert result.code == 1
    assert "connection 0: the answer is another one" in result.json["first_errors"][0]


def test_load_answer_without_a_question_is_an_error(serve, run_load):
    result = run_load(serve(answering(PING, PONG + PONG)), "-n", 5, *QUESTION)
    assert result.code == 1
    assert "an answer without a question" in result.json["first_errors"][0]


@pytest.mark.parametrize("size", [0, 1, 70000])
def test_load_http_bodies_are_compared_with_the_file(serve, run_load, tmp_path, size):
    body = bytes(i % 251 for i in range(size))
    (tmp_path / "body").write_bytes(body)
    address = serve(answering(http_question("/x"), http_answer(body)))
    result = run_load(address, "-c", 2, "-n", 10, "--http", "/x", "--body", "body")
    assert result.expect_fine().json["operations"] == 10


def test_load_http_on_a_connection_each(serve, run_load):
    address = serve(answering(http_question("/x", close=True), http_answer(b"abc"), times=1))
    short = ["-m", "short", "--server-closes"]
    results = run_load(address, *short, "-n", 8, "--http", "/x").expect_fine().json
    assert results["operations"] == results["connections"]["attempted"] == 8


@pytest.mark.parametrize("answer, why", [
    (http_answer(b"abd"), "the body is not the file"),
    (http_answer(b"abcd"), "the body is not as long as the file"),
    (http_answer(b"abc", length="3junk"), "the Content-Length is no number"),
    (http_answer(b"abc", length="-3"), "the Content-Length is no number"),
    (http_answer(b"abc", length=""), "the Content-Length is no number"),
    (http_answer(b"abc", status="404 Not Found"), "the status is not 200 in HTTP/1.1"),
    (b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nabc", "the answer has no Content-Length"),
    (b"HTTP/1.1 200 OK\r\nX: " + 2000 * b"y", "the head is too long"),
])
def test_load_wrong_http_answer_is_an_error(serve, run_load, tmp_path, answer, why):
    (tmp_path / "body").write_bytes(b"abc")
    address = serve(answering(http_question("/x"), answer))
    result = run_load(address, "-n", 2, "--http", "/x", "--body", "body")
    assert result.code == 1
    assert why in result.json["first_errors"][0]


# -- servers that are not honest -------------------------------------------------------------------


class Server:
    """Accepts and has each connection served by a function of it, in a thread."""

    def __init__(self, serve):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._serve = serve
        self.address = self._listener.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._one, args=[sock], daemon=True).start()

    def _one(self, sock):
        with contextlib.suppress(OSError), sock:
            self._serve(sock)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def serve():
    servers = []

    def start(function):
        servers.append(Server(function))
        return servers[-1].address

    yield start
    for server in servers:
        server.close()


def echo_but(change):
    """A server that echoes, but for what change(data, position) makes of it."""

    def run(sock):
        position = 0
        while data := sock.recv(65536):
            sock.sendall(change(data, position))
            position += len(data)

    return run


def flip_byte_150(data, position):
    if not position <= 150 < position + len(data):
        return data
    changed = bytearray(data)
    changed[150 - position] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize("arguments", [
    ["-n", 10], ["-m", "stream", "-n", 10], ["-m", "short", "-n", 1, "-s", 200],
])
def test_load_one_wrong_byte_is_found_and_named(serve, run_load, arguments):
    result = run_load(serve(echo_but(flip_byte_150)), *arguments)
    assert result.code == 1, result
    assert result.json["errors"] >= 1
    assert "connection 0: byte 150 came back as 0x" in result.json["first_errors"][0]
    assert "byte 150" in result.output


def test_load_a_byte_too_many_is_an_error(serve, run_load):
    address = serve(echo_but(lambda data, position: data + b"!"))
    result = run_load(address, "-n", 10, "--patience", 1)
    assert result.code == 1, result
    assert "65 bytes came back of 64 sent" in result.json["first_errors"][0]


def test_load_a_byte_missing_is_an_error(serve, run_load):
    address = serve(echo_but(lambda data, position: data if position < 64 else data[:-1]))
    result = run_load(address, "-n", 10, "-d", 1, "--patience", 1)
    assert result.code == 1, result
    assert "only 127 of 128 bytes came back" in result.json["first_errors"][0]


def test_load_a_server_that_closes_early_is_an_error(serve, run_load):
    def two_messages(sock):
        for _ in range(2):
            sock.sendall(sock.recv(64))

    result = run_load(serve(two_messages), "-n", 10)
    assert result.code == 1, result
    assert result.json["connections"]["cut"] == 1
    assert "128 of" in result.json["first_errors"][0]


@pytest.mark.parametrize("arguments", [
    ["-n", 10], ["-n", 10, "--pipeline", 8], ["-n", 10, "-c", 3], ["-m", "stream", "-d", 60],
])
def test_load_server_that_answers_no_more_is_given_up(serve, run_load, arguments):
    def greet_and_stop(sock):
        sock.sendall(clients.receive_exactly(sock, 64))
        while sock.recv(65536):
            pass

    result = run_load(serve(greet_and_stop), "--patience", 1, *arguments)
    assert result.code == 1, result
    assert "no answer with 64 of" in result.json["first_errors"][0]
    assert result.json["connections"]["cut"] == result.json["connections"]["connected"]
    assert result.json["operations"] == 0


def stalling(after, seconds):
    """An echo server that does nothing for a while when it has echoed so many messages."""

    def run(sock):
        echoed = 0
        while data := clients.receive_exactly(sock, 64):
            sock.sendall(data)
            echoed += 1
            if echoed == after:
                time.sleep(seconds)

    return run


@pytest.mark.parametrize("pipeline", [1, 4])
def test_load_what_is_owed_at_the_end_has_waited(serve, run_load, pipeline):
    """The server stops in the middle and goes on behind the end. Who only counts what was sent sees
    one slow message; of those that were due half have waited, and are in the histogram."""
    address = serve(stalling(after=201, seconds=1.5))
    result = run_load(address, "-c", 1, "-r", 64 * 200, "-d", 2, "--pipeline", pipeline)
    results = result.expect_fine().json
    assert results["unsent"] > 0
    assert results["operations"] + results["unsent"] == 400
    assert results["latency_us"]["count"] == 400
    assert results["latency_us"]["p90"] >= 500000  # it stopped for so long at the least
    assert results["service_us"]["count"] == results["operations"]


def test_load_connects_that_could_not_begin_have_waited(serve, run_load):
    def slow(sock):
        time.sleep(0.5)
        sock.sendall(clients.receive_exactly(sock, 64))
        sock.recv(1)

    result = run_load(serve(slow), "-m", "short", "-c", 1, "--connect-rate", 200, "-d", 1)
    results = result.expect_fine().json
    assert results["operations"] + results["unsent"] == 200
    assert results["unsent"] > 100
    assert results["latency_us"]["count"] == 200
    assert results["latency_us"]["p50"] > results["service_us"]["min"] / 2


def test_load_rate_that_nobody_can_keep_ends_in_time(echo_address, run_load):
    results = run_load(echo_address, "-r", 1e12, "-d", 0.5).expect_fine().json
    assert results["operations"] > 0
    assert results["latency_us"]["count"] == results["operations"] + results["unsent"]
    assert results["operations"] + results["unsent"] > 1e9


def test_load_short_lived_waits_for_the_servers_end(serve, run_load):
    def one_message(sock):
        sock.sendall(sock.recv(64))

    address = serve(one_message)
    result = run_load(address, "-m", "short", "--server-closes", "-c", 3, "-n", 30).expect_fine()
    assert result.json["operations"] == 30


@pytest.mark.threads
@pytest.mark.parametrize("when", ["data", "connect"])
def test_load_short_lived_that_the_host_ends(system, run_host, run_load, when):
    host = run_host(manifests.one(plugin="echo-once", when=when), plugins=system.fixtures)
    arguments = ["-m", "short", "--server-closes", "-c", 4, "-n", 100]
    result = run_load(host.address("echo-once"), *arguments).expect_fine()
    assert result.json["operations"] == result.json["connections"]["connected"] == 100


def test_load_nobody_there_is_an_error(run_load):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    result = run_load(address, "-c", 2, "-d", 1)
    assert result.code == 1, result
    assert result.json["connections"]["refused"] == 2
    assert "connect: Connection refused" in result.json["first_errors"][0]


# -- ended early -----------------------------------------------------------------------------------


@pytest.fixture
def start_load(system, tmp_path):
    """start_load(address, …) starts a client that runs for a minute, and waits until it measures."""
    started = []

    def start(address, *arguments):
        command = [str(load.program(system)), "-d", "60", "--json", "early.json",
                   *map(str, arguments), text_of(address)]
        process = subprocess.Popen(command, cwd=tmp_path, env=system.environment(), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        started.append(process)
        for line in process.stderr:
            if line.startswith("measuring"):
                return process
        raise AssertionError(f"it does not measure: exit code {process.wait(clients.WAIT_S)}")

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def children_of(process):
    text = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return list(map(int, text.split()))


def is_gone(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"
    return True


def early_results(tmp_path):
    return json.loads((tmp_path / "early.json").read_text(encoding="utf-8"))


@pytest.mark.linux("signals are Linux's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", [1, 3])
def test_load_ended_early_tells_what_there_is(echo_address, start_load, tmp_path, number, processes):
    process = start_load(echo_address, "-c", 6, "--processes", processes)
    process.send_signal(number)
    assert process.wait(clients.WAIT_S) == 1
    results = early_results(tmp_path)
    assert results["first_errors"] == ["it was asked to end early"]
    assert results["operations"] > 0
    assert results["connections"]["connected"] == 6


@pytest.mark.linux("signals are Linux's")
def test_load_asked_twice_ends_at_once(serve, start_load, tmp_path):
    def greet_and_stop(sock):
        sock.sendall(clients.receive_exactly(sock, 64))
        while sock.recv(65536):
            pass

    process = start_load(serve(greet_and_stop), "--patience", 600)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)  # it waits for what is on its way
    process.send_signal(signal.SIGTERM)
    assert process.wait(clients.WAIT_S) == 1
    assert not (tmp_path / "early.json").exists()


@pytest.mark.linux("signals are Linux's")
def test_load_process_that_is_killed_ends_the_others(echo_address, start_load, tmp_path):
    process = start_load(echo_address, "-c", 6, "--processes", 3)
    children = children_of(process)
    assert len(children) == 3
    os.kill(children[1], signal.SIGKILL)
    assert process.wait(clients.WAIT_S) == 1
    results = early_results(tmp_path)
    assert "--processes: one of them came to a bad end" in results["first_errors"]
    assert results["operations"] > 0
    assert all(map(is_gone, children))


@pytest.mark.linux("signals are Linux's")
def test_load_processes_do_not_outlive_the_one_that_started_them(echo_address, start_load):
    process = start_load(echo_address, "-c", 6, "--processes", 3)
    children = children_of(process)
    process.kill()
    process.wait(clients.WAIT_S)
    clients.wait_until(lambda: all(map(is_gone, children)), "its processes to end")


@pytest.mark.linux("signals are Linux's")
def test_load_progress_is_of_all_processes(echo_address, start_load):
    process = start_load(echo_address, "-c", 9, "--processes", 3)
    line = next(line for line in process.stderr if line.startswith("measuring: 9 open"))
    assert " 0 errors" in line


# -- the command line ------------------------------------------------------------------------------

NOWHERE = ("127.0.0.1", 9)


@pytest.mark.parametrize("arguments, message", [
    (["--sise", 3], 'unknown option "--sise"'),
    (["-c", "many"], '--connections: "many" is no number'),
    (["-c", 0], "--connections: 0 is not between 1 and"),
    (["-c", 1.5], "--connections: 1.5 is no whole number"),
    (["-m", "loud"], '--mode: "loud" is none of echo, stream'),
    (["--from", "127.0.0.9-127.0.0.1"], "the last address of 127.0.0.9-127.0.0.1 is before"),
    (["--from", "here"], "--from: "),
    (["-m", "idle", "-r", 5], "--rate and --pipeline are for --mode echo"),
    (["-m", "idle", "-n", 5], "--operations: --mode idle has none"),
    (["--server-closes"], "--server-closes is for --mode short"),
    (["--from", "0.0.0.0-255.255.255.255"], "are more addresses than can be counted"),
    (["--processes", 2], "--processes: more than there are connections"),
    (["--processes", 4, "-c", 8, "-n", 3], "--processes: more than there are operations"),
    (["--quiet=yes"], "--quiet takes no value"),
    (["--json", "--quiet"], '--json wants the name of a file, and not "--quiet"'),
    (["--json="], '--json wants the name of a file, and not ""'),
    (["--connections="], '--connections: "" is no number'),
    (["-d", 0], "it would never end"),
    (["127.0.0.1:8"], 'unexpected word "127.0.0.1:9"'),
])
@pytest.mark.any_engine
def test_load_bad_options_are_told(run_load, arguments, message):
    result = run_load(NOWHERE, *arguments, json_file=False)
    assert result.code == 2, result
    assert message in result.errors
    assert "see \"berth-load --help\"" in result.errors
    assert result.output == ""


@pytest.mark.any_engine
def test_load_option_without_its_value_is_told(system, tmp_path):
    result = load.run(system, tmp_path, "127.0.0.1:9", "-c", json_file=False)
    assert result.code == 2, result
    assert "-c wants a value" in result.errors


@pytest.mark.parametrize("arguments", [["-c5"], ["--connections=5"]])
def test_load_values_may_stand_in_the_same_word(echo_address, run_load, arguments):
    results = run_load(echo_address, "-n10", *arguments).expect_fine().json
    assert (results["connections"]["connected"], results["operations"]) == (5, 10)


def test_load_behind_two_dashes_are_only_words(echo_address, run_load):
    result = run_load(echo_address, "-n", 5, "--", json_file=False)
    assert (result.code, "operations    5 in " in result.output) == (0, True), result


def test_load_version_is_told(system, tmp_path):
    result = load.run(system, tmp_path, "--version", json_file=False)
    assert (result.code, result.output.split()[0]) == (0, "berth-load")


def test_load_results_may_go_to_the_standard_output(echo_address, run_load):
    result = run_load(echo_address, "-n", 5, "--json", "-", json_file=False)
    assert result.code == 0, result
    assert json.loads(result.output)["operations"] == 5
    assert "operations    5 in " in result.errors


@pytest.mark.linux("processor time is measured on Linux")
def test_load_server_that_is_no_process_is_told(run_load):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True,
                           capture_output=True, text=True)
    pid = int(ended.stdout)
    result = run_load(NOWHERE, "--server-pid", pid, json_file=False)
    assert result.code == 2, result
    assert f"--server-pid: there is no process {pid}" in result.errors


@pytest.mark.any_engine
def test_load_help_names_every_option(system, tmp_path):
    result = load.run(system, tmp_path, "--help", json_file=False)
    assert result.code == 0
    for option in ("--mode", "--connections", "--block", "--rate", "--size", "--pipeline",
                   "--operations", "--duration", "--warmup", "--connect-rate", "--connecting",
                   "--read-rate", "--from", "--server-closes", "--reset", "--patience",
                   "--processes", "--server-pid", "--json", "--quiet"):
        assert option in result.output


@pytest.mark.any_engine
def test_load_results_that_cannot_be_written_are_an_error(echo_address, run_load, tmp_path):
    missing = tmp_path / "no" / "such"
    result = run_load(echo_address, "-n", 1, "--json", missing.name + "/x", json_file=False)
    assert result.code == 1
    assert "--json such/x: " in result.errors
