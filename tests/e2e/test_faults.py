"""Plugins that misbehave while they serve: who it was is told, and others go on."""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import threading

import pytest
from support import clients, manifests, services, tracing
from support.systems import RUNTIME

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]

STALL = b"\x82%d"


def status(berth, host):
    result = berth("status", "--json", "--manifest", host.manifest_path)
    assert result.code == 0, result
    return json.loads(result.output)["result"]


def plugin_of(berth, host, name="faulty"):
    return next(one for one in status(berth, host)["plugins"] if one["id"] == name)


def holds_of(berth, host, name="faulty"):
    """What it holds, without what it has none of."""
    return {what: count for what, count in plugin_of(berth, host, name)["holds"].items() if count}


@pytest.fixture
def run_faulty(run_host, system):
    """run_faulty(…) serves the plugin `faulty` (see its source); `host`: members of "host"."""

    def run(plugin="faulty", host=None, **options):
        made = {"stall_warning_ms": 200, "name": f"faults-{next(_names)}", **(host or {})}
        return run_host(manifests.one(plugin, "connect", host=made),
                        plugins=system.fixtures, **options)

    return run


def _count():
    number = 0
    while True:
        number += 1
        yield number


_names = _count()


def test_stall_is_told_once_with_plugin_callback_and_listener(run_faulty):
    host = run_faulty()
    with clients.connect(host.address("faulty")) as sock:
        message = STALL % 1500
        assert clients.echo(sock, message) == message
        assert clients.echo(sock, b"quick") == b"quick"
    told = [line for line in host.log().splitlines() if "stall: " in line]
    assert len(told) == 1, told
    assert "callback received of generation 1 has been running" in told[0], told
    assert all("listener=faulty" in line and "plugin=faulty" in line for line in told), told


def test_stall_warning_may_be_switched_off(run_faulty):
    host = run_faulty(host={"stall_warning_ms": 0})
    with clients.connect(host.address("faulty")) as sock:
        message = STALL % 700
        assert clients.echo(sock, message) == message
    assert "stall: " not in host.log()


def test_callbacks_are_counted_and_timed(run_faulty, berth):
    host = run_faulty()
    with clients.connect(host.address("faulty")) as sock:
        for _ in range(99):
            assert clients.echo(sock, b"x") == b"x"
        message = STALL % 100
        assert clients.echo(sock, message) == message
    received = plugin_of(berth, host)["callbacks"]["received"]
    assert received["count"] == 100, received
    assert 0 < received["p50_us"] < 100000 <= received["max_us"] * 1.1, received
    assert received["p50_us"] <= received["p99_us"] <= received["max_us"], received
    ends, counts = zip(*received["histogram"])
    assert sum(counts) == 100 and min(counts) > 0 and list(ends) == sorted(set(ends)), received
    assert ends[-1] >= 100000 * 0.9, received


# -- crashes -----------------------------------------------------------------------------------------


def crash(host, listener, message):
    """Sends what the plugin does not survive; the exit code of the host."""
    host.expect_crash()
    with clients.connect(host.address(listener)) as sock:
        assert clients.echo(sock, b"x") == b"x"
        sock.sendall(message)
        clients.wait_ended(sock)
    return host.wait()


