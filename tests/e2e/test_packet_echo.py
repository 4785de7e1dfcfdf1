"""packet-echo: one length byte that counts itself. Packets are whole however they arrive."""

import random
import socket

import pytest
from support import clients, manifests

PACKET_MAX = 255


def packet(body):
    assert len(body) < PACKET_MAX
    return bytes([len(body) + 1]) + body


def some_packets(count, seed):
    """Packets of every length, the longest and the shortest included."""
    generator = random.Random(seed)
    sizes = [0, PACKET_MAX - 1] + [generator.randrange(PACKET_MAX) for _ in range(count - 2)]
    return [packet(generator.randbytes(size)) for size in sizes]


@pytest.fixture
def address(run_host):
    return run_host(manifests.one("packet-echo")).address("packet-echo")


@pytest.mark.quick
def test_packet_echo_one_packet_comes_back(address):
    with clients.connect(address) as sock:
        assert clients.echo(sock, packet(b"hello")) == packet(b"hello")


def test_packet_echo_longest_packet_comes_back(address):
    whole = packet(bytes(range(254)))
    assert len(whole) == PACKET_MAX
    with clients.connect(address) as sock:
        assert clients.echo(sock, whole) == whole


def test_packet_echo_empty_packet_comes_back(address):
    with clients.connect(address) as sock:
        assert clients.echo(sock, b"\x01") == b"\x01"


def test_packet_echo_one_byte_at_a_time_comes_back_whole(address):
    whole = packet(b"a byte at a time")
    with clients.connect(address) as sock:
        for byte in whole:
            sock.sendall(bytes([byte]))
        assert clients.receive_exactly(sock, len(whole)) == whole


def test_packet_echo_incomplete_packet_is_not_answered(address):
    whole = packet(b"the first half and the second")
    with clients.connect(address) as sock:
        sock.sendall(packet(b"before") + whole[:10])
        assert clients.receive_exactly(sock, 7) == packet(b"before")
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(clients.WAIT_S)
        sock.sendall(whole[10:])
        assert clients.receive_exactly(sock, len(whole)) == whole


@pytest.mark.threads
def test_packet_echo_thousands_in_one_write_all_come_back(address):
    data = b"".join(some_packets(5000, seed=41))
    with clients.connect(address) as sock, clients.Writer(sock, [data]):
        assert clients.receive_exactly(sock, len(data)) == data


@pytest.mark.threads
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("largest", [3, 300, 70000])
def test_packet_echo_in_random_fragments_comes_back_equal(address, seed, largest):
    data = b"".join(some_packets(800 if largest == 3 else 4000, seed))
    pieces = clients.fragments(data, seed + 1000, largest)
    with clients.connect(address) as sock, clients.Writer(sock, pieces):
        assert clients.receive_exactly(sock, len(data)) == data


@pytest.mark.parametrize("split", [False, True])
def test_packet_echo_length_0_closes_after_echoing_the_earlier_ones(address, split):
    earlier = b"".join(some_packets(20, seed=42))
    data = earlier + b"\x00" + packet(b"never seen")
    with clients.connect(address) as sock:
        for piece in [earlier, data[len(earlier) :]] if split else [data]:
            sock.sendall(piece)
        assert clients.receive_to_end(sock) == earlier


def test_packet_echo_length_0_as_the_first_byte_closes(address):
    with clients.connect(address) as sock:
        sock.sendall(b"\x00")
        assert clients.receive_to_end(sock) == b""


def test_packet_echo_half_close_in_the_middle_of_a_packet_ends_it(address):
    with clients.connect(address) as sock:
        sock.sendall(packet(b"whole") + packet(b"never whole")[:5])
        sock.shutdown(socket.SHUT_WR)
        assert clients.receive_to_end(sock) == packet(b"whole")


def test_packet_echo_every_cut_of_a_stream_comes_back_equal(address):
    """One connection, the same three packets cut once at every place."""
    data = packet(b"one") + packet(b"") + packet(b"three")
    with clients.connect(address) as sock:
        for cut in range(1, len(data)):
            sock.sendall(data[:cut])
            sock.sendall(data[cut:])
            assert clients.receive_exactly(sock, len(data)) == data
