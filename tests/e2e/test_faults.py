"""Plugins that misbehave while they serve: who it was is told, and others go on."""

import json

import pytest
from support import clients, manifests

pytestmark = pytest.mark.threads

STALL = b"\x82%d"


def status(berth, host):
    result = berth("status", "--json", "--manifest", host.manifest_path)
    assert result.code == 0, result
    return json.loads(result.output)["result"]


def plugin_of(berth, host, name="faulty"):
    return next(one for one in status(berth, host)["plugins"] if one["id"] == name)


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
    host.wait_for_log("took 15")
    told = [line for line in host.log().splitlines() if "stall: " in line]
    assert len(told) == 2, told
    assert "callback received of generation 1 has been running" in told[0], told
    assert "callback received of generation 1 took 15" in told[1], told
    assert all("listener=faulty" in line and "plugin=faulty" in line for line in told), told


def test_stall_warning_may_be_switched_off(run_faulty):
    host = run_faulty(host={"stall_warning_ms": 0})
    with clients.connect(host.address("faulty")) as sock:
        message = STALL % 700
        assert clients.echo(sock, message) == message
    assert "stall" not in host.log()


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
