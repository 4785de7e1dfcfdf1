"""Which host a verb speaks to: the one of a name, or the one that serves a manifest, and no other."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest
from support import clients, manifests, operating
from support.host import run_berth
from support.systems import RUNTIME

pytestmark = pytest.mark.any_engine

VERBS = (["status"], ["listeners"], ["plugins"], ["reload"], ["pause", "--all"], ["restart", "--all"],
         ["release", "--all"], ["stop"], ["stop", "--now"])


def write(folder, manifest, name="other.json"):
    path = folder / name
    path.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest), encoding="utf-8")
    return path


# -- a manifest ------------------------------------------------------------------------------------


def test_identity_verbs_with_a_manifest_never_reach_the_host_of_another_one(run_host, berth, system, tmp_path):
    """All manifests have the same name by default, which says nothing."""
    host = run_host(manifests.two_echoes())
    other = write(tmp_path, manifests.two_echoes())
    for verb in VERBS:
        done = berth(*verb, "--manifest", system.path(other))
        assert done.code == 1 and done.output == "", done
        assert f"no host that serves {system.path(other)}" in done.errors, done
        assert f"serves {host.manifest_path}" in done.errors, done
        assert "--name berth" in done.errors, done
    assert clients.is_served(host.address("one")) and host.process.poll() is None
    done = berth("status", "--json", "--manifest", system.path(other))
    assert done.code == 1 and "no host that serves" in json.loads(done.output)["errors"][-1], done


def test_identity_each_of_two_hosts_is_reached_by_its_manifest(run_host, berth):
    first = run_host(manifests.two_echoes())
    second = run_host(manifests.one(host={"name": "second"}))
    assert berth("stop", "--manifest", second.manifest_path).code == 0
    assert second.wait() == 0 and first.process.poll() is None
    assert berth("stop", "--manifest", first.manifest_path).code == 0
    assert first.wait() == 0


def test_identity_a_manifest_is_the_same_by_whatever_path(run_host, berth, system, tmp_path):
    host = run_host(manifests.two_echoes())
    folder = host.manifest_file.parent
    spelt = [folder / ".." / folder.name / "berth.json", pathlib.Path(os.path.relpath(host.manifest_file, tmp_path))]
    if not system.is_windows:
        (tmp_path / "folder").symlink_to(folder)
        (tmp_path / "link.json").symlink_to(host.manifest_file)
        spelt += [tmp_path / "folder" / "berth.json", tmp_path / "link.json"]
    for path in spelt:
        text = system.path(path) if path.is_absolute() else str(path)
        done = berth("status", "--manifest", text)
        assert done.code == 0 and done.output.startswith("berth "), done


@pytest.mark.parametrize("text", [
    '{"manifest": 1, "host": {"name": "odd-name", ',
    '{"manifest": 1, "host": {"name": "odd-name"}, "listeners": {"x": {"adress": 1}}}',
    "nonsense", None,
])
def test_identity_a_host_is_reached_while_its_manifest_is_broken(run_host, berth, system, text):
    """By what the broken text still says, by asking all that there are, or the message says --name."""
    host = run_host(manifests.one(host={"name": "odd-name"}))
    if text is None:
        host.manifest_file.unlink()
    else:
        host.manifest_file.write_text(text, encoding="utf-8")
    done = berth("status", "--manifest", host.manifest_path)
    if system.is_windows and (text is None or "odd-name" not in text):
        assert done.code == 78 and "--name" in done.errors, done  # Wine cannot list pipes
        return
    assert done.code == 0 and done.output.startswith("odd-name "), done
    assert berth("stop", "--manifest", host.manifest_path).code == 0
    assert host.wait() == 0
    done = berth("status", "--manifest", host.manifest_path)
    assert done.code == 78 and "--name" in done.errors and ":1:" in done.errors, done


def test_identity_name_and_manifest_together_must_agree(run_host, berth, system, tmp_path):
    host = run_host(manifests.two_echoes())
    other = write(tmp_path, manifests.two_echoes())
    assert berth("status", "--name", "berth", "--manifest", host.manifest_path).code == 0
    done = berth("stop", "--name", "berth", "--manifest", system.path(other))
    assert done.code == 1 and f"serves {host.manifest_path}, and not " in done.errors, done
    assert host.process.poll() is None


def test_identity_of_a_host_without_a_channel_is_explained(run_host, berth):
    host = run_host(manifests.one(host={"control": False}))
    done = berth("status", "--manifest", host.manifest_path)
    assert done.code == 1 and '"host.control" is false' in done.errors, done


# -- which host it was -----------------------------------------------------------------------------


def test_identity_every_answer_says_which_host_it_was(run_host, operate):
    host = run_host(manifests.two_echoes())
    who = f'host "berth", process {host.ready["pid"]}, manifest {host.manifest_path}\n'
    for verb in (["listeners"], ["plugins"], ["pause", "one"], ["resume", "one"], ["restart", "one"], ["reload"]):
        done = operate().run(*verb)
        assert done.code == 0 and done.output.startswith(who), done
        answer = json.loads(operate().run(*verb, "--json").output)
        assert answer["host"]["name"] == "berth" and answer["host"]["pid"] == host.ready["pid"]
        assert answer["host"]["manifest"] == host.manifest_path
    done = operate().run("pause", "nothing")
    assert done.code == 1 and who in done.errors, done
    done = operate().run("status")
    assert f"process {host.ready['pid']}" in done.output and f"manifest {host.manifest_path}\n" in done.output
    done = operate().run("stop")
    assert done.code == 0 and done.output.startswith(who), done


# -- one name, two hosts ---------------------------------------------------------------------------


def test_identity_a_name_that_is_taken_fails_the_start(run_host, fail_to_start):
    first = run_host(manifests.two_echoes())
    result = fail_to_start(manifests.one(host={"name": "berth"}))
    assert result.code == 1 and len(result.error_lines) == 1, result
    for part in ('"berth"', f"process {first.ready['pid']}", first.manifest_path, "another host of this name",
                 "berth stop --name berth", '"host.name"', '"host.control": false'):
        assert part in result.errors, (part, result)
    assert clients.is_served(first.address("one"))


def test_identity_a_host_that_wants_no_channel_shares_a_name(run_host, operate):
    first = run_host(manifests.two_echoes())
    second = run_host(manifests.one(host={"name": "berth", "control": False}))
    assert clients.is_served(second.address("echo"))
    assert operate().serving("one")["addresses"] == first.ready["listeners"]["one"]["addresses"]


@pytest.mark.linux("there the system itself knows a first instance of a pipe")
def test_identity_hosts_that_start_at_once_share_no_name(start_host):
    """One of them has it, the others fail: no socket is taken for one that a killed host has left."""
    hosts = [start_host(manifests.one(host={"name": "berth"})) for _ in range(4)]
    clients.wait_until(lambda: sum(host.process.poll() is None for host in hosts) == 1, "the ends of three")
    serving = next(host for host in hosts if host.process.poll() is None)
    serving.wait_ready()
    for host in hosts:
        host.failed_to_start = host is not serving
        assert host is serving or "another host of this name is running" in host.log()


def test_identity_channel_of_a_host_that_drains_is_taken_over_when_it_has_gone(run_host, operate):
    first = run_host(manifests.one(host={"drain_timeout_ms": 600_000}))
    with clients.connect(first.address("echo")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        first.interrupt()
        first.wait_for_log("stopping: no new connections")
        second = run_host(manifests.one(host={"name": "berth"}))
        assert f"process {first.ready['pid']}, which is stopping" in second.log()
        assert operate().status()["pid"] == first.ready["pid"], "it can be told to stop now"
        assert clients.is_served(second.address("echo"))
    assert first.wait() == 0
    second.wait_for_log('the control channel "berth" is taken over')
    assert operate().status()["pid"] == second.ready["pid"]


# -- whose host it is (Linux) ----------------------------------------------------------------------


def client(system, folder, runtime, *arguments, **more):
    """A verb by a client that looks in another folder (None: where it looks by itself)."""
    environment = {**system.environment(), "BERTH_RUNTIME_DIR": str(runtime)}
    if runtime is None:
        del environment["BERTH_RUNTIME_DIR"]
    return subprocess.run(system.command(arguments), env=environment, cwd=folder, check=False,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=clients.START_S, **more)


@contextlib.contextmanager
def runtime_folder():
    """Short, as a socket's path has a limit."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-rt-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def impostor(folder, answer, mode=0o600):
    """Somebody who listens where a host called "berth" would, and answers everything with that line."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "berth.sock"))
        os.chmod(folder / "berth.sock", mode)
        listener.listen()
        heard = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        for line in sock.makefile("rb"):
                            heard.append(line)
                            sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


NASTY = "\x1b]0;x\x07\x1b[2J\x7f\x9b31m\u202e"


def nasty_answer(ok):
    who = {"name": "berth", "pid": 7, "manifest": "/x" + NASTY, "state": "serving"}
    row = {"name": NASTY, "plugin": NASTY, "state": NASTY, "addresses": [NASTY], "version": NASTY,
           "id": NASTY, "listeners": [NASTY], "reason": NASTY}
    answer = {"berth": 1, "ok": ok, "code": 0 if ok else 1, "host": who}
    if ok:
        answer["result"] = {**who, "listeners": [row], "plugins": [row], "quarantine": [row], "engine": NASTY}
    else:
        answer["errors"] = [NASTY]
    return json.dumps(answer, ensure_ascii=False).encode() + b"\n"


def assert_harmless(done):
    text = (done.stdout + done.stderr).decode("utf-8")
    bad = [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e"]
    assert not bad, (bad, text)


@pytest.mark.linux("there the system says who serves a pipe; Wine has one user")
def test_identity_client_prints_nothing_of_an_answer_as_it_is(system, tmp_path):
    for ok in (True, False):
        with runtime_folder() as folder, impostor(folder, nasty_answer(ok)):
            for verb in ("status", "listeners", "plugins"):
                done = client(system, tmp_path, folder, verb, "--name", "berth")
                assert done.returncode == (0 if ok else 1), done
                assert_harmless(done)
                done = client(system, tmp_path, folder, verb, "--name", "berth", "--json")
                assert_harmless(done)
                assert json.loads(done.stdout)["host"]["manifest"] == "/x" + NASTY, "its meaning is the same"
    with runtime_folder() as folder, impostor(folder, b"\x1b[2J no JSON\xff\n"):
        done = client(system, tmp_path, folder, "status", "--name", "berth", "--json")
        assert done.returncode == 1
        assert_harmless(done)


@pytest.mark.linux("there the system says who serves a pipe; Wine has one user")
def test_identity_client_trusts_no_folder_that_others_can_write_to(system, tmp_path):
    with runtime_folder() as folder, impostor(folder, nasty_answer(True)) as heard:
        folder.chmod(0o777)
        done = client(system, tmp_path, folder, "status", "--name", "berth")
        assert done.returncode == 1 and b"not trusted" in done.stderr, done
        folder.chmod(0o700)
        (folder / "berth.sock").chmod(0o666)
        done = client(system, tmp_path, folder, "status", "--name", "berth")
        assert done.returncode == 1 and b"not trusted" in done.stderr, done
        assert heard == [], "nothing was said to it"


@pytest.mark.linux("there the system says who serves a pipe; Wine has one user")
def test_identity_client_trusts_no_other_user(system, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    for paths in (["."], ["berth.sock"], [".", "berth.sock"]):
        with runtime_folder() as folder, impostor(folder, nasty_answer(True)) as heard:
            for path in paths:
                os.chown(folder / path, 54321, 54321)
            for name in (["--name", "berth"], ["--manifest", "no-such.json"]):
                done = client(system, tmp_path, folder, "stop", *name)
                assert done.returncode != 0 and heard == [], done
                assert_harmless(done)
            assert b"not trusted" in client(system, tmp_path, folder, "status", "--name", "berth").stderr


def test_identity_message_lists_every_place_that_was_looked_in(system, tmp_path):
    if system.is_windows:
        done = run_berth(system, ["status", "--name", "nobody"], tmp_path)
        assert done.code == 1 and "\\\\.\\pipe\\berth-nobody" in done.errors
        return
    done = client(system, tmp_path, None, "status", "--name", "nobody")
    places = ["/run/berth", "/tmp/berth-0", "/tmp/berth-UID", "/run/user/UID/berth"]
    if os.geteuid() != 0:
        places = [f"/tmp/berth-{os.geteuid()}"]
    assert done.returncode == 1, done
    for place in places:
        assert place in done.stderr.decode(), done
    done = client(system, tmp_path, RUNTIME, "status", "--name", "nobody")
    assert str(RUNTIME) in done.stderr.decode(), done


@pytest.mark.linux("there the system says who serves a pipe; Wine has one user")
def test_identity_root_finds_the_hosts_of_other_users(system, tmp_path):
    user = 54321
    if os.geteuid() != 0 or os.path.exists(f"/tmp/berth-{user}"):
        pytest.skip("needs root, and a user who has no host")
    if subprocess.run(system.command(["--version"]), user=user, group=user, check=False,
                      stdout=subprocess.DEVNULL, cwd="/").returncode != 0:
        pytest.skip("other users cannot run this build")
    with runtime_folder() as folder:
        folder.chmod(0o755)
        os.chown(folder, user, user)
        manifest = write(folder, manifests.one(host={"name": "of-another-user"}))
        environment = {key: value for key, value in system.environment().items()
                       if key not in ("BERTH_RUNTIME_DIR", "XDG_RUNTIME_DIR")}
        process = subprocess.Popen(
            system.command(["run", "--manifest", str(manifest), "--ready-file", str(folder / "ready.json")]),
            env=environment, cwd=folder, user=user, group=user, extra_groups=[], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            clients.wait_until((folder / "ready.json").exists, "the ready file", clients.START_S)
            for words in (["--name", "of-another-user"], ["--manifest", str(manifest)]):
                done = client(system, tmp_path, None, "status", *words)
                assert done.returncode == 0 and done.stdout.startswith(b"of-another-user "), done
            assert client(system, tmp_path, None, "stop", "--manifest", str(manifest)).returncode == 0
            assert process.wait(clients.WAIT_S) == 0
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(f"/tmp/berth-{user}", ignore_errors=True)


@pytest.mark.linux("there the system says who serves a pipe; Wine has one user")
def test_identity_raw_request_is_answered_by_the_channel_itself(run_host):
    host = run_host(manifests.two_echoes())
    answer = operating.raw("berth", b'{"berth":1,"verb":"host"}\n')
    assert answer["ok"] and answer["host"]["pid"] == host.process.pid and answer["host"]["state"] == "serving"
    answer = operating.raw("berth", b'{"verb":"host", "berth":1}\n')
    assert answer["ok"] and answer["host"]["pid"] == host.process.pid, "in any form"
