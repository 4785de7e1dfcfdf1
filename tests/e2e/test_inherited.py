"""What a host gets from whoever starts it, and what the system refuses it later: neither ends it."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from support import clients, manifests

pytestmark = [pytest.mark.threads]

_numbers = itertools.count()


@pytest.fixture
def run_plain(run_host, system):
    """run_plain(…) serves the plugins `faulty` and `newer-minor`; the latter echoes."""

    def run(host=None, **options):
        made = {"name": f"inherited-{next(_numbers)}", "crashes_max": 100, **(host or {})}
        both = {"faulty": manifests.listener("faulty", "connect"),
                "echo": manifests.listener("newer-minor", "connect")}
        return run_host(manifests.manifest(both, **made), plugins=system.fixtures, **options)

    return run


def crash(host):
    with clients.connect(host.address("faulty")) as sock:
        sock.sendall(b"\x800")
        host.wait_for_log("supervisor: the host has crashed (")


def children_of(pid):
    return [int(one) for one in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def state_of(pid):
    """"Z" of one that has ended and that nobody has reaped; "" of one that is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# -- signals, descriptors --------------------------------------------------------------------------


@pytest.mark.linux("Windows has no signals, process groups of this kind, or descriptors to close")
@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_supervised_host_with_inherited_ignored_signals_is_started_again(run_plain):
    host = run_plain(arguments=["--supervise"],
                     wrap=["env", "--ignore-signal=CHLD,ABRT,SEGV,TERM,INT", "--block-signal=CHLD,TERM,INT"])
    host.expect_crash()
    address = host.address("echo")
    crash(host)
    assert clients.is_served(address)
    host.interrupt()
    assert host.wait() == 0, host.log()


@pytest.mark.linux("Windows has no signals, process groups of this kind, or descriptors to close")
def test_stray_signals_do_not_end_a_host(run_plain):
    host = run_plain()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXFSZ, signal.SIGALRM, signal.SIGPIPE,
                   signal.SIGIO, signal.SIGVTALRM, signal.SIGPROF, signal.SIGTTIN, signal.SIGTTOU,
                   signal.SIGCHLD, signal.SIGCONT, signal.SIGXCPU, signal.SIGPWR, signal.SIGSTKFLT,
                   signal.SIGRTMIN, signal.SIGRTMAX):
        host.send_signal(number)
    assert clients.is_served(host.address("echo"))


@pytest.mark.linux("Windows has no signals, process groups of this kind, or descriptors to close")
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_are_taken_by_nothing_else(run_plain, closed):
    """Else the log would go to whatever is opened first: a file, or a client."""
    host = run_plain(host={"log": {"level": "debug"}}, stdout=subprocess.DEVNULL,
                     wrap=["sh", "-c", f'exec "$@" {closed}', "sh"])
    for number in map(int, closed[::5]):
        assert os.readlink(f"/proc/{host.process.pid}/fd/{number}") == "/dev/null"
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(clients.connect(host.address("echo"))) for _ in range(5)]
        for sock in crowd:
            assert clients.echo(sock, b"x" * 100) == b"x" * 100
        for sock in crowd:
            sock.shutdown(1)
            assert sock.recv(1) == b""


# -- processes -------------------------------------------------------------------------------------


@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_start_of_the_next_host_that_the_system_refuses_is_tried_again(run_plain, system, tmp_path):
    """The listening sockets stay open meanwhile: a client waits, and is served."""
    dist, refuse = tmp_path / "dist", tmp_path / "refuse"
    environment = {}
    if system.is_windows:
        shutil.copytree(system.dist, dist)
    else:
        library = system.fixtures / "preload" / "refuse-fork.so"
        environment = {"LD_PRELOAD": str(library), "BERTH_REFUSE_FORK": str(refuse)}
    host = run_plain(arguments=["--supervise"], environment=environment,
                     dist=dist if system.is_windows else None)
    host.expect_crash()
    if system.is_windows:  # where a program cannot be started that is not there
        system.executable(dist).rename(refuse)
    else:
        refuse.touch()
    address = host.address("echo")
    crash(host)
    host.wait_for_log(" listening sockets stay open, and clients wait")
    with clients.connect(address) as sock:
        sock.sendall(b"waits")
        if system.is_windows:
            refuse.rename(system.executable(dist))
        else:
            refuse.unlink()
        assert clients.receive_exactly(sock, 5) == b"waits"
    line = next(line for line in host.log().splitlines() if "it is tried again in 100 ms" in line)
    assert "supervisor: starting the host: " in line, line


