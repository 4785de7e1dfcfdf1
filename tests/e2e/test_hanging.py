"""Plugin code that does not return: it is laid to the plugin, and nothing waits for it without an end."""

import json
import pathlib
import signal
import time

import pytest
from support import clients, manifests

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]


class Stuck:
    """A host with the plugin `stuck`, whose callbacks hang while a file of their name is there."""

    def __init__(self, start, folder, system, listeners=None, arguments=(), **host):
        self.folder = pathlib.Path(folder) / "stuck"
        self.folder.mkdir()
        made = {"name": f"stuck-{next(_names)}", "workers": 2, "stall_warning_ms": 100, **host}
        names = listeners or {"stuck": manifests.listener("stuck", "connect")}
        self.start = lambda: start(manifests.manifest(names, **made), plugins=system.fixtures,
                                   environment={"STUCK": system.path(self.folder)},
                                   arguments=arguments)

    def hang_in(self, callback):
        (self.folder / callback).touch()

    def go_on(self, callback):
        (self.folder / callback).unlink()


def _count():
    number = 0
    while True:
        number += 1
        yield number


_names = _count()


@pytest.fixture
def make_stuck(run_host, system, tmp_path):
    return lambda **options: Stuck(run_host, tmp_path, system, **options)


CALLBACKS = {"opened": None, "received": b"x", "work_done": b"w", "post": b"p", "timer": b"t", "closed": b""}
"""What a client does for them."""


@pytest.mark.parametrize("callback", CALLBACKS)
def test_callback_that_hangs_is_a_crash_of_it(make_stuck, system, callback):
    stuck = make_stuck(hang_timeout_ms=500)
    host = stuck.start()
    host.expect_crash()
    stuck.hang_in(callback)
    with clients.connect(host.address("stuck")) as sock:
        if CALLBACKS[callback] == b"":
            sock.close()
        elif CALLBACKS[callback]:
            sock.sendall(CALLBACKS[callback])
        code = host.wait()
    assert code not in (0, 1, 2, 78), code
    told = [line for line in host.log().splitlines() if "crash: " in line]
    assert told, host.log()
    for part in ("plugin=stuck", "listener=stuck", "hang: it has not returned for ",
                 f"callback {callback} of generation 1 (1.0)", "connection "):
        assert part in told[0], told
    if system.is_windows:  # the thread stands in a function of Wine's that cannot always be unwound
        assert len(told) > 1, told
    elif not system.is_sanitized:
        assert any("stuck.1.so" in line for line in told[1:]), told


@pytest.mark.parametrize("callback", ["load", "listener_open"])
def test_start_that_hangs_is_a_crash_of_the_plugin(make_stuck, callback):
    stuck = make_stuck(hang_timeout_ms=500)
    stuck.hang_in(callback)
    with pytest.raises(AssertionError, match="no start"):
        stuck.start()


def status(berth, host):
    result = berth("status", "--json", "--manifest", host.manifest_path)
    assert result.code == 0, result
    return json.loads(result.output)["result"]


def stick(stuck, host, callback="received", message=b"x"):
    """A client whose callback does not return; it is known to be in it."""
    stuck.hang_in(callback)
    sock = clients.connect(host.address("stuck"))
    sock.sendall(message)
    host.wait_for_log("stall: ")
    return sock


def test_work_may_take_longer_than_a_callback(make_stuck):
    stuck = make_stuck(hang_timeout_ms=300)
    host = stuck.start()
    stuck.hang_in("work")
    with clients.connect(host.address("stuck")) as sock:
        assert clients.echo(sock, b"w") == b"w"
        time.sleep(1)
        stuck.go_on("work")
        assert clients.echo(sock, b"x") == b"x"


@pytest.mark.parametrize("callback", ["received", "work"])
def test_second_signal_ends_a_host_whose_plugin_hangs(make_stuck, callback):
    stuck = make_stuck(hang_timeout_ms=0)
    host = stuck.start()
    host.expect_crash()
    stuck.hang_in(callback)
    with clients.connect(host.address("stuck")) as sock:
        sock.sendall(b"w")
        time.sleep(0.5)
        host.interrupt()
        time.sleep(0.3)
        host.interrupt()
        assert host.wait() == 1
    told = [line for line in host.log().splitlines() if "stop: callback" in line]
    assert told and f"callback {callback} of plugin " in told[0] and "plugin=stuck" in told[0], told
    assert not host.ready_file.exists()


