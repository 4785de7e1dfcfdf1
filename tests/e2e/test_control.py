"""The control channel: what is asked of a running host, and what comes back."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import stat

import pytest
from support import clients, manifests, operating
from support.systems import RUNTIME

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]


@pytest.mark.quick
def test_control_status_tells_what_runs(run_host, operate, system):
    host = run_host(manifests.two_echoes())
    with clients.connect(host.address("one")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        status = operate().status()
    assert status["name"] == "berth" and status["state"] == "serving"
    assert status["engine"] == system.engine
    if not system.is_windows:
        assert status["pid"] == host.process.pid
    one = next(each for each in status["listeners"] if each["name"] == "one")
    assert one["plugin"] == "echo" and one["generation"] == 1 and one["connections"] == 1
    assert one["addresses"] == host.ready["listeners"]["one"]["addresses"]
    assert [(each["id"], each["listeners"]) for each in status["plugins"]] == [("echo", ["one", "two"])]
    for line in (f"server: engine {system.engine}, ", "worker 0: ", 'listener "one", generation 1: serving',
                 'listener "two", generation 1: serving', 'plugin "echo", generation 1 ('):
        assert any(each.startswith(line) for each in status["objects"]), (line, status["objects"])


def _counters(section):
    """The names of the numbers in a section of their definitions."""
    text = (pathlib.Path(__file__).parents[2] / "host" / "base" / "counters.def").read_text(encoding="utf-8")
    entries = re.search(rf"^#ifdef COUNTERS_{section}$(.*?)^#endif", text, re.DOTALL | re.MULTILINE)[1]
    return set(re.findall(r"^(?:COUNTER|GAUGE|COUNTER_IN\(\w+, [^,]+, |COUNTER_SUM\(\w+, \w+, )\(?(\w+),", entries,
                          re.MULTILINE))


def test_control_status_has_every_counter_that_is_defined(run_host, operate):
    run_host(manifests.two_echoes())
    status = operate().status()
    one, plugin = status["listeners"][0], status["plugins"][0]
    for section, found in (("LISTENER", one["counters"]), ("GENERATION", one), ("SERVER", status["server"]),
                           ("WORKER", status["per_worker"][0]), ("WORK", status["work"]), ("HOLDS", plugin["holds"]),
                           ("LOG", status["log"])):
        names = _counters(section)
        assert names and names <= set(found), (section, names - set(found))
    assert len(status["per_worker"]) == status["workers"]


def test_control_verbs_print_tables(run_host, operate):
    host = run_host(manifests.two_echoes())
    for verb, words in (("status", ["LISTENER", "PLUGIN", "one", "two", "serving"]),
                        ("listeners", ["GEN", "one", host.ready["listeners"]["one"]["addresses"][0]]),
                        ("plugins", ["echo", "1.0.0", "one, two"])):
        done = operate().run(verb)
        assert done.code == 0, done
        for word in words:
            assert word in done.output, done


def test_control_status_has_a_table_of_counters_where_something_was_counted(run_host, operate):
    host = run_host(manifests.two_echoes())
    assert "COUNTER" not in operate().run("status").output
    assert clients.is_served(host.address("one"))
    lines = operate().run("status").output.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("COUNTER"))
    assert lines[header - 1] == ""
    assert any(line.split()[:3] == ["accepted", "one", "1"] for line in lines[header + 1:]), lines


def test_control_without_a_host_says_so(operate):
    for verb in ("status", "listeners", "plugins", "reload", "stop"):
        done = operate("nobody").run(verb)
        assert done.code == 1 and "nobody" in done.errors, done


@pytest.mark.any_engine
@pytest.mark.parametrize("words", [
    ["pause"], ["restart"], ["pause", "x", "--all"], ["status", "x"], ["stop", "--later"], ["reload", "--now"],
])
def test_control_usage(berth, words):
    assert berth(*words).code == 2


def test_control_pause_keeps_new_clients_waiting_and_resume_lets_them_in(run_host, operate):
    host = run_host(manifests.two_echoes())
    operator_ = operate()
    with clients.connect(host.address("one")) as old:
        assert clients.echo(old, b"1") == b"1"
        assert operator_.ask("pause", "one") == {"paused": 1}
        assert operator_.serving("one")["state"] == "paused"
        with clients.connect(host.address("one")) as new:
            new.sendall(b"2")
            assert clients.echo(old, b"3") == b"3", "connections go on"
            assert clients.is_served(host.address("two")), "others serve"
            assert operator_.ask("resume", "--all") == {"resumed": 2}
            assert clients.receive_exactly(new, 1) == b"2"
    assert operator_.ask("pause", "echo") == {"paused": 2}, "a plugin means all of its listeners"


def test_control_unknown_names_change_nothing(run_host, operate):
    run_host(manifests.two_echoes())
    for verb in ("pause", "resume", "restart"):
        done = operate().run(verb, "one", "nothing")
        assert done.code == 1 and 'no listener and no plugin is called "nothing"' in done.errors, done
    assert all(one["state"] == "serving" and one["generation"] == 1 for one in operate().listeners())


def listeners_that_share_a_name():
    """A plugin and a listener called "echo"; the plugin has two listeners, and that one another plugin."""
    return manifests.manifest({"echo": manifests.listener("packet-echo", "connect"),
                               "one": manifests.listener("echo", "connect"),
                               "two": manifests.listener("echo", "connect")})


def test_control_names_of_listeners_and_of_plugins_are_told_apart(run_host, operate):
    run_host(listeners_that_share_a_name())
    operator_ = operate()

    def states():
        return {one["name"]: (one["state"], one["generation"]) for one in operator_.listeners()
                if one["state"] != "draining"}

    before = states()
    for verb in ("pause", "resume", "restart", "release"):
        done = operator_.run(verb, "echo")
        assert done.code == 1, done
        for part in ('"echo" is ambiguous', "listener:echo", "plugin:echo"):
            assert part in done.errors, done
    assert states() == before, "nothing was done"
    assert operator_.ask("pause", "listener:echo") == {"paused": 1}
    assert [name for name, one in states().items() if one[0] == "paused"] == ["echo"]
    assert operator_.ask("resume", "listener:echo") == {"resumed": 1}
    assert operator_.ask("pause", "plugin:echo") == {"paused": 2}
    assert [name for name, one in states().items() if one[0] == "paused"] == ["one", "two"]
    assert operator_.ask("resume", "plugin:echo", "listener:echo") == {"resumed": 3}
    assert operator_.ask("restart", "plugin:echo")["replaced"] == 2
    assert states()["echo"] == before["echo"] and states()["one"] != before["one"]
    for verb in ("pause", "restart"):
        for name, said in (("listener:packet-echo", 'no listener is called "packet-echo"'),
                           ("plugin:one", 'no plugin is called "one"'), ("plugin:", 'no plugin is called ""')):
            done = operator_.run(verb, name)
            assert done.code == 1 and said in done.errors, done


def test_control_a_name_that_means_one_thing_either_way_is_not_ambiguous(run_host, operate):
    run_host(manifests.one())
    assert operate().ask("pause", "echo") == {"paused": 1}
    assert operate().ask("resume", "echo") == {"resumed": 1}
    assert operate().ask("restart", "echo")["replaced"] == 1


def test_control_stop_waits_for_connections_and_now_does_not(run_host, operate):
    host = run_host(manifests.one(host={"drain_timeout_ms": 3600000}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        with operate().beside("stop") as first:
            operate().wait_for(lambda status: status["state"] == "stopping", "the stop")
            assert clients.echo(sock, b"y") == b"y", "it may finish"
            assert operate().run("restart", "--all").code == 1, "no more changes"
            done = operate().run("stop", "--now")
            assert done.code == 0, done
            assert host.wait() == 0
            output, _ = first.communicate(timeout=clients.WAIT_S)
            assert first.returncode == 0 and b"1 connections are open" in output
        assert clients.has_ended(sock) or clients.receive_to_end(sock) == b""


def test_control_can_be_done_without(run_host, operate):
    host = run_host(manifests.one(host={"control": False, "name": "silent"}))
    assert clients.is_served(host.address("echo"))
    assert operate("silent").run("status").code == 1


@pytest.mark.linux("the pipes of Wine cannot be reached from outside of it")
def test_control_channel_survives_its_clients(run_host):
    """Garbage, half lines, floods, clients that leave or stay silent: none of them stops the others."""
    run_host(manifests.two_echoes())
    good = b'{"berth":1,"verb":"status"}\n'
    for text, message in [
        (b"\n", "expected a JSON object"), (b"[]\n", "expected a JSON object"), (b"nonsense\n", "expected a JSON"),
        (b"{}\n", '"berth": expected 1'), (b'{"berth":2,"verb":"status"}\n', '"berth": expected 1'),
        (b'{"berth":1,"verb":"fly"}\n', '"verb": expected'), (b'{"berth":1}\n', '"verb": expected'),
        (b'{"berth":1,"verb":"pause"}\n', 'expected either "names" or "all"'),
        (b'{"berth":1,"verb":"pause","names":[1]}\n', '"names": expected'),
        (b"[" * 60000 + b"\n", "expected a JSON object"), (b"x" * 70000 + b"\n", "longer than 65536"),
        (b'{"berth":1,"verb":"\x00"}\n', "expected"),
    ]:
        answer = operating.raw("berth", text)
        assert answer["ok"] is False and message in answer["errors"][0], (text[:50], answer)
        assert operating.raw("berth", good)["ok"]
    assert operating.raw("berth", good.strip(), finish=True)["ok"], "the last line needs no end"
    with operating.connect_raw("berth") as sock:  # several requests on one connection
        sock.sendall(good * 50)
        reader = sock.makefile("rb")
        assert all(json.loads(reader.readline())["ok"] for _ in range(50))


@pytest.mark.linux("the pipe's access list is in os_windows_channel.c; Wine does not enforce it")
def test_control_channel_is_the_owners_alone(run_host):
    run_host(manifests.two_echoes())
    assert stat.S_IMODE((RUNTIME / "berth.sock").stat().st_mode) == 0o600


def test_control_channel_of_a_killed_host_is_taken_over(start_host, run_host, operate, system):
    host = run_host(manifests.two_echoes())
    host.process.kill()
    host.process.wait(clients.WAIT_S)
    host.failed_to_start = True  # it has no good end to examine
    copies = f"berth-{host.process.pid}-*"
    temporary = pathlib.Path(os.environ.get("TMPDIR", "/tmp"))
    assert system.is_windows or list(temporary.glob(copies)), "what a killed host leaves"
    run_host(manifests.two_echoes())
    assert system.is_windows or not list(temporary.glob(copies)), "the next one removes"
    if system.is_windows:
        operate().wait_for(lambda status: True, "an answer")
    assert operate().status()["state"] == "serving"


def test_control_channel_is_not_starved_by_connections(run_host, operate):
    """At the limit on connections, with clients waiting, the operator is heard."""
    host = run_host(manifests.one(when="connect", host={"limits": {"connections": 4}}))
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(clients.connect(host.address("echo")))
        operate().wait_for(lambda status: status["connections"] == 4, "the limit")


@pytest.mark.linux("Windows has no SIGHUP")
def test_control_hangup_reloads(run_host, operate):
    host = run_host(manifests.two_echoes())
    manifest = json.loads(host.manifest_file.read_text(encoding="utf-8"))
    manifest["listeners"]["three"] = manifest["listeners"]["one"]
    host.manifest_file.write_text(json.dumps(manifest), encoding="utf-8")
    host.send_signal(signal.SIGHUP)
    host.wait_for_log("reload (SIGHUP): 1 added")
    assert len(operate().listeners()) == 3
    host.manifest_file.write_text("{", encoding="utf-8")
    host.send_signal(signal.SIGHUP)
    host.wait_for_log("reload (SIGHUP) failed: all goes on as before")
    assert os.path.exists(host.ready_file)