CRASHES = {
    "null": (b"\x800", ("SIGSEGV", "(0x0)"), ("access violation", "(0x0)")),
    "abort": (b"\x81", ("SIGABRT", "abort"), ("abort",)),
    "stack smashed": (b"\x86400", ("SIGSEGV",), ("access violation",)),
    "stack smashed far up": (b"\x861000", ("SIGSEGV",), ("access violation",)),
    "division": (b"\x870", ("SIGFPE",), ("division by zero",)),
    "double free": (b"\x88", ("SIGABRT",), None),  # which Windows' heap may not notice at once
    "call of NULL": (b"\x890", ("SIGSEGV", "(0x0)"), ("access violation", "(0x0)")),
    "exit(0)": (b"\x8a0", ("exit() was called",), ("exit() was called",)),
    "exit(1)": (b"\x8a1", ("exit() was called",), ("exit() was called",)),
}


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
@pytest.mark.parametrize("message, linux, windows", [
    pytest.param(*told, id=name, marks=[pytest.mark.linux("Windows does not tell")] if told[2] is None else [])
    for name, told in CRASHES.items()
])
def test_crash_is_laid_to_plugin_callback_and_connection(run_faulty, system, message, linux, windows):
    host = run_faulty()
    code = crash(host, "faulty", message)
    told = [line for line in host.log().splitlines() if "crash: " in line]
    assert told, host.log()
    for part in windows if system.is_windows else linux:
        assert part in told[0], told
    for part in ("plugin=faulty", "listener=faulty", "callback received of generation 1 (1.2.3)",
                 "connection ", "from 127.0.0.1:"):
        assert part in told[0], told
    assert any(f"faulty.1{system.library_suffix}" in line for line in told[1:]), told
    assert any("crash: connection " in line and ": open, admitted" in line for line in told), told
    assert any('crash: listener "faulty", generation 1: serving' in line for line in told), told
    assert any("crash: server: engine " in line for line in told), told
    assert code not in (0, 2, 78) and (code != 1 or "exit()" in told[0]), code


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_fault_that_a_plugin_handles_is_no_crash(run_faulty):
    host = run_faulty()
    with clients.connect(host.address("faulty")) as sock:
        for _ in range(3):
            assert clients.echo(sock, b"\x8c") == b"\x8c"
    assert "crash: " not in host.log()


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_crash_in_a_thread_of_a_plugin_is_laid_to_it(run_faulty):
    host = run_faulty()
    code = crash(host, "faulty", b"\x8b")
    (told, *_) = [line for line in host.log().splitlines() if "crash: " in line]
    assert "plugin=faulty" in told and "in a thread of generation 1 (1.2.3)" in told, told
    assert code not in (0, 1, 2, 78), code


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
@pytest.mark.parametrize("plugin", [
    "crash-at-load",
    pytest.param("crash-before-load",
                 marks=pytest.mark.linux("Windows refuses a library whose constructor crashes")),
])
def test_crash_when_a_plugin_is_loaded_is_laid_to_it(start_host, system, plugin):
    host = start_host(manifests.one(plugin, "connect"), plugins=system.fixtures)
    host.expect_crash()
    host.wait()
    assert f"plugin={plugin} crash: " in host.log(), host.log()
    assert "in callback entry of generation 1" in host.log(), host.log()


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_crash_is_told_as_json_where_the_log_is(run_faulty):
    host = run_faulty(host={"log": {"format": "json"}})
    crash(host, "faulty", b"\x804096")
    lines = [json.loads(line) for line in host.log().splitlines() if "crash: " in line]
    assert lines[0]["plugin"] == lines[0]["listener"] == "faulty", lines[0]
    assert lines[0]["level"] == "error" and "(0x1000)" in lines[0]["message"], lines[0]
    assert lines[0]["connection"] > 0 and f"connection {lines[0]['connection']} from {lines[0]['peer']}" in \
        lines[0]["message"], lines[0]
    assert lines[1]["message"].startswith("crash: #0 "), lines[1]


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_exception_of_cpp_that_leaves_a_plugin_is_a_crash_of_it(run_faulty, system):
    if not (system.fixtures / f"throwing{system.library_suffix}").exists():
        pytest.skip("no compiler of C++ was there when the fixtures were built")
    host = run_faulty("throwing")
    code = crash(host, "throwing", b"\x80")
    (line, *_) = [line for line in host.log().splitlines() if "crash: " in line]
    assert "plugin=throwing" in line and "exception of C++" in line, line
    assert code not in (0, 1, 2, 78), code


# -- what is not given back --------------------------------------------------------------------------


