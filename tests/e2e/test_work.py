"""Blocking work of plugins, off the I/O threads."""

import contextlib

import pytest
from support import services

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]

MANY = 40


@pytest.mark.quick
def test_work_runs_beside_the_connection_and_comes_back(run_services):
    host = run_services()
    with services.session(host) as session:
        session.send("work", 1, 1000)
        assert session.ask("echo", "meanwhile") == "meanwhile"
        assert session.line() == "work OK"


def test_work_of_many_is_done_exactly_once(run_services):
    host = run_services(host={"work": {"threads_max": 4}})
    with services.session(host) as one, services.session(host) as other:
        one.send("work", MANY, 0)
        other.send("work", MANY, 0)
        assert [one.line() for _ in range(MANY)] == ["work OK"] * MANY
        assert [other.line() for _ in range(MANY)] == ["work OK"] * MANY
        assert one.ask("echo", "x") == "x"


def test_work_beyond_the_queue_is_refused(run_services):
    host = run_services(host={"work": {"threads_max": 1, "queue_max": 3}})
    with services.session(host) as session:
        session.send("work", 20, 100)
        answers = [session.line() for _ in range(20)]
        accepted = answers.count("work OK")
        assert 3 <= accepted < 20 and answers.count("work LIMIT") == 20 - accepted
        assert session.ask("work", 1, 0) == "work OK"


def test_work_of_a_connection_that_ends_is_gone_or_cancelled(run_services):
    host = run_services(host={"work": {"threads_max": 1}})
    with services.session(host) as session:
        session.send("work", 5, 300)
        services.wait_for_log(host, "work begins")
        session.send("abort")
        try:
            assert session.rest() == b""
        except ConnectionError:
            pass
    services.wait_for_log(host, "work GONE", 1)
    services.wait_for_log(host, "work CANCELLED, not run", 4)
    assert host.log().count("work GONE") == 1
    with services.session(host) as session:
        assert session.ask("work", 1, 0) == "work OK"


def test_stop_waits_for_work_that_runs(run_services):
    host = run_services(host={"drain_timeout_ms": 100, "work": {"threads_max": 1}})
    with services.session(host) as session:
        session.send("work", 3, 600)
        services.wait_for_log(host, "work begins")
        host.stop()
    assert host.log().count("work GONE") == 1
    assert host.log().count("work CANCELLED, not run") == 2


def test_work_of_a_listener_is_done_whoever_leaves(run_services):
    host = run_services(host={"drain_timeout_ms": 100, "work": {"threads_max": 1}})
    with services.session(host) as session:
        session.send("listener-work", 4, 200)
        services.wait_for_log(host, "work begins")
        session.send("abort")
        with contextlib.suppress(ConnectionError):
            session.rest()
    host.stop()
    assert host.log().count("work OK") == 4, host.log()


def test_work_of_a_listener_beyond_the_queue_is_refused(run_services):
    host = run_services(host={"work": {"threads_max": 1, "queue_max": 3}})
    with services.session(host) as session:
        session.send("listener-work", 20, 100)
        session.send("echo", "on")
        answers = []
        while (line := session.line()) != "on":
            answers.append(line)
        assert 0 < len(answers) <= 17 and set(answers) == {"work LIMIT"}
    services.wait_for_log(host, "work OK", 20 - len(answers))


def test_threads_come_and_go(run_services):
    host = run_services(host={"work": {"threads_min": 1, "threads_max": 8, "idle_ms": 20}})
    for _ in range(5):
        with services.session(host) as session:
            session.send("work", 16, 10)
            assert [session.line() for _ in range(16)] == ["work OK"] * 16
            assert session.ask("timer", 100) == "timer"