@pytest.mark.linux("Windows has no signals, process groups of this kind, or descriptors to close")
@pytest.mark.plain("a sanitizer has a handler of crashes of its own, which is left in place")
def test_stop_ends_a_supervisor_that_cannot_start_the_next_host(run_plain, system, tmp_path):
    refuse = tmp_path / "refuse"
    library = system.fixtures / "preload" / "refuse-fork.so"
    host = run_plain(arguments=["--supervise"],
                     environment={"LD_PRELOAD": str(library), "BERTH_REFUSE_FORK": str(refuse)})
    host.expect_crash()
    refuse.touch()
    crash(host)
    host.wait_for_log("it is tried again in ")
    host.interrupt()
    assert host.wait() == 1, host.log()


@pytest.mark.linux("Windows has no signals, process groups of this kind, or descriptors to close")
def test_stopped_host_whose_supervisor_was_killed_ends(run_plain):
    host = run_plain(arguments=["--supervise"], host={"drain_timeout_ms": 100})
    host.expect_crash()
    address = host.address("echo")
    (child,) = children_of(host.process.pid)
    os.kill(child, signal.SIGSTOP)
    clients.wait_until(lambda: state_of(child) == "T", "the stop")
    host.process.kill()
    try:
        clients.wait_until(lambda: state_of(child) in ("", "Z"), "its end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    assert clients.is_refused(address)


@pytest.mark.linux("Windows has no signals, process groups of this kind, or descriptors to close")
@pytest.mark.any_engine
@pytest.mark.parametrize("arguments", [[], ["--supervise"]], ids=["alone", "supervised"])
def test_process_1_reaps_orphans(run_plain, berth, arguments):
    apart = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs to be allowed to make a namespace of processes")
    host = run_plain(arguments=arguments, wrap=apart)
    (first,) = children_of(host.process.pid)
    before = children_of(first)
    orphan = 'sleep 0.1 & echo "$!"'
    for _ in range(3):
        subprocess.run(["nsenter", f"--pid=/proc/{first}/ns/pid_for_children", "sh", "-c", orphan], check=True,
                       stdout=subprocess.DEVNULL)
    clients.wait_until(lambda: len(children_of(first)) > len(before), "the orphans")
    clients.wait_until(lambda: children_of(first) == before, "their end")
    assert clients.is_served(host.address("echo"))
    assert berth("stop", "--manifest", host.manifest_path).code == 0
    assert host.wait() == 0, host.log()


# -- a host that does not answer -------------------------------------------------------------------


@pytest.fixture
def stopped(run_plain):
    """A host that does not run: what connects to it is taken, and never answered."""
    host = run_plain()
    host.name = json.loads(host.manifest_file.read_text(encoding="utf-8"))["host"]["name"]
    host.send_signal(signal.SIGSTOP)
    yield host
    host.send_signal(signal.SIGCONT)


@pytest.mark.any_engine
@pytest.mark.parametrize("verb", [["status"], ["stop"]], ids=lambda verb: verb[0])
def test_verb_ends_when_a_host_does_not_answer_in_time(stopped, berth, verb):
    """Far sooner than it would by default."""
    began = time.monotonic()
    done = berth(*verb, "--timeout", "1", "--name", stopped.name)
    assert done.code == 1 and "has not answered within 1 s" in done.errors, done
    assert "--timeout" in done.errors and done.output == "", done
    assert time.monotonic() - began < 25


@pytest.mark.any_engine
def test_verb_that_waits_for_a_host_can_be_interrupted(stopped, system, tmp_path):
    command = system.command(["status", "--timeout", "3000", "--name", stopped.name])
    with subprocess.Popen(command, env=system.environment(), cwd=tmp_path, stdin=subprocess.DEVNULL,
                          start_new_session=True) as verb:
        try:
            time.sleep(0.5)
            assert verb.poll() is None
            verb.send_signal(signal.SIGINT)
            code = verb.wait(clients.WAIT_S)
            assert code != 0 or system.is_wine, "Wine ends a program so that Ctrl-C interrupts with 0"
        finally:
            verb.kill()
