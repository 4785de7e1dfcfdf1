"""Hosts that end without a crash report, and starts that hang: whose it is is told, and clients are served."""

import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from support import clients, manifests

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]

CRASHED = "supervisor: the host has crashed ("

_numbers = itertools.count()


def status(berth, host):
    """{} while there is no host to ask."""
    result = berth("status", "--json", "--manifest", host.manifest_path)
    return json.loads(result.output)["result"] if result.code == 0 else {}


def status_after(berth, host, restarts):
    """That of the host which was started so often."""
    return clients.wait_until(
        lambda: (now := status(berth, host)).get("restarts", -1) >= restarts and now, "a restart")


def lines_of(host, text):
    return [line for line in host.log().splitlines() if text in line]


@pytest.fixture
def run_supervised(run_host, system, tmp_path):
    """run_supervised(plugins, …) serves these plugins, each by a listener of its name."""

    def run(plugins=("faulty", "newer-minor"), environment=None, folder=None, **host):
        made = {"name": f"ends-{next(_numbers)}", **host}
        listeners = {name: manifests.listener(name, "connect") for name in plugins}
        running = run_host(manifests.manifest(listeners, **made), plugins=folder or system.fixtures,
                           arguments=["--supervise"], environment=environment)
        running.expect_crash()
        return running

    return run


def end(host, system, message, listener="faulty"):
    """Sends what the host does not survive."""
    before = len(lines_of(host, CRASHED))
    with clients.connect(host.address(listener)) as sock:
        sock.sendall(message)
        clients.wait_until(lambda: len(lines_of(host, CRASHED)) > before, "an end")
        if not system.is_windows:  # Wine at times leaves a socket open for good
            clients.wait_ended(sock)
    return lines_of(host, CRASHED)[-1]


# -- whose it is -----------------------------------------------------------------------------------

LINUX = {
    "_exit:0": "exit code 0",
    "_exit:3": "exit code 3",
    "quick_exit:1": "exit code 1",
    "kill": "signal 9",
}
WINDOWS = {
    "_exit:0": "exit code 0",
    "_exit:3": "exit code 3",
    "ExitProcess:1": "exit code 1",
    "TerminateProcess:5": "exit code 5",
    "fastfail": "exception 0xc0000409",
    "RaiseFailFastException": "exception 0xc0000602",
    "abort of the UCRT": "",  # whatever that run-time ends with
    "exit of the UCRT:0": "exit code 0",
}


OF_THE_UCRT = pytest.mark.only("linux", "windows", why="the UCRT is the host's own run-time, which tells of it")


@pytest.mark.parametrize("way", [
    pytest.param(way, marks=[
        *([] if way in WINDOWS else [pytest.mark.linux("Windows has other ways")]),
        *([] if way in LINUX else [pytest.mark.windows("Linux has other ways")]),
        *([OF_THE_UCRT] if "UCRT" in way else []),
    ]) for way in dict.fromkeys([*LINUX, *WINDOWS])
])
def test_end_without_a_report_is_laid_to_the_plugin(run_supervised, berth, system, way):
    ways = WINDOWS if system.is_windows else LINUX
    host = run_supervised(crashes_max=2)
    told = end(host, system, b"\x90" + way.encode())
    for part in ("plugin=faulty", "listener=faulty", f"({ways[way]}", "without a crash report",
                 'callback received of plugin "faulty", generation 1 (1.2.3), listener "faulty"',
                 ", connection "):
        assert part in told, told
    last = status_after(berth, host, 1)["last_end"]
    (call,) = last["calls"]
    assert last["plugin"] == "faulty" and not last["reported"] and ways[way] in last["how"], last
    assert (call["plugin"], call["callback"], call["listener"], call["generation"]) == (
        "faulty", "received", "faulty", 1), last
    assert "laid to plugin faulty" in berth("status", "--manifest", host.manifest_path).output
    end(host, system, b"\x90" + way.encode())
    now = status_after(berth, host, 2)
    assert [one["plugin"] for one in now["quarantine"]] == ["faulty"], now
    assert "callback received" in now["quarantine"][0]["reason"], now
    assert clients.is_served(host.address("newer-minor"))


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_end_with_a_report_stands_in_the_status_too(run_supervised, berth, system):
    host = run_supervised()
    end(host, system, b"\x800")
    last = status_after(berth, host, 1)["last_end"]
    assert last["reported"] and last["plugin"] == "faulty", last
    assert [one["callback"] for one in last["calls"]] == ["received"], last


