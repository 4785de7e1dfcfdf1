"""What plugins lean on: requests that ask for more than the host knows, send limits, threads of their own,
what comes again and what comes last, the services for logs, numbers, time and chance."""

import contextlib
import json
import socket
import time

import pytest
from support import clients, manifests

E_INVALID, E_LIMIT, E_GONE, E_UNSUPPORTED, E_CANCELLED = -2, -5, -4, -7, -8
BIG = 10 * 1024 * 1024


@pytest.fixture
def run_promises(run_host, system):
    def run(config=None, log=None, **listener):
        manifest = manifests.manifest(
            {"promises": manifests.listener("promises", "connect", config=config or {}, **listener)}, workers=2)
        if log:
            manifest["host"]["log"] = log
        return run_host(manifest, plugins=system.fixtures)

    return run


class Client:
    def __init__(self, host):
        self.sock = clients.connect(host.address("promises"))
        self.reader = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.sock.close()

    def line(self):
        return self.reader.readline().decode().rstrip("\n")

    def ask(self, line):
        self.sock.sendall(line.encode() + b"\n")
        return self.line()


# -- what the host does not know ----------------------------------------------------------------------


def test_request_with_what_the_host_does_not_know_is_refused_and_nothing_is_done(run_promises):
    host = run_promises()
    with Client(host) as one:
        assert one.ask("unknown") == "unknown" + f" {E_UNSUPPORTED}" * 10
        assert one.ask("unknown-log") == (
            f"log {E_UNSUPPORTED} {E_UNSUPPORTED} {E_UNSUPPORTED} {E_LIMIT} {E_INVALID} {E_INVALID}")
        assert one.ask("here") == "here", "that was no fault, and nothing was sent"
    assert "connected after a refusal" not in host.log() and "not to be written" not in host.log()


# -- sending ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["big-first", "big-last"])
def test_send_of_ten_mebibytes_and_eleven_bytes_works_in_both_orders(run_promises, command):
    host = run_promises(limits={"send_queue_bytes": 65536, "send_queue_pieces": 16})
    with Client(host) as one:
        assert one.ask("limits") == "limits 65536 16"
        one.sock.sendall(command.encode() + b"\n")
        answer = clients.receive_exactly(one.sock, BIG + 11)
        assert answer.startswith(b"ten and one" if command == "big-last" else b"xxx")
        assert answer.endswith(b"xxx" if command == "big-last" else b"ten and one")
        host.wait_for_log("big 0 0")
        assert one.ask("here") == "here"


def test_send_without_an_end_in_one_callback_ends_the_connection(run_promises):
    host = run_promises(limits={"send_queue_bytes": 4096})
    with Client(host) as one:
        one.sock.sendall(b"flood\n")
        host.wait_for_log(f"flood {E_LIMIT} after 70 MiB")
        host.wait_for_log("one callback of the plugin sends without an end")
        host.wait_for_log("closed 5")


# -- receiving ----------------------------------------------------------------------------------------


def test_want_at_least_is_for_the_next_call_only(run_promises):
    """One line waits for its bytes; the next one is as short as it likes."""
    host = run_promises()
    with Client(host) as one:
        assert one.ask("want 20") == "wanting"
        one.sock.sendall(b"short\n")
        one.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            one.sock.recv(1)
        one.sock.settimeout(clients.WAIT_S)
        one.sock.sendall(b"and so on and on and on\n")
        assert clients.receive_exactly(one.sock, 30) == b"short\nand so on and on and on\n"
        one.sock.sendall(b"x\n")
        assert clients.receive_exactly(one.sock, 2) == b"x\n", "less than it once wanted"


def test_pause_and_resume_in_received_bring_what_was_left_again(run_promises):
    host = run_promises()
    with Client(host) as one:
        assert one.ask("again") == "again after 3 calls"