@pytest.mark.plain("the sanitizer tells of the same leak, and fails the host for it")
def test_leaks_are_counted_and_told_by_name(run_faulty, berth):
    host = run_faulty()
    path = host.manifest_path.encode()
    with clients.connect(host.address("faulty")) as sock:
        for message in (b"\x83", b"\x84", b"\x83", b"\x85" + path):
            assert clients.echo(sock, message) == message
    host.expect_leak()
    clients.wait_until(
        lambda: holds_of(berth, host) == {"buffers": 3, "files": 1}, "what it holds"
    )
    assert berth("restart", "faulty", "--manifest", host.manifest_path).code == 0
    host.wait_for_log("leak: generation 1 has not given back 3 buffers and 1 files")
    assert holds_of(berth, host) == {}
    host.stop()
    assert host.log().count("leak: ") == 1, host.log()


def test_what_is_not_finished_in_time_is_counted_and_told_by_name(run_services, berth):
    host = run_services(host={"name": "not-finished", "generation_drain_timeout_ms": 100, "work": {"threads_max": 1}})
    with services.session(host) as one:
        one.send("timer", 3600000)
        one.send("work", 60, 500)  # one after the other; those that have not begun end with the connection
        held = clients.wait_until(
            lambda: (held := holds_of(berth, host, "services")).get("works") and held, "what it holds")
        assert held.pop("works") <= 60
        assert held == {"connections": 1, "timers": 2}, "one of them is the listener's"
        assert berth("restart", "--all", "--manifest", host.manifest_path).code == 0
        (line,) = clients.wait_until(
            lambda: [line for line in host.log().splitlines() if "drain deadline" in line],
            "the end of its time")
        assert "plugin=services" in line, line
        assert "1 connections of generation 1 were closed at the drain deadline" in line, line
        with contextlib.suppress(ConnectionResetError):  # where answers were still under way
            list(iter(one.line, None))  # those of the works that were done, and then the end
    clients.wait_until(lambda: "generation 1 is gone" in host.log(), "its end")
    assert holds_of(berth, host, "services") == {"timers": 1}
    assert "leak" not in host.log(), "what a deadline ends is no fault of the plugin"


def test_plugin_that_gives_everything_back_holds_nothing(run_host, berth, system):
    host = run_host(manifests.one("echo", "connect", host={"name": "gives-back"}))
    assert clients.is_served(host.address("echo"))
    clients.wait_until(lambda: holds_of(berth, host, "echo") == {}, "nothing")
    assert berth("restart", "--all", "--manifest", host.manifest_path).code == 0
    host.stop()
    assert "leak" not in host.log()


# -- restarts ----------------------------------------------------------------------------------------


@pytest.fixture
def run_supervised(run_host, system):
    """run_supervised(…) serves the plugins `faulty` and `echo`, restarted when the one crashes."""

    def run(**host):
        made = {"name": f"supervised-{next(_names)}", **host}
        folder = {"faulty": manifests.listener("faulty", "connect"),
                  "echo": manifests.listener("newer-minor", "connect")}
        running = run_host(manifests.manifest(folder, **made), plugins=system.fixtures,
                           arguments=["--supervise"])
        running.expect_crash()
        return running

    return run


class Client(threading.Thread):
    """Connects again and again, and says what it has seen."""

    def __init__(self, address, system):
        super().__init__(daemon=True)
        self.address = address
        # Wine at times leaves a socket open for good that a process had when it crashed.
        self.silence_is_cut = system.is_windows
        self.stopping = threading.Event()
        self.right = self.cut = 0
        self.wrong = []
        self.refused = []

    def run(self):
        number = 0
        while not self.stopping.is_set():
            number += 1
            message = b"%08d" % number
            try:
                sock = clients.connect(self.address)
            except OSError as error:
                self.refused.append(error)
                continue
            with sock:
                sock.settimeout(5 if self.silence_is_cut else clients.WAIT_S)
                try:
                    answer = clients.echo(sock, message)
                except ConnectionError:
                    answer = b""
                except TimeoutError:
                    if not self.silence_is_cut:
                        raise
                    answer = b""
                if answer == message:
                    self.right += 1
                elif message.startswith(answer):
                    self.cut += 1  # the host it had got to has crashed
                else:
                    self.wrong.append(answer)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join(clients.WAIT_S)


