"""The control channel as a channel: what is said on it, who has a place, and what the verbs make of it."""

import contextlib
import copy
import json
import os
import pathlib
import select
import shutil
import socket

import pytest
from support import clients, manifests, operating
from support.host import run_berth

pytestmark = pytest.mark.any_engine


def request(verb, **more):
    return json.dumps({"berth": 1, "verb": verb, **more}).encode() + b"\n"


STRICT = [
    (request("reload", dry_run="yes"), '"dry_run": expected true or false'),
    (request("reload", dryrun=True), '"dryrun": unknown key of "reload" (did you mean "dry_run"?)'),
    (request("stop", noww=True), '"noww": unknown key of "stop" (did you mean "now"?)'),
    (request("stop", now=1), '"now": expected true or false'),
    (request("status", names=["one"]), '"names": unknown key of "status"'),
    (request("restart", names={"k": "one"}), '"names": expected an array of 1 to 1024 strings'),
    (request("restart", names=[], all=True), '"names": expected an array of 1 to 1024 strings'),
    (request("restart", names=["one"], all=True), 'expected either "names" or "all"'),
    (request("restart", names=["x"] * 1025), '"names": expected an array of 1 to 1024 strings'),
    (request("restrat"), '(did you mean "restart"?)'),
    (b'{"berth":1,"verb":"stop"} and more\n', "expected a JSON object"),
    (b'{"berth":1,"verb":"stop"}\x00\n', "expected a JSON object"),
    (b'{"berth":1,"verb":"stop","now":false,"now":true}\n', '"now": given twice'),
    (b'{"berth":1,"verb":"stop","\\u0000":1}\n', "expected a JSON object"),
    (request("status", x=[{"x": {}}] * 40), "unknown key"),
]


@pytest.mark.linux("the pipes of Wine cannot be reached from outside of it")
def test_channel_refuses_what_it_does_not_know_and_does_nothing(run_host):
    run_host(manifests.two_echoes())
    for text, message in STRICT:
        answer = operating.raw("berth", text)
        assert answer["ok"] is False and answer["code"] == 2, (text, answer)
        assert message in answer["errors"][0], (text, answer)
    status = operating.raw("berth", request("status"))["result"]
    assert status["state"] == "serving", status
    assert all(one["generation"] == 1 for one in status["listeners"]), status
    # Brackets in a name are no depth.
    answer = operating.raw("berth", request("pause", names=["[" * 40 + "{" * 40]))
    assert answer["code"] == 1 and "no listener and no plugin" in answer["errors"][0], answer


def test_channel_verbs_have_results_of_their_own(run_host, operate):
    host = run_host(manifests.two_echoes())
    told = operate().ask("listeners")
    assert list(told) == ["listeners"], told
    assert [one["name"] for one in told["listeners"]] == ["one", "two"]
    assert told["listeners"][0]["addresses"] == host.ready["listeners"]["one"]["addresses"]
    told = operate().ask("plugins")
    assert list(told) == ["plugins"], told
    assert [(one["id"], one["listeners"]) for one in told["plugins"]] == [("echo", ["one", "two"])]


def test_channel_verbs_take_the_manifest_for_the_name(run_host, berth):
    host = run_host(manifests.one(host={"name": "by-manifest"}))
    for verb in ("status", "listeners", "plugins"):
        done = berth(verb, "--manifest", host.manifest_path)
        assert done.code == 0 and "echo" in done.output, done


def test_channel_name_comes_from_the_manifest_beside_the_executable(run_host, system, tmp_path):
    dist = shutil.copytree(system.dist, tmp_path / "dist", symlinks=True)
    shipped = dist / "config" / "berth.json"
    shipped.write_text(json.dumps(manifests.one(host={"name": "beside"})), encoding="utf-8")
    there = copy.copy(system)
    there.dist = dist
    run_host(None, dist=dist)
    done = run_berth(there, ["status"], tmp_path)
    assert done.code == 0 and done.output.startswith("beside "), done
    shipped.write_text('{"host": {"name": "beside"', encoding="utf-8")
    done = run_berth(there, ["status"], tmp_path)
    assert done.code == 0 and done.output.startswith("beside "), "the host is there all the same"
    assert run_berth(there, ["stop"], tmp_path).code == 0
    done = run_berth(there, ["status", "--json"], tmp_path)
    assert done.code == 78 and json.loads(done.output)["code"] == 78, done


def test_channel_name_is_one_that_a_host_can_have(berth):
    for verb in ("status", "plugins", "stop"):
        done = berth(verb, "--name", "../../etc")
        assert done.code == 2 and '"../../etc" is no name of a host' in done.errors, done