def test_peer_closed_waits_behind_what_is_to_come_again(run_promises):
    """The FIN lies behind bytes that the plugin has paused for, and behind those it wants more of."""
    host = run_promises()
    with Client(host) as one:
        one.sock.sendall(b"again\n")
        one.sock.shutdown(socket.SHUT_WR)
        assert one.reader.read() == b"again after 3 calls\n"
    with Client(host) as one:
        assert one.ask("want 100") == "wanting"
        one.sock.sendall(b"the rest\n")
        one.sock.shutdown(socket.SHUT_WR)
        assert one.reader.read() == b"the rest\n"


@pytest.mark.parametrize("command, answer", [("half", b"half\n"), ("half-now", b"half now\n")])
def test_shutdown_send_and_the_peers_fin_end_a_connection(run_promises, command, answer):
    """In `peer_closed` it is a close(); one that came before leaves nothing to be said there."""
    host = run_promises(idle_timeout_ms=60000)
    with Client(host) as one:
        one.sock.sendall(command.encode() + b"\n")
        assert clients.receive_exactly(one.sock, len(answer)) == answer
        one.sock.shutdown(socket.SHUT_WR)
        assert one.sock.makefile("rb").read() == (b"the last words" if command == "half" else b"")
        host.wait_for_log(f"closed 2 after {len(command) + 1} bytes")


def test_bytes_count_what_the_plugin_sees_and_not_the_proxy_header(run_promises):
    host = run_promises(proxy_protocol={"from": ["127.0.0.1"]})
    with clients.connect(host.address("promises")) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 4000 80\r\nhello\n")
        assert clients.receive_exactly(sock, 6) == b"hello\n"
    host.wait_for_log("after 6 bytes")


# -- busy ---------------------------------------------------------------------------------------------


def _busy(host):
    with clients.connect(host.address("promises")) as sock:
        local, remote = sock.getsockname(), sock.getpeername()
        words = sock.makefile("rb").read().decode().split()
        assert words[:1] == ["busy"] and words[4:5] == ["1"], words
        assert words[2:4] == [f"{local[0]}:{local[1]}", f"{remote[0]}:{remote[1]}"]
        return int(words[1]), int(words[5])


def test_busy_is_told_which_limit_and_whom_it_refuses(run_promises):
    refuse = {"at_limit": "refuse"}
    host = run_promises(limits={"connections": 1}, accept=refuse)
    with Client(host) as one:
        assert one.ask("here") == "here"
        assert _busy(host) == (2, 0)
    host.stop()
    host = run_promises(limits={"per_client": 1}, accept=refuse)
    with Client(host) as one:
        assert one.ask("here") == "here"
        assert _busy(host) == (3, 0)


def test_busy_is_told_when_a_rate_leaves_room_again(run_promises):
    host = run_promises(limits={"accept_rate_per_client": {"per_second": 1, "burst": 1}},
                        accept={"at_limit": "refuse"})
    with Client(host) as one:
        assert one.ask("here") == "here"
        limit, retry_ms = _busy(host)
        assert limit == 4 and 0 < retry_ms <= 1000


# -- threads, workers, timers -------------------------------------------------------------------------


def test_threads_of_a_plugin_ask_until_listener_close_and_all_of_it_runs(run_promises, operate):
    """Restart after restart, with threads that never stop asking: everything that was accepted has run
    before `listener_close`, and from then on they are told that the listener is gone."""
    host = run_promises(config={"thread": True})
    restarts = 10
    for number in range(restarts):
        with Client(host) as one:
            assert one.ask("here") == "here"
        operate().ask("restart", "promises")
        clients.wait_until(lambda number=number: host.log().count("thread: ") > number, host.log)
    host.stop()
    lines = [line for line in host.log().splitlines() if "thread: " in line]
    assert len(lines) == restarts + 1, lines
    for line in lines:
        assert line.endswith(f"thread: some ran, all before listener_close: 1, last {E_GONE}"), line
    for wrong in ("started twice", "wrong listener", "or did not run"):
        assert wrong not in host.log()


def test_draining_is_told_before_the_connections_are_asked(run_promises):
    host = run_promises()
    host.stop()
    host.wait_for_log("draining 3 1")


