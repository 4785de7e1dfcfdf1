"""Limits of the manifest: who comes too many waits or is refused, and everybody gets a turn."""

import select

import pytest
from support import clients, manifests

both_policies = pytest.mark.parametrize("when", ["data", "connect"])


def hold(address, count):
    """`count` clients that are being served."""
    socks = [clients.connect(address) for _ in range(count)]
    for sock in socks:
        assert clients.echo(sock, b"served") == b"served"
    return socks


def queue(address, count):
    """`count` clients that have come and spoken, and wait for their answer."""
    socks = [clients.connect(address) for _ in range(count)]
    for index, sock in enumerate(socks):
        sock.sendall(b"client %3d" % index)
    return socks


def is_waiting(sock):
    sock.settimeout(0.3)
    try:
        sock.recv(1)
    except TimeoutError:
        sock.settimeout(clients.WAIT_S)
        return True
    return False


@pytest.mark.threads
@both_policies
def test_limit_of_a_listener_the_rest_wait_and_are_served_as_room_is_made(run_host, when):
    host = run_host(manifests.one(when=when, limits={"connections": 3}))
    served = hold(host.address("echo"), 3)
    waiting = queue(host.address("echo"), 6)
    assert all(is_waiting(sock) for sock in waiting)
    for sock in served:
        assert clients.echo(sock, b"as before") == b"as before"
        sock.close()
    # Whose turn it is depends on the workers they came to: only that everybody gets one is promised.
    names = {sock: b"client %3d" % index for index, sock in enumerate(waiting)}
    while names:
        ready, _, _ = select.select(list(names), [], [], clients.WAIT_S)
        assert ready, f"{len(names)} clients wait for ever"
        for sock in ready:
            assert clients.receive_exactly(sock, 10) == names.pop(sock)
            sock.close()
    assert clients.is_served(host.address("echo")), "afterwards"


@both_policies
def test_limit_of_the_host_counts_all_listeners_together(run_host, when):
    host = run_host(
        manifests.manifest(
            {"a": manifests.listener(when=when), "b": manifests.listener(when=when)},
            limits={"connections": 2},
        )
    )
    served = hold(host.address("a"), 2)
    (waiting,) = queue(host.address("b"), 1)
    assert is_waiting(waiting)
    served[0].close()
    assert clients.receive_exactly(waiting, 10) == b"client   0"
    waiting.close()
    served[1].close()


@both_policies
def test_limit_of_a_client_refuses_its_surplus_and_no_other(run_host, when):
    host = run_host(manifests.one(when=when, address="0.0.0.0:0", limits={"per_client": 2}))
    _, port = host.address("echo")
    served = hold(("127.0.0.1", port), 2)
    try:
        with clients.connect(("127.0.0.1", port)) as surplus:
            assert not clients.send_quietly(surplus, b"me too") or clients.was_reset(surplus)
    except ConnectionResetError:
        pass  # the reset came before connect() had returned
    with clients.connect_from("127.0.0.9", ("127.0.0.1", port)) as other:
        assert clients.echo(other, b"another client") == b"another client"
    for sock in served:
        assert clients.echo(sock, b"as before") == b"as before"
        sock.close()
    clients.wait_until(
        lambda: clients.may_be_served(("127.0.0.1", port)), "a place for the client again"
    )


def test_limit_a_client_that_left_while_waiting_costs_nothing(run_host):
    host = run_host(manifests.one(limits={"connections": 1}))
    (served,) = hold(host.address("echo"), 1)
    for sock in queue(host.address("echo"), 5):
        clients.reset(sock)
    served.close()
    assert clients.is_served(host.address("echo"))


@pytest.mark.threads
def test_limit_under_a_crowd_everybody_is_served_in_the_end(run_host, system):
    count = 40 if system.is_windows else 200
    host = run_host(manifests.one(limits={"connections": 5}))
    results = clients.in_threads(
        [
            lambda index=index: clients.is_served(host.address("echo"), b"client %d" % index)
            for index in range(count)
        ]
    )
    assert all(results)


# -- descriptors -----------------------------------------------------------------------------------


@pytest.mark.linux("Windows sets no limit of descriptors for a process")
def test_limit_of_descriptors_is_raised_as_far_as_the_system_allows(run_host):
    """A shell's usual soft limit is no reason to serve fewer than the manifest says."""
    host = run_host(manifests.one(when="connect"), descriptors="128:4096")
    for sock in hold(host.address("echo"), 300):
        sock.close()


@pytest.mark.linux("Windows sets no limit of descriptors for a process")
@both_policies
def test_limit_of_descriptors_slows_accepting_and_cuts_nobody(run_host, when):
    """Clients wait in the backlog while there are none left, and are served when there are."""
    host = run_host(manifests.one(when=when, host={"workers": 1}), descriptors="64:64")
    address = host.address("echo")
    crowd = queue(address, 100)
    host.wait_for_log("accepting slows down")
    for index, sock in enumerate(crowd):
        assert clients.receive_exactly(sock, 10) == b"client %3d" % index
        sock.close()
    assert clients.is_served(address)
    host.wait_for_log("accepting goes on")
    assert host.log().count("accepting slows down") <= len(crowd), "not at every try"
