"""The log: one line an event on standard error, for people or for programs."""

import json
import re
import socket

import pytest
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


@pytest.mark.quick
def test_log_as_json_is_an_object_a_line(run_host):
    host = stopped_host(run_host, log_format="json")
    lines = [json.loads(line) for line in host.log().splitlines()]
    assert lines
    for line in lines:
        assert set(line) <= {"time", "level", "plugin", "listener", "peer", "connection", "reason", "message"}
        assert line["time"].endswith("Z") and line["level"] in ("error", "warn", "info", "debug")
    assert any("stopping: no new connections" in line["message"] for line in lines)


def test_log_at_level_error_is_silent_when_nothing_is_wrong(run_host):
    assert stopped_host(run_host, level="error").log() == ""


def test_log_says_nothing_on_stdout(run_host):
    host = stopped_host(run_host, level="debug")
    assert len(host.output().splitlines()) == 1


# -- what clients can cause --------------------------------------------------------------------------

WINDOW = {"limit_lines": 5, "limit_window_ms": 1500}
MORE = re.compile(r"… (\d+) more like this within 1500 ms: ")


def told(host, text):
    """How many lines have the text, and how many more the log says there were."""
    lines = [line for line in host.log().splitlines() if text in line]
    more = [int(found[1]) for line in lines if (found := MORE.search(line))]
    return len(lines) - len(more), sum(more)


def test_log_of_wrong_proxy_headers_is_thinned_out_and_says_so(run_host):
    host = run_host(manifests.one(when="connect", proxy_protocol={"from": ["127.0.0.0/8"]},
                                  host={"log": WINDOW}))
    for _ in range(40):
        with clients.connect(host.address("echo")) as sock:
            sock.sendall(b"PROXY nonsense\r\n")
            assert clients.was_reset(sock)
            port = sock.getsockname()[1]
    wrong = "its PROXY protocol header is wrong"
    # Nothing more of the kind comes: it is told all the same, when the window is over.
    clients.wait_until(lambda: sum(told(host, wrong)) == 40, lambda: host.log())
    lines, more = told(host, wrong)
    assert 5 <= lines < 40 and more > 0, host.log()
    assert port and re.search(r"plugin=echo 127\.0\.0\.1:\d+: proxy closed", host.log()), host.log()


def test_log_counts_each_listener_and_kind_by_itself(run_host):
    listeners = {
        "one": manifests.listener(when="connect", deny=["127.0.0.1/32"]),
        "two": manifests.listener(when="connect", deny=["127.0.0.1/32"]),
    }
    host = run_host(manifests.manifest(listeners, log={**WINDOW, "format": "json"}))
    for _ in range(20):
        assert clients.is_reset(host.address("one"))
    assert clients.is_reset(host.address("two"))
    host.wait_for_log("more like this")
    lines = [json.loads(line) for line in host.log().splitlines()]
    refused = [line for line in lines if line.get("reason") == "access"]
    assert sum(line["listener"] == "two" for line in refused) == 1
    assert sum(line["listener"] == "one" for line in refused) < 20
    assert all(line["peer"].startswith("127.0.0.1:") for line in refused)


def test_log_at_no_limit_has_every_line(run_host):
    host = run_host(manifests.one(when="connect", deny=["127.0.0.1/32"], host={"log": {"limit_lines": 0}}))
    for _ in range(30):
        assert clients.is_reset(host.address("echo"))
    clients.wait_until(lambda: host.log().count("refused by") == 30, lambda: host.log())


@pytest.mark.parametrize("limits, more, word", [
    ({"limits": {"per_client": 1}}, {}, "limits.per_client"),
    ({"limits": {"connections": 1}, "accept": {"when": "connect", "at_limit": "refuse"}}, {}, "limits.connections"),
    ({"limits": {"accept_rate_per_client": {"per_second": 1, "burst": 1}}}, {}, "limits.accept_rate_per_client"),
    ({"accept": {"when": "connect", "at_limit": "refuse"}}, {"limits": {"connections": 1}}, "host.limits.connections"),
])
def test_log_names_the_limit_and_the_peer_of_who_is_refused(run_host, limits, more, word):
    listener = {"address": "127.0.0.1:0", "plugin": "echo", "accept": {"when": "connect"}, **limits}
    host = run_host(manifests.manifest({"echo": listener}, **more))
    with clients.connect(host.address("echo")) as first:
        assert clients.echo(first, b"x") == b"x"
        with socket.socket() as second:  # which may be reset before it is seen to be connected
            second.bind(("127.0.0.1", 0))
            port = second.getsockname()[1]
            second.connect_ex(host.address("echo"))
            clients.wait_until(lambda: f":{port}: refused by" in host.log(), lambda: host.log())
    host.wait_for_log(f"listener=echo plugin=echo 127.0.0.1:{port}: refused by {word}\n")


# -- the operator -------------------------------------------------------------------------------------


