"""The log: one line an event on standard error, for people or for programs."""

import json
import re

from support import clients, manifests


def stopped_host(run_host, level="info", log_format="text"):
    host = run_host(manifests.one(host={"log": {"level": level, "format": log_format}}))
    assert clients.is_served(host.address("echo"))
    host.stop()
    return host


def test_log_as_text_has_time_level_and_message(run_host):
    lines = stopped_host(run_host).log().splitlines()
    assert lines
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) \S", line)


def test_log_as_json_is_an_object_a_line(run_host):
    host = stopped_host(run_host, log_format="json")
    lines = [json.loads(line) for line in host.log().splitlines()]
    assert lines
    for line in lines:
        assert set(line) <= {"time", "level", "plugin", "listener", "message"}
        assert line["time"].endswith("Z") and line["level"] in ("error", "warn", "info", "debug")
    assert any("stopping: no new connections" in line["message"] for line in lines)


def test_log_at_level_error_is_silent_when_nothing_is_wrong(run_host):
    assert stopped_host(run_host, level="error").log() == ""


def test_log_says_nothing_on_stdout(run_host):
    host = stopped_host(run_host, level="debug")
    assert len(host.output().splitlines()) == 1