def send_magic(host, system, message=b"\x800"):
    told = "supervisor: the host has crashed ("
    before = host.log().count(told)
    with clients.connect(host.address("faulty")) as sock:
        sock.sendall(message)
        clients.wait_until(lambda: host.log().count(told) > before, "a crash")
        if not system.is_windows:  # see Client
            clients.wait_ended(sock)


def test_crash_refuses_nobody_and_the_next_host_serves(run_supervised, berth, system):
    host = run_supervised(crashes_max=100, crash_end_ms=2000)
    addresses = [host.address(name) for name in ("faulty", "echo")]
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Client(addresses[i % 2], system)) for i in range(6)]
        for _ in range(5):
            before = [client.right for client in crowd]
            send_magic(host, system)
            clients.wait_until(
                lambda: all(c.right > b + 5 for c, b in zip(crowd, before)), "echoes after a crash"
            )
    assert not any(client.refused or client.wrong for client in crowd), [
        (client.refused, client.wrong) for client in crowd
    ]
    assert status(berth, host)["restarts"] == 5
    assert [host.address(name) for name in ("faulty", "echo")] == addresses
    print([(client.right, client.cut) for client in crowd])


@pytest.mark.linux("there a name cannot be taken while a host has it")
def test_crash_of_a_host_whose_name_is_taken_meanwhile_keeps_nobody_waiting(run_supervised, run_host, operate, system):
    """The next host serves without a channel, and has it again when the other one is gone."""
    host = run_supervised(name="wanted", crashes_max=100)
    (RUNTIME / "wanted.sock").unlink()
    other = run_host(manifests.one(host={"name": "wanted"}))
    send_magic(host, system)
    host.wait_for_log("no control channel until it is free")
    assert clients.is_served(host.address("echo")) and clients.is_served(other.address("echo"))
    other.stop()
    host.wait_for_log('the control channel "wanted" is taken over')
    assert operate("wanted").status()["supervised"]


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
@pytest.mark.linux("a debugger for Windows is not at hand")
def test_crashed_host_that_does_not_end_is_killed(run_supervised, berth):
    host = run_supervised(crash_end_ms=300)
    parent = host.process.pid
    (child,) = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
    try:
        tracer = tracing.Tracer(int(child))
    except PermissionError:
        pytest.skip("needs to be allowed to debug")
    with clients.connect(host.address("faulty")) as sock:
        sock.sendall(b"\x800")
        clients.wait_until(lambda: tracer.run() or tracer.holds, "the end of a crash")
        clients.wait_until(
            lambda: tracer.run() or status_if_any(berth, host).get("restarts") == 1, "a restart"
        )
        clients.wait_ended(sock)
    assert "the host has crashed and does not end: it is killed after 300 ms" in host.log()
    assert clients.is_served(host.address("echo"))


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_plugin_that_crashes_again_and_again_is_left_out_until_it_is_released(run_supervised, berth, system):
    host = run_supervised(crashes_max=2)
    faulty, echo = host.address("faulty"), host.address("echo")
    for count in (1, 2):
        send_magic(host, system)
        clients.wait_until(lambda: status_if_any(berth, host).get("restarts") == count, "a restart")
    clients.wait_until(lambda: clients.is_refused(faulty), "the listener closed")
    assert clients.is_served(echo)
    told = status(berth, host)
    assert [one["state"] for one in told["listeners"] if one["plugin"] == "faulty"] == ["quarantine"]
    for verb in ("listeners", "plugins"):
        line = next(line for line in berth(verb, "--manifest", host.manifest_path).output.splitlines()
                    if line.startswith("faulty "))
        assert "quarantine" in line, line
    (banned,) = told["quarantine"]
    assert banned["plugin"] == "faulty", banned
    assert "2 crashes" in banned["reason"] and "callback received" in banned["reason"], banned
    assert "quarantine: " in host.log()
    for verb in ("restart", "pause"):
        refused = berth(verb, "faulty", "--manifest", host.manifest_path)
        assert refused.code == 1 and "berth release faulty" in refused.errors, refused
    for verb in ("listeners", "plugins"):
        listed = berth(verb, "--manifest", host.manifest_path).output
        assert re.search(r"^faulty\s.*\squarantine\s", listed, re.MULTILINE), listed
    refused = berth("release", "newer-minor", "--manifest", host.manifest_path)
    assert refused.code == 1 and '"newer-minor" is no plugin in quarantine' in refused.errors
    assert berth("release", "faulty", "--manifest", host.manifest_path).code == 0
    (name,) = [one for one in status(berth, host)["listeners"] if one["name"] == "faulty"]
    address, port = name["addresses"][0].rsplit(":", 1)
    assert clients.is_served((address, int(port)))
    assert status(berth, host)["quarantine"] == []


