"""A client that says it is finished still gets everything it is owed."""

import socket

import pytest
from support import clients, manifests

pytestmark = pytest.mark.direct

MIB = 1024 * 1024

both_policies = pytest.mark.parametrize("when", ["data", "connect"])


@both_policies
def test_half_close_after_a_message_gets_it_back_and_then_the_end(run_host, when):
    host = run_host(manifests.one(when=when))
    with clients.connect(host.address("echo")) as sock:
        sock.sendall(b"the last words")
        sock.shutdown(socket.SHUT_WR)
        assert clients.receive_to_end(sock) == b"the last words"


@pytest.mark.threads
@both_policies
def test_half_close_with_mebibytes_in_flight_loses_none(run_host, when):
    host = run_host(manifests.one(when=when))
    sent, received = clients.echo_stream(host.address("echo"), 8 * MIB, seed=11, half_close=True)
    assert sent == received


def test_half_close_before_anything_is_read_loses_none(run_host):
    """The host's send queue is full when the FIN arrives: the bytes that the host has not even
    read yet stand in front of it."""
    host = run_host(manifests.one(limits={"send_queue_bytes": 65536}))
    data = clients.random_bytes(64 * MIB, seed=12)
    with clients.connect(host.address("echo")) as sock:
        count = clients.fill(sock, data)
        assert count < len(data), "the host reads without end from a client that does not"
        sock.settimeout(clients.WAIT_S)
        sock.shutdown(socket.SHUT_WR)
        assert clients.receive_to_end(sock) == data[:count]


@both_policies
def test_half_close_without_a_byte_ends_in_good_order(run_host, when):
    host = run_host(manifests.one(when=when))
    with clients.connect(host.address("echo")) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert not clients.was_reset(sock)
    assert clients.is_served(host.address("echo"))


def test_half_close_of_many_clients_frees_their_places(run_host):
    """A place under the limit comes back only when the host has let go of the connection."""
    host = run_host(manifests.one(limits={"connections": 4}))
    for index in range(20):
        with clients.connect(host.address("echo")) as sock:
            sock.sendall(b"%d" % index)
            sock.shutdown(socket.SHUT_WR)
            assert clients.receive_to_end(sock) == b"%d" % index