def children_of(pid):
    return [int(one) for one in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@pytest.fixture
def kill_host():
    """kill_host(host) ends it by SIGKILL, from outside."""

    def kill(host):
        before = len(lines_of(host, CRASHED))
        (child,) = children_of(host.process.pid)
        os.kill(child, signal.SIGKILL)
        clients.wait_until(lambda: len(lines_of(host, CRASHED)) > before, "its end")
        return lines_of(host, CRASHED)[-1]

    return kill


@pytest.mark.linux("there is no SIGKILL on Windows, and a code of TerminateProcess() tells nothing")
def test_end_from_outside_while_plugins_are_idle_is_laid_to_nobody(run_supervised, berth, kill_host):
    host = run_supervised(crashes_max=1)
    for count in (1, 2, 3):
        assert clients.is_served(host.address("faulty"))
        told = kill_host(host)
        assert "signal 9" in told and "while no plugin was being called" in told, told
        now = status_after(berth, host, count)
        assert now["last_end"]["plugin"] == "" and now["last_end"]["calls"] == [], now
        assert now["quarantine"] == [], now


@pytest.mark.linux("there is no SIGKILL on Windows, and a code of TerminateProcess() tells nothing")
def test_end_from_outside_while_a_work_waits_is_laid_to_nobody(run_supervised, berth, system, kill_host,
                                                               tmp_path):
    (tmp_path / "work").touch()
    host = run_supervised(["stuck"], environment={"STUCK": system.path(tmp_path)}, crashes_max=1)
    with clients.connect(host.address("stuck")) as sock:
        assert clients.echo(sock, b"w") == b"w"
        time.sleep(1.5)  # it is looked at four times a second
        told = kill_host(host)
    assert "only waited" in told and 'callback work of plugin "stuck"' in told, told
    now = status_after(berth, host, 1)
    assert now["last_end"]["plugin"] == "" and now["quarantine"] == [], now
    assert [(one["callback"], one["waited"]) for one in now["last_end"]["calls"]] == [("work", True)], now


@pytest.mark.parametrize("way, whose", [
    pytest.param("kill", "faulty", marks=pytest.mark.linux("there is no SIGKILL on Windows")), ("_exit:3", ""),
])
def test_end_while_a_call_of_another_plugin_waits(run_supervised, berth, system, tmp_path, way, whose):
    """Who waits does not take all memory, but may have been about to end the process."""
    (tmp_path / "work").touch()
    host = run_supervised(["stuck", "faulty"], environment={"STUCK": system.path(tmp_path)}, crashes_max=1)
    with clients.connect(host.address("stuck")) as sock:
        assert clients.echo(sock, b"w") == b"w"
        time.sleep(1.5)  # it is looked at four times a second
        told = end(host, system, b"\x90" + way.encode())
    assert 'of plugin "faulty",' in told and 'of plugin "stuck",' in told and "which waited" in told, told
    assert ("plugin=faulty" in told) == (whose != ""), told
    now = status_after(berth, host, 1)
    assert [one["plugin"] for one in now["quarantine"]] == ([whose] if whose else []), now
    assert now["last_end"]["plugin"] == whose, now


def ends_by(address, command):
    """Whether the connection that sends it is over then: nobody answers where a worker stalls."""
    with clients.connect(address) as sock:
        sock.sendall(command)
        sock.settimeout(3)
        try:
            return not sock.recv(1)
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True


def test_end_while_calls_of_two_plugins_run_names_both_and_counts_for_none(run_supervised, berth, system):
    host = run_supervised(["faulty", "faulty-too"], crashes_max=1, workers=2, stall_warning_ms=100)
    with clients.connect(host.address("faulty-too")) as sock:
        sock.sendall(b"\x8220000")
        host.wait_for_log("stall: ")
        while not ends_by(host.address("faulty"), b"\x90_exit:3"):
            pass  # that one got to the worker that stalls
        host.wait_for_log(CRASHED)
    (told,) = lines_of(host, CRASHED)
    assert 'of plugin "faulty",' in told and 'of plugin "faulty-too",' in told, told
    assert "cannot be told" in told and "plugin=" not in told, told
    now = status_after(berth, host, 1)
    assert now["last_end"]["plugin"] == "" and now["quarantine"] == [], now
    assert {one["plugin"] for one in now["last_end"]["calls"]} == {"faulty", "faulty-too"}, now


@pytest.mark.linux("the plugin finds that memory by /proc")
@pytest.mark.parametrize("kept", ["0", "1"], ids=["everything", "all but the header"])
def test_memory_that_a_plugin_has_scribbled_over_harms_nobody(run_supervised, berth, system, kept):
    host = run_supervised(crashes_max=1)
    told = end(host, system, b"\x90scribble:" + kept.encode())
    assert "exit code 3" in told and "plugin=" not in told, told
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ufffd]", told.replace("\ufffd", "")), told
    now = status_after(berth, host, 1)
    assert now["quarantine"] == [] and now["last_end"]["plugin"] == "", now
    assert clients.is_served(host.address("faulty"))


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
@pytest.mark.windows("a filter of unhandled exceptions is Windows'")
def test_crash_of_a_plugin_that_replaces_the_filter_is_still_told(run_host, system):
    host = run_host(manifests.one("faulty", "connect"), plugins=system.fixtures,
                    environment={"FAULTY_FILTER": "1"})
    host.expect_crash()
    with clients.connect(host.address("faulty")) as sock:
        sock.sendall(b"\x800")
        host.wait()
    (told, *_) = lines_of(host, "crash: ")
    assert "plugin=faulty" in told and "access violation" in told, told


