"""What a restart, a reload that removes a listener, a pause and a stop are to those who are connected,
for each plugin that comes with the host."""

import contextlib
import json
import socket

import pytest
from support import chat, clients, manifests, pop3, web
from support.upstreams import echo, upstream

pytestmark = [
    pytest.mark.threads,
    pytest.mark.full("linux-*san-epoll", why="both engines serve it alike; the tests of connections run there"),
]

OTHER = {"other": manifests.listener("echo", "connect")}
"""Beside the one that a test is about: a manifest without any listener is no manifest."""


@pytest.fixture
def run_beside(run_host):
    """run_beside(manifest) serves it beside another listener."""

    def run(manifest):
        manifest["listeners"].update(json.loads(json.dumps(OTHER)))
        return run_host(manifest)

    return run


def rewrite(host, change):
    manifest = json.loads(host.manifest_file.read_text(encoding="utf-8"))
    change(manifest)
    host.manifest_file.write_text(json.dumps(manifest), encoding="utf-8")


def restart(host, operator):
    operator.ask("restart", "--all")


def remove(host, operator):
    rewrite(host, lambda manifest: manifest.update(listeners={"other": manifest["listeners"]["other"]}))
    operator.ask("reload")


def pause(host, operator):
    operator.ask("pause", "--all")


def stop(host, operator):
    host.interrupt()
    host.wait_for_log("stopping: no new connections")


def restart_and_stop(host, operator):
    restart(host, operator)
    stop(host, operator)


GENERATION = [restart, remove]
ALL = [restart, remove, pause, stop, restart_and_stop]


def events(those):
    return pytest.mark.parametrize("event", those, ids=lambda event: event.__name__)


# -- http ------------------------------------------------------------------------------------------


@pytest.fixture
def run_http(run_beside, system, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_bytes(b"<p>hello</p>")

    def run(config=None, **more):
        return run_beside(web.manifest(system, tmp_path / "site", config, when="connect", **more))

    return run


@events(ALL)
def test_http_answers_clients_that_have_not_spoken_before(run_http, operate, event):
    host = run_http()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(web.client(host)) for _ in range(10)]
        clients.wait_until(lambda: operate().listeners("http")[0]["connections"] == 10, "all of them")
        event(host, operate())
        for one in silent:
            answer = one.ask("/")
            assert answer and answer.body == b"<p>hello</p>"
            if event is not pause:
                assert answer.fields["connection"] == "close"
                assert one.ended()


@events(GENERATION)
def test_http_kept_alive_client_gets_one_more_answer(run_http, operate, event):
    host = run_http()
    with web.client(host) as one:
        assert "connection" not in one.ask("/").fields
        event(host, operate())
        answer = one.ask("/")
        assert answer.status == 200 and answer.fields["connection"] == "close"
        assert one.ended()


def test_http_kept_alive_client_ends_between_two_requests_when_the_host_stops(run_http, operate):
    host = run_http(host={"drain_timeout_ms": 600000})
    with web.client(host) as one:
        assert one.ask("/").status == 200
        stop(host, operate())
        assert one.ended()
    assert host.wait() == 0


@events(ALL)
def test_http_request_in_the_middle_is_answered(run_http, operate, event):
    host = run_http()
    with web.client(host) as one:
        one.send(b"GET / HTTP/1.1\r\nHost: ")
        clients.wait_until(lambda: operate().listeners("http")[0]["connections"] == 1, "the client")
        event(host, operate())
        one.send(b"test\r\n\r\n")
        assert one.answer().body == b"<p>hello</p>"


@events(GENERATION)
def test_http_kept_alive_client_of_an_old_generation_ends_by_its_own_time_out(run_http, operate, event):
    host = run_http({"keep_alive_timeout_ms": 300})
    with web.client(host) as one:
        assert one.ask("/").status == 200
        event(host, operate())
        assert one.ended()
    operate().wait_for(lambda status: all(each["state"] == "serving" for each in status["listeners"]),
                       "the end of the old generation")


# -- pop3 ------------------------------------------------------------------------------------------


@pytest.fixture
def run_mail(run_beside, mail):
    def run(config=None, **more):
        mail.deliver("ann")
        return run_beside(mail.manifest(config, **more))

    return run


