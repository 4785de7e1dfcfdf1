"""The example plugin `kv`: a subset of Redis, with the clients of Redis and with one of the tests' own."""

import re
import shutil
import subprocess
import threading
import time

import pytest
from support import clients, manifests
from support.resp import Client, command, manifest

pytestmark = [
    pytest.mark.threads,
    pytest.mark.full("linux-*san-epoll", why="both engines serve it alike; the tests of connections run there"),
]

LARGE = 10 * 1024 * 1024


@pytest.fixture
def run_kv(run_host, system):
    """run_kv(…) serves the plugin `kv`, on two workers."""

    def run(config=None, **more):
        return run_host(manifest(config, host={"workers": 2}, **more), plugins=system.dist / "examples")

    return run


def _tool(name):
    return shutil.which(name) or pytest.fail(f"{name} is not installed")


def _run_tool(host, name, *arguments, **more):
    address, port = host.address("kv")
    done = subprocess.run([_tool(name), "-h", address, "-p", str(port), *arguments], capture_output=True,
                          timeout=clients.TRANSFER_S, check=False, **more)
    assert done.returncode == 0, done
    return done.stdout


# -- clients of Redis --------------------------------------------------------------------------------


def test_kv_redis_cli_is_served(run_kv):
    host = run_kv()
    lines = [
        ("PING", "PONG"), ("SET color blue", "OK"), ("GET color", "blue"), ("INCRBY n 5", "5"),
        ("MSET a 1 b 2", "OK"), ("MGET a b", "1\n2"), ("APPEND color ish", "7"), ("STRLEN color", "7"),
        ("EXPIRE color 50", "1"), ("TTL color", "50"), ("TYPE color", "string"), ("DBSIZE", "4"),
        ("DEL a b n", "3"), ("KEYS c[o]*r", "color"), ("FLUSHDB", "OK"), ("EXISTS color", "0"),
    ]
    told = _run_tool(host, "redis-cli", input="".join(f"{asked}\n" for asked, _ in lines).encode())
    assert told.decode() == "".join(f"{answer}\n" for _, answer in lines)