def test_stop_now_ends_a_host_whose_plugin_hangs(make_stuck, berth):
    stuck = make_stuck(hang_timeout_ms=0, drain_timeout_ms=3600000)
    host = stuck.start()
    host.expect_crash()
    with stick(stuck, host):
        began = time.monotonic()
        result = berth("stop", "--now", "--manifest", host.manifest_path)
        assert result.code == 0, result
        assert host.wait() == 1
        assert time.monotonic() - began < 15


def test_stop_ends_a_host_whose_plugin_hangs_when_its_time_is_over(make_stuck):
    stuck = make_stuck(hang_timeout_ms=0, drain_timeout_ms=100)
    host = stuck.start()
    host.expect_crash()
    with stick(stuck, host):
        host.interrupt()
        assert host.wait() == 1
    assert "stop: callback received of plugin " in host.log()


def test_stop_goes_on_when_a_callback_returns_after_all(make_stuck):
    stuck = make_stuck(hang_timeout_ms=0)
    host = stuck.start()
    with stick(stuck, host):
        host.interrupt()
        time.sleep(0.5)
        stuck.go_on("received")
        assert host.wait() == 0


@pytest.mark.parametrize("callback", ["listener_close", "unload"])
def test_end_of_a_generation_that_hangs_is_a_crash_of_it(make_stuck, berth, callback):
    stuck = make_stuck(hang_timeout_ms=5000)
    host = stuck.start()
    host.expect_crash()
    stuck.hang_in(callback)
    result = berth("restart", "stuck", "--manifest", host.manifest_path)
    assert result.code == 0, result
    host.wait_for_log("stall: ")
    busy = status(berth, host)
    assert busy["state"] == "busy", busy
    assert f"callback {callback} of plugin " in busy["busy_with"], busy
    host.wait()
    told = [line for line in host.log().splitlines() if "crash: " in line]
    assert told and "plugin=stuck" in told[0] and f"callback {callback} of generation 1" in told[0]


@pytest.mark.parametrize("callback", ["load", "listener_open"])
def test_restart_whose_plugin_hangs_fails_and_the_old_generation_serves(make_stuck, berth, callback):
    stuck = make_stuck(hang_timeout_ms=500)
    host = stuck.start()
    with clients.connect(host.address("stuck")) as sock:
        assert clients.echo(sock, b"x") == b"x"
        stuck.hang_in(callback)
        result = berth("restart", "stuck", "--manifest", host.manifest_path)
        assert result.code == 1, result
        assert f"has not returned from `{callback}` within 500 ms" in result.errors, result
        assert "its library stays mapped" in result.errors, result
        assert clients.echo(sock, b"y") == b"y"
    kept = [one for one in status(berth, host)["plugins"] if one["state"] == "abandoned"]
    assert [one["id"] for one in kept] == ["stuck"], kept
    stuck.go_on(callback)
    result = berth("restart", "stuck", "--manifest", host.manifest_path)
    assert result.code == 0, result
    with clients.connect(host.address("stuck")) as sock:
        assert clients.echo(sock, b"z") == b"z"


@pytest.mark.parametrize("callback", ["load", "listener_open"])
def test_restart_that_may_hang_for_ever_ends_with_a_stop(make_stuck, berth, callback):
    """With "hang_timeout_ms": 0; the verb's answer has its own limit, and a stop is one in good order."""
    stuck = make_stuck(hang_timeout_ms=0, drain_timeout_ms=3600000)
    host = stuck.start()
    stuck.hang_in(callback)
    result = berth("restart", "stuck", "--timeout", "1", "--manifest", host.manifest_path)
    assert result.code == 1, result
    assert status(berth, host)["state"] == "busy"
    host.interrupt()
    assert host.wait() == 0
    assert f"has not returned from `{callback}` when the host was asked to stop" in host.log()


def test_restart_fails_while_a_worker_does_not_take_part(make_stuck, berth):
    stuck = make_stuck(hang_timeout_ms=0)
    host = stuck.start()
    with stick(stuck, host):
        result = berth("restart", "stuck", "--manifest", host.manifest_path)
        assert result.code == 1, result
        assert "callback received of plugin \"stuck\"" in result.errors, result
        assert status(berth, host)["state"] == "serving"
        stuck.go_on("received")
        clients.wait_until(
            lambda: berth("restart", "stuck", "--manifest", host.manifest_path).code == 0,
            "a restart",
        )
