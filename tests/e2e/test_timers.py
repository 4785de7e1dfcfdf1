"""Timers of plugins, and the idle timeout of the manifest."""

import time

import pytest
from support import clients, services

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]


@pytest.mark.quick
def test_timer_fires_once_and_never_early(run_services):
    host = run_services()
    with services.session(host) as session:
        for delay in (0, 1, 30, 100):
            assert session.ask("timer", delay) == "timer"
        assert session.ask("echo", "quiet") == "quiet"


def test_timers_fire_in_the_order_of_their_delays(run_services):
    host = run_services()
    with services.session(host) as session:
        session.sock.sendall(b"timer 300\ntimer 20\necho first\n")
        assert [session.line() for _ in range(3)] == ["first", "timer", "timer"]


def test_timers_that_are_stopped_never_fire_and_are_limited(run_services):
    host = run_services(limits={"timers": 20})
    with services.session(host) as session:
        assert session.ask("timers", 10) == "10 timers"
        assert session.ask("timers", 100) == "10 timers"
        assert session.ask("timer", 1) == "no timer"
        time.sleep(0.1)
        assert session.ask("echo", "x") == "x"
    assert "has fired" not in host.log()


def test_million_timers_of_one_connection(run_services):
    """Each is made, started, moved and stopped; the connection still answers, and frees them all."""
    host = run_services(limits={"timers": 1000000})
    with services.session(host) as session:
        began = time.monotonic()
        assert session.ask("timers", 1000001) == "1000000 timers"
        print(f"{(time.monotonic() - began) * 1000:.0f} ns a timer")
        assert session.ask("echo", "x") == "x"
    services.wait_for_log(host, "closed ")
    with services.session(host) as session:
        assert session.ask("timer", 1) == "timer"


def test_timer_of_a_connection_that_ends_does_not_fire(run_services):
    host = run_services()
    for _ in range(20):
        with services.session(host) as session:
            session.send("timer", 50)
            assert session.ask("echo", "x") == "x"
    services.wait_for_log(host, "closed ", 20)
    with services.session(host) as session:
        assert session.ask("timer", 100) == "timer"


def test_timer_of_a_listener_runs_beside_its_connections(run_services):
    host = run_services()

    def ticks():
        with services.session(host) as session:
            return int(session.ask("ticks").split()[0])

    first = ticks()
    clients.wait_until(lambda: ticks() > first + 3, "more ticks")


def test_idle_connection_is_closed_in_good_order(run_services):
    host = run_services(idle_timeout_ms=2000)
    with services.session(host) as idle, services.session(host) as busy:
        for _ in range(25):
            assert busy.ask("echo", "x") == "x"
            time.sleep(0.1)
        assert idle.line() is None, "nothing but the end"
        assert busy.ask("echo", "y") == "y"
    services.wait_for_log(host, "closed 4")


def test_idle_timeout_may_be_put_off_by_the_plugin(run_services):
    host = run_services(idle_timeout_ms=150)
    with services.session(host) as session:
        assert session.ask("closing", 2, 0) == "ready"
        assert [session.line() for _ in range(4)] == ["closing 4"] * 3 + [None]


def test_idle_timeout_may_become_a_reset(run_services):
    host = run_services(idle_timeout_ms=150)
    with services.session(host) as session:
        assert session.ask("closing", 1, 1) == "ready"
        assert session.line() == "closing 4"
        with pytest.raises(ConnectionError):
            session.rest()
    services.wait_for_log(host, "closed 4")