# -- starts that hang ------------------------------------------------------------------------------


@pytest.fixture
def run_changing(run_supervised, system, tmp_path):
    """run_changing(…) serves `faulty` and `versioned`, whose file install() replaces."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    file = folder / f"versioned{system.library_suffix}"

    def install(version):
        shutil.copy(system.fixtures / "versions" / f"versioned-{version}{system.library_suffix}",
                    folder / "new")
        (folder / "new").replace(file)

    def run(**host):
        shutil.copy(system.fixtures / f"faulty{system.library_suffix}", folder)
        install(1)
        running = run_supervised(["faulty", "versioned"], folder=folder, crashes_max=100, **host)
        running.install = install
        return running

    return run


@pytest.fixture
def start_ms(system):
    """A limit for starts that one which does not hang keeps."""
    return 5000 if system.is_windows or system.is_sanitized else 3000


def version(host):
    with clients.connect(host.address("versioned")) as sock:
        sock.sendall(b"v\n")
        return sock.recv(1)


def test_library_that_ends_the_process_when_it_is_loaded_is_tried_first(run_changing, berth, system):
    """After a crash, too: the host serves what it served before, and says what is wrong."""
    host = run_changing()
    host.install("ending")
    end(host, system, b"\x90_exit:3")
    assert version(host) == b"1"
    log = host.log()
    assert "it was loaded in a process of its own first, and ended that (exit code 0)" in log, log
    assert "mend what is said above" in log, log
    assert 'the copy that ran before the crash is used, and not ' in log, log
    now = status_after(berth, host, 2)
    assert [one["id"] for one in now["plugins"]] == ["faulty", "versioned"], now
    assert now["last_end"]["plugin"] == "faulty", "a start that says why it fails is no such end"
    host.install(2)
    assert berth("restart", "versioned", "--manifest", host.manifest_path).code == 0
    assert version(host) == b"2"


def test_library_that_has_not_changed_is_not_tried_again(run_changing, berth, system):
    host = run_changing(log={"level": "debug"})
    end(host, system, b"\x90_exit:3")
    assert version(host) == b"1"
    assert "process of its own" not in host.log() and "before the crash" not in host.log()


def trials():
    """The processes on this machine that try a library."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"try-library" in entry.read_bytes():
                found.append(int(entry.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def test_start_that_is_not_ready_in_time_is_ended_with_its_trial(run_changing, berth, system, start_ms):
    """The library hangs when it is loaded, in the process that tries it."""
    if system.is_windows and not system.is_wine:
        pytest.skip("the trial is found by /proc")
    host = run_changing(start_timeout_ms=start_ms)
    host.install("hanging")
    before = set(trials())
    end(host, system, b"\x90_exit:3")
    clients.wait_until(lambda: set(trials()) - before, "the trial")
    ours = set(trials()) - before
    host.wait_for_log(f"supervisor: the host is not ready within {start_ms} ms (host.start_timeout_ms)")
    assert version(host) == b"1"
    clients.wait_until(lambda: not ours & set(trials()), "the end of the trial")
    assert status_after(berth, host, 2)["last_end"]["how"] == f"not ready within {start_ms} ms"


@pytest.mark.linux("there it is in a job from the beginning")
def test_trial_whose_host_is_gone_before_it_begins_ends_at_once(system, tmp_path):
    """Nobody reads what it has to say, and no signal comes any more."""
    library = system.fixtures / "versions" / f"versioned-hanging{system.library_suffix}"
    read_end, write_end = os.pipe()
    os.close(read_end)
    with subprocess.Popen(system.command(["try-library", library, "versioned"]), stdout=write_end,
                          stdin=subprocess.DEVNULL, cwd=tmp_path) as trial:
        os.close(write_end)
        try:
            assert trial.wait(clients.WAIT_S) == 1
        finally:
            trial.kill()


def test_start_that_hangs_in_a_plugin_names_it_and_goes_on_with_what_was_in_force(
    run_changing, berth, system, start_ms
):
    host = run_changing(start_timeout_ms=start_ms)
    host.install("hanging-later")
    end(host, system, b"\x90_exit:3")
    assert version(host) == b"1"
    told, *_ = lines_of(host, f"is not ready within {start_ms} ms")
    assert 'callback load of plugin "versioned"' in told and "plugin=versioned" in told, told
    last = status_after(berth, host, 2)["last_end"]
    assert last["plugin"] == "versioned" and last["calls"][0]["callback"] == "load", last


def test_plugin_that_hangs_every_start_is_left_out(run_supervised, berth, system, tmp_path, start_ms):
    host = run_supervised(["faulty", "stuck"], environment={"STUCK": system.path(tmp_path)},
                          start_timeout_ms=start_ms)
    (tmp_path / "load").touch()
    end(host, system, b"\x90_exit:3")
    assert clients.is_served(host.address("faulty"))
    now = status_after(berth, host, 3)
    assert [one["plugin"] for one in now["quarantine"]] == ["stuck"], now
    assert "callback load" in now["quarantine"][0]["reason"], now
    (tmp_path / "load").unlink()
    assert berth("release", "stuck", "--manifest", host.manifest_path).code == 0
    (name,) = [one for one in status(berth, host)["listeners"] if one["name"] == "stuck"]
    address, port = name["addresses"][0].rsplit(":", 1)
    assert clients.is_served((address, int(port)))


def test_first_start_that_hangs_ends_with_an_error(start_host, system, tmp_path):
    (tmp_path / "load").touch()
    host = start_host(manifests.one("stuck", "connect", host={"start_timeout_ms": 1000}),
                      plugins=system.fixtures, arguments=["--supervise"],
                      environment={"STUCK": system.path(tmp_path)})
    host.expect_crash()
    assert host.wait() == 1, host.log()
    (told,) = lines_of(host, "is not ready within 1000 ms")
    assert 'callback load of plugin "stuck"' in told, told
    assert not host.ready_file.exists()


def test_plugin_that_ends_every_first_start_is_left_out(run_host, berth, system):
    """Nothing was in force before: the others are served without it."""
    both = {"crash-at-load": manifests.listener("crash-at-load", "connect"),
            "echo": manifests.listener("newer-minor", "connect")}
    host = run_host(manifests.manifest(both, name=f"ends-{next(_numbers)}"), plugins=system.fixtures,
                    arguments=["--supervise"])
    host.expect_crash()
    assert clients.is_served(host.address("echo"))
    now = status(berth, host)
    assert [one["plugin"] for one in now["quarantine"]] == ["crash-at-load"], now
    assert now["last_end"]["plugin"] == "crash-at-load", now


def test_start_may_take_any_time_where_no_limit_is_set(run_supervised, start_host, system, tmp_path):
    (tmp_path / "load").touch()
    host = start_host(manifests.one("stuck", "connect", host={"start_timeout_ms": 0}),
                      plugins=system.fixtures, arguments=["--supervise"],
                      environment={"STUCK": system.path(tmp_path)})
    time.sleep(2)
    assert host.process.poll() is None, host.log()
    (tmp_path / "load").unlink()
    host.wait_ready()
    assert clients.is_served(host.address("stuck"))


@pytest.mark.linux("there is no SIGKILL on Windows, and a code of TerminateProcess() tells nothing")
def test_start_that_ends_without_a_word_does_not_point_to_what_was_never_said(
    run_supervised, kill_host, system, tmp_path
):
    host = run_supervised(["faulty", "stuck"], environment={"STUCK": system.path(tmp_path)})
    (tmp_path / "load").touch()
    end(host, system, b"\x90_exit:3")
    time.sleep(1.5)  # it waits in `load`
    told = kill_host(host)
    assert "signal 9" in told and "with what was in force before" in told, told
    (tmp_path / "load").unlink()
    host.wait_for_log("has not said why: see what has changed since")
    assert clients.is_served(host.address("stuck"))
    assert "said above" not in host.log()
