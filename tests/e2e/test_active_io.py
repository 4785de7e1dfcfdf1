"""`limits.active_io`: some connections are served at a time, and all in their turn."""

import contextlib
import threading

import pytest
from support import clients, manifests, services

MIB = 1024 * 1024

pytestmark = [pytest.mark.threads, pytest.mark.direct]


@pytest.mark.parametrize("active", [1, 3])
def test_many_streams_with_few_turns_all_arrive(run_host, active):
    host = run_host(manifests.one(limits={"active_io": active}, host={"workers": 2}))
    failures = []

    def stream(seed):
        sent, received = clients.echo_stream(host.address("echo"), 2 * MIB, seed=seed)
        if sent != received:
            failures.append(seed)

    threads = [threading.Thread(target=stream, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(clients.TRANSFER_S)
    assert not failures
    assert clients.is_served(host.address("echo"))


def test_clients_that_do_not_read_do_not_keep_the_turns(run_services):
    host = run_services(limits={"active_io": 2})
    with contextlib.ExitStack() as held:
        for _ in range(6):
            session = held.enter_context(services.session(host))
            session.send("slices", 16, MIB)
        with services.session(host) as session:
            assert session.ask("echo", "x") == "x"
            session.send("slices", 16, MIB)
            assert session.read(16 * MIB) == b"x" * 16 * MIB


def test_idle_clients_need_no_turn(run_services):
    host = run_services(limits={"active_io": 1})
    with contextlib.ExitStack() as held:
        sessions = [held.enter_context(services.session(host)) for _ in range(30)]
        for _ in range(3):
            for session in sessions:
                session.send("echo", "x")
            for session in sessions:
                assert session.line() == "x"


def test_turns_of_clients_that_reset_are_free_again(run_host):
    host = run_host(manifests.one(limits={"active_io": 2}))
    data = clients.random_bytes(64 * MIB, seed=41)
    for _ in range(3):
        socks = [clients.connect(host.address("echo")) for _ in range(4)]
        for sock in socks:
            clients.fill(sock, data, quiet_s=0.2)
        for sock in socks:
            clients.reset(sock)
    assert clients.is_served(host.address("echo"))
