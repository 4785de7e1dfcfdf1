"""Messages of plugins to workers (post_worker), and where connections live."""

import collections

import pytest
from support import services

pytestmark = pytest.mark.threads


def rounds(session, count):
    """What `workers COUNT` says first, and the numbers that came back from each worker, in order."""
    words = session.ask("workers", count).split()
    summary = dict(zip(words[::2], words[1::2]))
    came = collections.defaultdict(list)
    for _ in range(count * int(summary["workers"]) - int(summary["refused"])):
        line = session.line().split()
        came[int(line[1])].append(int(line[3]))
    return summary, came


def test_every_worker_gets_every_message_once_and_in_order(run_services):
    host = run_services(host={"workers": 3})
    with services.session(host) as one:
        summary, came = rounds(one, 50)
        assert summary["workers"] == "3" and summary["refused"] == "0"
        assert dict(came) == {worker: list(range(50)) for worker in range(3)}


def test_connections_know_their_worker(run_services):
    host = run_services(host={"workers": 2})
    with services.session(host) as one, services.session(host) as two:
        mine = {session.ask("workers", 0).split()[3] for session in (one, two)}
        assert mine == {"0", "1"}, "each on the worker with the fewest"


def test_worker_that_there_is_not_is_refused(run_services):
    host = run_services(host={"workers": 1})
    with services.session(host) as one:
        assert one.ask("workers", 0) == "workers 1 mine 0 refused 0 beyond INVALID"


def test_messages_to_workers_are_bounded(run_services):
    host = run_services(host={"workers": 1, "limits": {"posts": 8}})
    with services.session(host) as one:
        summary, _ = rounds(one, 4)
        assert summary["refused"] == "0"
        words = one.ask("workers", 100).split()
        assert words[5] == "92"


def test_messages_under_way_hold_the_stop_and_harm_nothing(run_services):
    host = run_services(host={"workers": 2})
    with services.session(host) as one:
        one.send("workers", 5000)
        one.line()
        host.interrupt()
        one.sock.shutdown(2)
        host.wait()