def test_timer_of_a_listener_says_its_worker_which_was_started(run_promises):
    host = run_promises()
    host.wait_for_log("tick 1 worker 0 started 1")


def test_connect_without_an_asker_reaches_and_tells(run_promises):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        host = run_promises(config={"port": port})
        server.settimeout(clients.WAIT_S)
        with server.accept()[0] as sock:
            host.wait_for_log("probed 0 outbound 1 worker 0")
            assert sock.recv(1) == b""
    host.stop()


@contextlib.contextmanager
def _full_backlog():
    """A port whose listener takes no more connections: an attempt to connect hangs."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_connect_without_an_asker_is_called_off_when_the_listener_ends(run_promises):
    """An attempt that would last for half a minute does not hold up the end."""
    with _full_backlog() as port:
        host = run_promises()
        with Client(host) as one:
            one.sock.sendall(f"blackhole {port}\n".encode())
            host.wait_for_log("probe 0")
        began = time.monotonic()
        host.stop()
        assert f"probed {E_CANCELLED} outbound 0" in host.log()
        assert time.monotonic() - began < 25


# -- services -----------------------------------------------------------------------------------------


def test_log_fields_stand_behind_the_text(run_promises):
    host = run_promises()
    with Client(host) as one:
        assert one.ask("log") == "logged"
    host.wait_for_log("a line with fields")
    line = next(line for line in host.log().splitlines() if "a line with fields" in line)
    assert line.endswith(r'a line with fields user=mia words="a \"b\"\u000a\u0001" empty="" bytes=-42'), line
    assert "listener=promises plugin=promises 127.0.0.1:" in line


def test_log_fields_are_an_object_of_a_json_line(run_promises):
    host = run_promises(log={"format": "json"})
    with Client(host) as one:
        assert one.ask("log") == "logged"
    host.wait_for_log("a line with fields")
    line = next(json.loads(line) for line in host.log().splitlines() if "a line with fields" in line)
    assert line["message"] == "a line with fields"
    fields = line["fields"]
    assert fields["user"] == "mia" and fields["bytes"] == -42 and fields["empty"] == ""
    assert fields["words"].startswith('a "b"')


def test_metrics_are_shown_with_their_labels(run_promises, operate):
    host = run_promises(config={"metrics": True})
    host.wait_for_log(f"metrics {E_INVALID} {E_INVALID} {E_INVALID} {E_UNSUPPORTED}")
    with Client(host) as one:
        assert one.ask("count") == "counted"
        assert one.ask("count") == "counted"
    metrics = {one["name"]: one for one in operate().serving("promises")["metrics"]}
    assert list(metrics) == ["counter_total", "gauge", "histogram_ms"]
    for one in metrics.values():
        assert one["labels"] == {"upstream": 'a "b"', "zone": "x"} and one["help"] == "what is tried here"
    assert (metrics["counter_total"]["kind"], metrics["counter_total"]["value"]) == ("counter", 4)
    assert (metrics["gauge"]["kind"], metrics["gauge"]["value"]) == ("gauge", -3)
    histogram = metrics["histogram_ms"]
    assert histogram["buckets"] == [[10, 2], [100, 2], [None, 2]]
    assert (histogram["count"], histogram["sum"]) == (6, 2 * 1021)
    text = operate().run("status").output
    assert 'counter_total{upstream="a' in text and "what is tried here" in text


def test_metrics_are_limited(run_promises, fail_to_start, system):
    manifest = manifests.manifest({"promises": manifests.listener(
        "promises", "connect", config={"metrics": True}, limits={"metrics": 2})})
    result = fail_to_start(manifest, plugins=system.fixtures)
    assert "the listener has 2 already (limits.metrics)" in result.errors


def test_time_and_chance_are_the_systems(run_promises):
    host = run_promises()
    with Client(host) as one:
        assert abs(int(one.ask("time").split()[1]) - time.time()) < 60
        words = {one.ask("chance") for _ in range(5)}
        assert len(words) == 5, "no two are alike"
        assert all(word.startswith(f"chance 0 {E_INVALID} 1 ") for word in words), words