def test_channel_failures_are_json_too(berth, tmp_path):
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for words, code, part in (
        (["status", "--name", "nobody"], 1, 'no host called "nobody"'),
        (["plugins", "--name", "nobody"], 1, 'no host called "nobody"'),
        (["stop", "--name", "a/b"], 2, "is no name of a host"),
        (["pause", "--name", "nobody"], 2, "expected the names"),
        (["status", "--manifest", "broken.json"], 78, "broken.json:1:"),
    ):
        done = berth(*words, "--json")
        answer = json.loads(done.output)
        assert done.code == answer["code"] == code and answer["ok"] is False, done
        assert part in answer["errors"][0] and part in done.errors, done


def dribble(sock):
    """Says a little more; true once there is an answer."""
    with contextlib.suppress(BrokenPipeError):
        sock.send(b" ")
    return bool(select.select([sock], [], [], 0.2)[0])


@pytest.mark.linux("the pipes of Wine cannot be reached from outside of it")
@pytest.mark.threads
def test_channel_idle_clients_make_room_for_others(run_host, operate):
    """Those who only hold a place, or never end a line, keep nobody out; and a line has its time."""
    run_host(manifests.two_echoes())
    with contextlib.ExitStack() as held:
        slow = held.enter_context(operating.connect_raw("berth"))
        slow.sendall(b'{"berth":')
        idle = [held.enter_context(operating.connect_raw("berth")) for _ in range(20)]
        reader = slow.makefile("rb")
        clients.wait_until(lambda: dribble(slow), "an answer")
        assert "did not end within" in json.loads(reader.readline())["errors"][0]
        idle += [held.enter_context(operating.connect_raw("berth")) for _ in range(80)]
        for _ in range(5):
            assert operating.raw("berth", request("status"))["ok"]
        assert operate().status()["state"] == "serving"
        assert idle[0].recv(1) == b"", "who was idle longest had to go"
        idle[-1].sendall(request("status"))
        assert b'"ok":true' in idle[-1].makefile("rb").readline(), "who came last has a place"


def is_asking(process):
    """Whether a client has its socket; Linux alone shows that of others."""
    try:
        return any(os.readlink(one).startswith("socket:") for one in pathlib.Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return process.poll() is not None


def test_channel_waiting_stops_do_not_keep_out_the_one_that_is_now(run_host, operate, system):
    host = run_host(manifests.one(host={"drain_timeout_ms": 3600000}))
    with clients.connect(host.address("echo")) as sock, contextlib.ExitStack() as waiting:
        assert clients.echo(sock, b"x") == b"x"
        stops = [waiting.enter_context(operate().beside("stop")) for _ in range(5)]
        operate().wait_for(lambda status: status["state"] == "stopping", "the stop")
        if not system.is_windows:
            clients.wait_until(lambda: all(map(is_asking, stops)), "all to ask")
        assert operate().run("stop", "--now").code == 0
        assert host.wait() == 0
        for stop in stops:
            output, _ = stop.communicate(timeout=clients.WAIT_S)
            assert stop.returncode == 0 and b"stopping: " in output, output


@pytest.mark.linux("the pipes of Wine cannot be reached from outside of it")
def test_channel_stop_lasts_as_long_as_the_host(run_host, operate):
    """Even when the channel has no place for somebody who only waits."""
    host = run_host(manifests.one(host={"drain_timeout_ms": 3600000}))
    with clients.connect(host.address("echo")) as sock, contextlib.ExitStack() as held:
        assert clients.echo(sock, b"x") == b"x"
        stop = held.enter_context(operate().beside("stop"))
        operate().wait_for(lambda status: status["state"] == "stopping", "the stop")
        crowd = [held.enter_context(operating.connect_raw("berth")) for _ in range(40)]
        assert crowd[0].recv(1) == b"", "the stop, idle for longer, has had to go before"
        assert operate().status()["state"] == "stopping"
        assert stop.poll() is None, stop.communicate()
        sock.shutdown(socket.SHUT_WR)
        assert host.wait() == 0
        assert stop.wait(clients.WAIT_S) == 0


def test_channel_draining_listeners_have_their_addresses_and_names_once(run_host, operate):
    host = run_host(manifests.two_echoes())
    with clients.connect(host.address("one")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        operate().ask("restart", "one")
        (old,) = [one for one in operate().listeners("one") if one["state"] == "draining"]
        assert old["addresses"] == operate().serving("one")["addresses"]
        operate().ask("restart", "one")
        for plugin in operate().ask("plugins")["plugins"]:
            assert len(plugin["listeners"]) == len(set(plugin["listeners"])), plugin