@events([restart, remove, pause])
def test_pop3_session_goes_on_until_its_quit(run_mail, operate, event):
    host = run_mail()
    with (pop3.session(host) as greeted, pop3.session(host) as named, pop3.session(host) as inside):
        named.ok("USER ann")
        inside.log_in()
        event(host, operate())
        inside.ok("DELE 1")
        inside.ok("QUIT")
        inside.wait_closed()
        named.ok("PASS secret")
        named.ok("QUIT")
        named.wait_closed()
        greeted.log_in()
        greeted.ok("QUIT")
        greeted.wait_closed()


@events([stop, restart_and_stop])
def test_pop3_log_in_that_has_begun_ends_well_when_the_host_stops(run_mail, operate, event):
    host = run_mail()
    with pop3.session(host) as named, pop3.session(host) as greeted:
        named.ok("USER ann")
        event(host, operate())
        assert greeted.line() == "-ERR [SYS/TEMP] the server stops, try again later"
        greeted.wait_closed()
        named.ok("PASS secret")
        named.ok("STAT")
        named.ok("QUIT")
        named.wait_closed()
    assert host.wait() == 0


# -- chat ------------------------------------------------------------------------------------------


@events([restart, remove, pause])
def test_chat_members_talk_on(run_beside, operate, event):
    host = run_beside(chat.manifest())
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        event(host, operate())
        ann.send("still here")
        assert ben.line_with("say", "bye") == "say tea ann still here"
        heard = ann.until_pong() + ben.until_pong()
        assert not [line for line in heard if line.startswith("bye")], heard
        assert ann.ask("/quit", "bye") == "bye"
        assert ben.line_with("left") == "left tea ann"


@events([stop, restart_and_stop])
def test_chat_members_hear_that_the_host_stops(run_beside, operate, event):
    host = run_beside(chat.manifest())
    with chat.members(host, "ann", room="tea") as (ann,):
        event(host, operate())
        assert ann.rest()[-1] == "bye the server stops"
    assert host.wait() == 0


# -- the others ------------------------------------------------------------------------------------


def packet(data):
    return bytes([len(data) + 1]) + data


@events(ALL)
@pytest.mark.parametrize("plugin", ["echo", "packet-echo"])
def test_echoes_go_on_until_the_client_ends(run_beside, operate, plugin, event):
    host = run_beside(manifests.one(plugin, "connect", host={"drain_timeout_ms": 600000}))
    with clients.connect(host.address(plugin)) as silent, clients.connect(host.address(plugin)) as sock:
        assert clients.echo(sock, packet(b"before")) == packet(b"before")
        clients.wait_until(lambda: operate().listeners(plugin)[0]["connections"] == 2, "both")
        event(host, operate())
        assert clients.echo(sock, packet(b"after")) == packet(b"after")
        assert clients.echo(silent, packet(b"at last")) == packet(b"at last")


@events(ALL)
def test_proxy_pairs_go_on_until_one_side_ends(run_beside, operate, event):
    with upstream(echo) as port:
        host = run_beside(manifests.one("proxy", "connect", host={"drain_timeout_ms": 600000},
                                        config={"upstreams": [f"127.0.0.1:{port}"]}))
        with clients.connect(host.address("proxy")) as sock:
            clients.wait_until(lambda: operate().listeners("proxy")[0]["connections"] == 1, "the client")
            event(host, operate())
            assert clients.echo(sock, b"through") == b"through"
            sock.shutdown(socket.SHUT_WR)
            assert clients.receive_to_end(sock) == b""


@events([restart])
def test_datagrams_are_answered_after_a_restart(run_beside, operate, event):
    host = run_beside(manifests.manifest({"echo": {
        "plugin": "datagram", "transport": "udp", "address": "127.0.0.1:0"}}))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(clients.WAIT_S)
        for word in (b"before", b"after"):
            sock.sendto(word, host.address("echo"))
            assert sock.recv(100) == word
            if word == b"before":
                event(host, operate())


UDP = {"echo": {"plugin": "datagram", "transport": "udp", "address": "127.0.0.1:0"}}


@pytest.fixture
def teller():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(clients.WAIT_S)
        yield sock


def say(sock, word, address):
    sock.sendto(word, address)
    return sock.recv(100)


def test_datagrams_that_come_in_a_pause_are_lost_and_counted(run_beside, operate, teller):
    host = run_beside(manifests.manifest(dict(UDP)))
    address = host.address("echo")
    assert say(teller, b"before", address) == b"before"
    operate().ask("pause", "listener:echo")
    teller.sendto(b"meanwhile", address)
    clients.wait_until(lambda: operate().serving("echo")["counters"]["datagrams_lost"] == 1, "the loss")
    operate().ask("resume", "listener:echo")
    assert say(teller, b"after", address) == b"after"