def test_log_begins_with_what_runs(run_host, system):
    host = run_host(manifests.one())
    engine = host.ready["engine"]
    pid = host.ready["pid"]
    version = host.ready["version"]
    host.wait_for_log(f"berth {version} serves: process {pid}, engine {engine}, ")
    (line,) = [line for line in host.log().splitlines() if " serves: process " in line]
    assert re.search(r", \d+ workers, manifest .*berth\.json$", line), line


def test_log_says_what_a_reload_has_changed(run_host, berth, system):
    def listeners(*names, **changed):
        return {name: manifests.listener(**changed.get(name, {})) for name in names}

    options = {"name": "log-reload", **system.host_options}
    host = run_host(manifests.manifest(listeners("stays", "goes", "same"), **options))
    text = json.dumps(manifests.manifest(
        listeners("stays", "same", "comes", stays={"idle_timeout_ms": 5000}), **options))
    host.manifest_file.write_text(text, encoding="utf-8")
    assert berth("reload", "--manifest", host.manifest_path).code == 0
    host.wait_for_log("reload (asked for): 1 added, 1 removed, 0 replaced, 1 configured, 1 as before; "
                      "added comes; removed goes; configured stays\n")
    assert re.search(r"listener=comes plugin=echo added: listening on 127\.0\.0\.1:\d+\n", host.log())
    assert berth("pause", "same", "--manifest", host.manifest_path).code == 0
    assert berth("resume", "same", "--manifest", host.manifest_path).code == 0
    host.wait_for_log("listener=same plugin=echo resumed")
    assert "listener=same plugin=echo paused" in host.log()


# -- JSON, whatever happens ---------------------------------------------------------------------------

BROKEN = {
    "no JSON": '{"manifest": 1, "host": {"log": {"level": "info", "format": "json"}}, "listeners": {]',
    "a key unknown": '{"manifest": 1, "host": {"log": {"format": "json"}, "nmae": "x"}, "listeners": '
                     '{"a": {"address": "127.0.0.1:0", "plugin": "echo"}}}',
    "no plugin": '{"manifest": 1, "host": {"log": {"format": "json"}}, "listeners": '
                 '{"a": {"address": "127.0.0.1:0", "plugin": "ecco"}}}',
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("arguments", [(), ("--supervise",)])
def test_errors_of_the_manifest_are_json_where_the_log_is(fail_to_start, what, arguments):
    result = fail_to_start(BROKEN[what], arguments=arguments)
    lines = [json.loads(line) for line in result.error_lines]
    first = next(line for line in lines if line.get("reason") == "manifest")
    assert first["level"] == "error" and first["file"].endswith("berth.json"), lines
    assert first["line"] == 1 and first["column"] > 1 and "pointer" in first, lines


def test_errors_of_a_reload_are_json_where_the_log_is(run_host, berth):
    host = run_host(manifests.one(host={"log": {"format": "json"}, "name": "log-json-reload"}))
    text = host.manifest_file.read_text(encoding="utf-8")
    host.manifest_file.write_text(text.replace('"plugin"', '"plugni"'), encoding="utf-8")
    assert berth("reload", "--name", "log-json-reload").code == 78
    host.wait_for_log("failed: all goes on as before")
    lines = [json.loads(line) for line in host.log().splitlines()]
    errors = [line for line in lines if line.get("reason") == "manifest"]
    assert errors and all(line["line"] > 1 and line["pointer"].startswith("/listeners/echo")
                          for line in errors), lines
    host.manifest_file.write_text(text, encoding="utf-8")


# -- what plugins log ---------------------------------------------------------------------------------

TEXTS = [b"\n" * 1500, b'"' * 1900, "é".encode() * 1020, b"x" + "é".encode() * 1020, b"caf\xe9",
         b"\x1b[2J\x9b2J\xc2\x9b2J", "\u202e\u2028".encode(), b"x" * 60000]


def log_texts(host):
    with clients.connect(host.address("logger")) as sock:
        for text in TEXTS:
            sock.sendall(len(text).to_bytes(4, "big") + text)
            assert sock.recv(1) == b"k"
        return sock.getsockname()[1]


def test_json_log_of_any_text_of_a_plugin_is_whole(run_host, system):
    host = run_host(manifests.one("logger", "connect", host={"log": {"format": "json"}}),
                    plugins=system.fixtures)
    port = log_texts(host)
    host.stop()
    lines = [json.loads(line) for line in host.log().splitlines()]
    told = [line for line in lines if line.get("peer") == f"127.0.0.1:{port}"]
    messages = {line["message"] for line in told}
    for text in TEXTS:
        whole = text.decode("utf-8", errors="replace")
        assert any(message and whole.startswith(message) for message in messages), text[:20]
    assert any(line.get("cut") and line["left_out"] > 50000 for line in told), told
    assert all(line["connection"] > 0 for line in told)
    raw = host.log().encode()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]", raw)


def test_text_log_has_no_control_character_of_any_origin(run_host, system):
    host = run_host(manifests.one("logger", "connect"), plugins=system.fixtures)
    log_texts(host)
    host.stop()
    raw = (host.log()).encode()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]", raw)
    assert "caf\ufffd" in host.log() and "bytes left out)" in host.log()