def test_crash_while_the_manifest_and_a_plugin_are_broken_ends_nothing(
    run_host, berth, system, tmp_path
):
    """The next host serves what was in force, and what is mended then comes by a reload."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name in ("faulty", "newer-minor"):
        shutil.copy(system.fixtures / f"{name}{system.library_suffix}", plugins)
    made = {"faulty": manifests.listener("faulty", "connect"),
            "echo": manifests.listener("newer-minor", "connect")}
    host = run_host(manifests.manifest(made, name=f"supervised-{next(_names)}", crashes_max=100),
                    plugins=plugins, arguments=["--supervise"])
    host.expect_crash()
    whole = host.manifest_file.read_text(encoding="utf-8")

    def crash_with(manifest):
        host.manifest_file.write_text(manifest, encoding="utf-8")
        send_magic(host, system)
        clients.wait_until(lambda: clients.is_served(host.address("echo")), "the next host")
        clients.wait_until(lambda: "berth reload" in host.log(), "what is to be mended")
        host.manifest_file.write_text(whole, encoding="utf-8")
        assert clients.is_served(host.address("faulty"))

    crash_with(whole[:-20])
    assert "the host could not start (exit code 78)" in host.log()
    assert berth("reload", "--manifest", host.manifest_path).code == 0
    missing = plugins / f"newer-minor{system.library_suffix}"
    missing.rename(tmp_path / "elsewhere")
    crash_with(whole)
    assert 'no plugin "newer-minor"' in host.log()
    (tmp_path / "elsewhere").rename(missing)
    assert berth("restart", "newer-minor", "--manifest", host.manifest_path).code == 0
    assert clients.is_served(host.address("echo"))
    assert berth("stop", "--now", "--manifest", host.manifest_path).code == 0
    assert host.wait() == 0, host.log()


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_supervised_host_that_a_plugin_ends_by_exit_is_started_again(run_supervised, berth, system):
    host = run_supervised(crashes_max=2)
    for message in (b"\x8a0", b"\x8a1"):
        send_magic(host, system, message)
    clients.wait_until(lambda: status_if_any(berth, host).get("quarantine"), "the quarantine")
    assert "crash: exit() was called, in callback received" in host.log()
    assert clients.is_served(host.address("echo"))


def test_supervised_host_stops_and_reloads_as_any_other(run_supervised, berth, system):
    host = run_supervised()
    if not system.is_windows:  # which has no such signal
        host.send_signal(signal.SIGHUP)
        host.wait_for_log("reload (SIGHUP): ")
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        assert berth("stop", "--now", "--manifest", host.manifest_path).code == 0
    assert host.wait() == 0, host.log()


def test_supervised_host_that_cannot_start_is_not_started_again(fail_to_start):
    result = fail_to_start({"manifest": 1}, arguments=["--supervise"])
    assert result.code == 78 and "supervisor" not in result.errors, result


def status_if_any(berth, host):
    """{} while there is no host to ask."""
    result = berth("status", "--json", "--manifest", host.manifest_path)
    return json.loads(result.output)["result"] if result.code == 0 else {}