def test_datagrams_to_a_listener_that_was_removed_reach_nobody(run_beside, operate, teller):
    host = run_beside(manifests.manifest(dict(UDP)))
    address = host.address("echo")
    assert say(teller, b"before", address) == b"before"
    remove(host, operate())

    def is_free():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, contextlib.suppress(OSError):
            other.bind(address)
            teller.sendto(b"hello", address)
            other.settimeout(clients.WAIT_S)
            return other.recv(100) == b"hello"
        return False

    clients.wait_until(is_free, "the address to be another's")
    assert clients.is_served(host.address("other"))


def test_datagrams_keep_no_host_from_its_end(run_beside, operate, teller):
    """Nor are they answered once it stops, while a connection may still finish."""
    host = run_beside(manifests.manifest(dict(UDP), drain_timeout_ms=600000))
    address = host.address("echo")
    with clients.connect(host.address("other")) as sock:
        assert clients.echo(sock, b"here") == b"here"
        assert say(teller, b"before", address) == b"before"
        stop(host, operate())
        teller.sendto(b"after", address)
        assert clients.echo(sock, b"still here") == b"still here"
    assert host.wait() == 0
    teller.setblocking(False)
    with pytest.raises(OSError):
        teller.recv(100)


# -- how long a generation drains ------------------------------------------------------------------


@events(GENERATION)
def test_generation_drains_without_a_limit_of_its_own(run_beside, operate, event):
    host = run_beside(manifests.one("echo", "connect", host={"drain_timeout_ms": 200}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"before") == b"before"
        event(host, operate())
        (old,) = clients.wait_until(
            lambda: [one for one in operate().listeners("echo")
                     if one["state"] == "draining" and one["draining_for_ms"] > 600], "its time")
        assert "drain_left_ms" not in old
        assert old["draining_because"] == {restart: "replaced", remove: "removed"}[event]
        row = operate().run("listeners").output.split("draining", 1)[1].splitlines()[0]
        assert row.split()[1] == "s"
        assert ("6" in row.split()[3:6]) == (event is remove), "its bytes, unless a newer one has them"
        assert clients.echo(sock, b"after") == b"after"
        assert "open connections may finish, without a limit" in host.log()
        host.interrupt()  # which drain_timeout_ms bounds all the same
        assert host.wait() == 0
        clients.wait_ended(sock)
    assert "1 connections had not finished and were cut" in host.log()


def test_limit_of_a_listener_takes_the_place_of_the_hosts(run_beside, operate):
    host = run_beside(manifests.manifest({
        "short": manifests.listener("echo", "connect", generation_drain_timeout_ms=100),
        "long": manifests.listener("echo", "connect"),
    }, generation_drain_timeout_ms=600000))
    with clients.connect(host.address("short")) as short, clients.connect(host.address("long")) as long:
        assert clients.echo(short, b"1") == b"1" and clients.echo(long, b"1") == b"1"
        restart(host, operate())
        assert clients.receive_to_end(short) == b""
        assert clients.echo(long, b"2") == b"2"
        (old,) = [one for one in operate().listeners("long") if one["state"] == "draining"]
        assert 0 < old["drain_left_ms"] <= 600000
    host.wait_for_log("listener=short plugin=echo 1 connections of generation 1 were closed at the drain deadline")


def test_reload_limits_generations_that_drain_already(run_beside, operate):
    """What the error about host.generations_max tells an operator to do."""
    host = run_beside(manifests.one("echo", "connect", host={"generations_max": 2}))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"before") == b"before"
        operate().ask("restart", "--all")
        done = operate().run("restart", "--all")
        assert done.code == 1, done
        for part in ('listener "echo": 2 generations of it', "host.generations_max",
                     "generation 1 has drained for", "has 1 connections",
                     '"generation_drain_timeout_ms"', '"berth reload"'):
            assert part in done.errors, done
        rewrite(host, lambda manifest: manifest["host"].update(generation_drain_timeout_ms=1))
        operate().ask("reload")
        assert clients.receive_to_end(sock) == b""
    operate().wait_for(lambda status: len(status["listeners"]) == 2, "the end of the old generation")
    operate().ask("restart", "--all")