def test_kv_redis_cli_carries_ten_megabytes(run_kv):
    host = run_kv()
    value = bytes(range(256)) * (LARGE // 256)
    assert _run_tool(host, "redis-cli", "-x", "SET", "large", input=value) == b"OK\n"
    assert _run_tool(host, "redis-cli", "GET", "large") == value + b"\n"


@pytest.mark.full("linux-*san*", why="it is about speed as well, which those builds have not")
def test_kv_redis_benchmark_ends_without_an_error(run_kv):
    host = run_kv()
    told = _run_tool(host, "redis-benchmark", "-n", "4000", "-c", "20", "-t", "ping,set,get,incr,mset", "--csv")
    assert told.decode().count("\n") == 7, told
    told = _run_tool(host, "redis-benchmark", "-n", "40000", "-c", "2", "-P", "20000", "-t", "set,get", "--csv")
    assert told.decode().count("\n") == 3, told


# -- pipelines and large values ----------------------------------------------------------------------


def _send_beside(client, data):
    thread = threading.Thread(target=client.sock.sendall, args=(data,))
    thread.start()
    return thread


def test_kv_pipeline_of_twenty_thousand_is_answered_in_order(run_kv):
    host = run_kv(limits={"send_queue_bytes": 16384})
    with Client(host) as client:
        sender = _send_beside(client, b"".join(command("ECHO", f"number {i}") for i in range(20000)))
        for i in range(20000):
            assert client.answer() == b"number %d" % i
        sender.join()


def test_kv_pipeline_waits_for_a_client_that_does_not_read(run_kv):
    """Its answers are many times what the send queue may ever hold."""
    host = run_kv(limits={"send_queue_bytes": 65536})
    count = 2000
    with Client(host) as client:
        assert client.ask("SET", "k", b"x" * 3000) == b"OK"
        assert client.ask("SET", "shared", b"y" * 30000) == b"OK"
        client.sock.sendall((command("GET", "k") + command("GET", "shared")) * count)
        time.sleep(0.3)
        for _ in range(count):
            assert len(client.answer()) == 3000
            assert len(client.answer()) == 30000
        assert client.ask("PING") == b"PONG"


def test_kv_large_values_need_no_large_message(run_kv):
    host = run_kv(limits={"message_bytes": 4096})
    value = b"0123456789abcdef" * (LARGE // 16)
    with Client(host) as client, Client(host) as other:
        for name in ("one", "two"):
            assert client.ask("SET", name, value) == b"OK"
        assert other.ask("MGET", "one", "none", "two") == [value, None, value]
        assert other.ask("APPEND", "one", "tail") == LARGE + 4
        assert client.ask("GET", "one") == value + b"tail"
        assert client.ask("ECHO", value) == value


# -- shared data -------------------------------------------------------------------------------------


def test_kv_counts_of_many_connections_are_all_there(run_kv):
    host = run_kv()

    def count():
        with Client(host) as client:
            client.sock.sendall(command("INCR", "n") * 500)
            return [client.answer() for _ in range(500)]

    told = clients.in_threads([count] * 8)
    assert sorted(number for one in told for number in one) == list(range(1, 4001))


def test_kv_several_keys_are_set_at_one_moment(run_kv):
    host = run_kv()
    names = [f"key {i}" for i in range(20)]

    def write(word):
        with Client(host) as client:
            for i in range(100):
                client.ask("MSET", *(part for name in names for part in (name, f"{word}{i}")))

    def read(_):
        with Client(host) as client:
            for _ in range(100):
                assert len(set(client.ask("MGET", *names))) == 1

    clients.in_threads([lambda: write("a"), lambda: write("b"), lambda: read(0), lambda: read(1)])


def test_kv_keys_expire_asked_for_or_not(run_kv):
    host = run_kv()
    with Client(host) as client:
        client.ask("SET", "short", "x", "PX", "50")
        client.ask("SET", "long", "x", "EX", "1000")
        assert 990 <= client.ask("TTL", "long") <= 1000
        clients.wait_until(lambda: client.ask("DBSIZE") == 1, "the end of what nobody asks for")
        assert client.ask("GET", "short") is None
        assert client.ask("SET", "long", "y", "KEEPTTL") == b"OK" and client.ask("TTL", "long") > 0
        assert client.ask("SET", "long", "y") == b"OK" and client.ask("TTL", "long") == -1


# -- limits ------------------------------------------------------------------------------------------


def test_kv_full_memory_is_an_error_and_room_comes_back(run_kv):
    host = run_kv({"memory_bytes": 1000000})
    with Client(host) as client:
        assert client.ask("SET", "large", b"x" * 600000) == b"OK"
        assert client.error("SET", "other", b"x" * 600000).startswith("OOM command not allowed")
        assert client.error("MSET", "a", "1", "b", b"x" * 600000).startswith("OOM ")
        assert client.ask("EXISTS", "a", "b", "other") == 0
        assert client.ask("SET", "large", b"x" * 100000) == b"OK"
        assert client.ask("SET", "other", b"x" * 600000) == b"OK"
        assert client.ask("FLUSHALL") == b"OK"
        used = [line for line in client.ask("INFO").split(b"\r\n") if line.startswith(b"used_memory:")]
        assert used == [b"used_memory:0"]


def used_memory(client):
    return int(re.search(rb"used_memory:(\d+)", client.ask("INFO"))[1])


def test_kv_memory_of_unfinished_commands_is_given_back(run_kv):
    host = run_kv({"memory_bytes": 1000000})
    with Client(host) as client:
        with Client(host) as other:
            other.sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$900000\r\n" + b"x" * 800000)
            clients.wait_until(lambda: used_memory(client) > 500000, "its bytes")
            assert client.error("SET", "b", b"x" * 600000).startswith("OOM ")
        clients.wait_until(lambda: b"used_memory:0\r\n" in client.ask("INFO"), "its end")
        assert client.ask("SET", "b", b"x" * 600000) == b"OK"


def test_kv_answers_have_a_limit(run_kv):
    host = run_kv({"answer_bytes": 100000})
    with Client(host) as client:
        client.ask("SET", "a", b"x" * 60000)
        assert client.error("MGET", "a", "a") == "ERR the answer has more than 100000 bytes"
        assert len(client.ask("GET", "a")) == 60000
        for i in range(200):
            client.ask("SET", f"{i:0600d}", "")
        assert client.error("KEYS", "*") == "ERR the answer has more than 100000 bytes"


@pytest.mark.parametrize("sent, told", [
    (b"*x\r\n", "Protocol error: invalid multibulk length"),
    (b"*65537\r\n", "Protocol error: invalid multibulk length"),
    (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\n$99999999999999999999\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\n$16777217\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
    (b'GET "a\r\n', "Protocol error: unbalanced quotes in request"),
    (b"GET " + b"x" * 70000, "Protocol error: too big inline request"),
    (b"*" + b"1" * 70000, "Protocol error: too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 70000, "Protocol error: too big bulk count string"),
])
def test_kv_what_is_no_protocol_is_told_and_is_the_end(run_kv, sent, told):
    host = run_kv(limits={"message_bytes": 262144})
    with Client(host) as client:
        client.sock.sendall(command("PING") + sent)
        assert client.reader.read() == b"+PONG\r\n-ERR " + told.encode() + b"\r\n"


def test_kv_http_requests_are_not_run(run_kv):
    host = run_kv()
    with Client(host) as client:
        client.sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n")
        assert client.reader.read() == b""
    with Client(host) as client:
        assert client.ask("EXISTS", "a") == 0
    assert "an HTTP request instead of a command" in host.log()


# -- operation ---------------------------------------------------------------------------------------


def test_kv_restart_keeps_serving(run_kv, operate):
    host = run_kv()
    with Client(host) as before:
        assert before.ask("SET", "a", "1") == b"OK"
        operate().ask("restart", "--all")
        assert before.ask("INCR", "a") == 2
        with Client(host) as after:
            assert after.ask("GET", "a") is None
            assert after.ask("SET", "a", "10") == b"OK"
        assert before.ask("GET", "a") == b"2"


def test_kv_validates(berth, system):
    library = system.dist / "examples" / f"kv{system.library_suffix}"
    result = berth("plugin", "validate", system.path(library))
    assert result.code == 0, result


def test_kv_messages_that_are_too_short_are_refused(fail_to_start, system):
    result = fail_to_start(manifests.one("kv", limits={"message_bytes": 256}), plugins=system.dist / "examples")
    assert '"limits.message_bytes" (256) must be at least 1024' in result.errors, result