# -- what is told of it ----------------------------------------------------------------------------


def test_counters_are_totals_that_survive_restarts_and_reloads(run_beside, operate):
    host = run_beside(manifests.one("echo", "connect"))
    data = b"x" * 30000

    def change_limits(_host, operator):
        rewrite(host, lambda manifest: manifest["listeners"]["echo"].update(limits={"connections": 50}))
        operator.ask("reload")

    def change_config(_host, operator):
        rewrite(host, lambda manifest: manifest["listeners"]["echo"].update(config={"any": 1}))
        operator.ask("reload")

    with clients.connect(host.address("echo")) as first:
        assert clients.echo(first, data) == data
        for number, change in enumerate([restart, change_limits, change_config, restart], start=2):
            change(host, operate())
            with clients.connect(host.address("echo")) as sock:
                assert clients.echo(sock, data) == data
                counters = operate().serving("echo")["counters"]
                assert counters["accepted"] == counters["opened"] == number
                assert counters["bytes_received"] == counters["bytes_sent"] == number * len(data)
        assert clients.echo(first, b"of the first generation") == b"of the first generation"
        counters = {json.dumps(one["counters"]) for one in operate().listeners("echo")}
        assert len(counters) == 1, "the same in all rows"
        assert json.loads(counters.pop())["bytes_sent"] == 5 * len(data) + 23


def test_counters_of_datagrams_are_totals_too(run_beside, operate):
    host = run_beside(manifests.manifest({"echo": {
        "plugin": "datagram", "transport": "udp", "address": "127.0.0.1:0"}}))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(clients.WAIT_S)
        for _ in range(2):
            sock.sendto(b"12345", host.address("echo"))
            assert sock.recv(100) == b"12345"
            restart(host, operate())
    row = operate().serving("echo")
    assert row["transport"] == "udp"
    assert row["counters"]["datagrams_received"] == row["counters"]["datagrams_sent"] == 2
    assert row["counters"]["bytes_received"] == row["counters"]["bytes_sent"] == 10


def test_counters_tell_clients_bytes_from_those_of_upstreams(run_beside, operate):
    with upstream(echo) as port:
        host = run_beside(manifests.one("proxy", "connect", config={"upstreams": [f"127.0.0.1:{port}"]}))
        with clients.connect(host.address("proxy")) as sock:
            assert clients.echo(sock, b"x" * 5000) == b"x" * 5000
        counters = operate().serving("proxy")["counters"]
    for name in ("bytes_received", "bytes_sent", "outbound_bytes_received", "outbound_bytes_sent"):
        assert counters[name] == 5000, counters


def test_every_counter_can_be_read_and_those_that_count_stand_in_the_status(run_beside, operate):
    host = run_beside(manifests.one("echo", "connect", deny=["127.0.0.0/8"]))
    assert clients.is_reset(host.address("echo"))
    counters = operate().serving("echo")["counters"]
    for name in ("pool_low", "pool_high", "accept_failed", "ended_silent", "ended_waiting", "reused",
                 "datagrams_truncated", "datagrams_unsent", "accept_failed_no_resources", "plugin_faults"):
        assert name in counters, counters
    assert counters["refused_access"] == counters["refused"] == 1
    text = operate().run("status").output
    (line,) = [line for line in text.splitlines() if line.startswith("refused_access")]
    assert line.split()[1:3] == ["echo", "1"] and "allow or deny" in line
    assert "accept_failed" not in text, "it has not counted anything"


def test_generation_is_one_number_everywhere(run_beside, operate):
    """Restarts of one listener and of the other, and what is told of listeners and plugins."""
    host = run_beside(manifests.one("echo", "connect"))
    operate().ask("restart", "other")
    operate().ask("restart", "--all")
    status = operate().status()
    numbers = {one["name"]: one["generation"] for one in status["listeners"]}
    assert status["generation"] == 3 and numbers == {"echo": 3, "other": 3}
    operate().ask("restart", "other")
    status = operate().status()
    rows = {(one["name"], one["generation"], one["plugin_generation"]) for one in status["listeners"]}
    assert rows == {("echo", 3, 3), ("other", 4, 4)}
    plugins = {(one["generation"], *one["listeners"]) for one in status["plugins"]}
    assert plugins == {(3, "echo"), (4, "other")}
    log = host.log()
    for text in ("listener=other plugin=echo generation 4 serves", "plugin=echo generation 1 is gone"):
        assert text in log, log
