"""The PROXY protocol: clients by way of a proxy that the listener trusts, and nobody else's word."""

import contextlib
import socket
import struct

import pytest
from support import clients, services

pytestmark = pytest.mark.full("*-epoll", "*san*", why="headers differ in their words; the corpus of the fuzzer runs there")

TRUSTED = {"from": ["127.0.0.1/32"], "timeout_ms": 5000}
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
CLIENT = "192.0.2.1:56324 198.51.100.7:443"


def v2(command, family, body):
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", command, family, len(body)) + body


V2 = v2(0x21, 0x11, bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack(">HH", 56324, 443))
V2_SIX = v2(0x21, 0x21, socket.inet_pton(socket.AF_INET6, "2001:db8::5")
            + socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">HH", 1, 2))
LOCAL = v2(0x20, 0, b"")
V1_MAPPED = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6407 56324 443\r\n"
V2_MAPPED = v2(0x21, 0x21, socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1")
               + socket.inet_pton(socket.AF_INET6, "::ffff:198.51.100.7") + struct.pack(">HH", 56324, 443))

both_policies = pytest.mark.parametrize("when", ["data", "connect"])


def ask_who(host, *parts):
    """What the plugin sees of a client whose bytes come in these parts."""
    with clients.connect(host.address("services")) as sock:
        for part in parts:
            sock.sendall(part)
        return sock.makefile("rb").readline().decode().rstrip("\n")


@both_policies
@pytest.mark.parametrize("header, seen", [
    (V1, CLIENT), (V2, CLIENT), (V2_SIX, "[2001:db8::5]:1 [::1]:2"),
    (V2[:15] + bytes([V2[15] + 7]) + V2[16:] + b"\x02\0\4name", CLIENT),
    (V1_MAPPED, CLIENT), (V2_MAPPED, CLIENT),
])
def test_proxy_header_names_the_client(run_services, when, header, seen):
    host = run_services(when=when, proxy_protocol=TRUSTED)
    assert ask_who(host, header + b"who\n") == seen
    assert ask_who(host, header, b"who\n") == seen


@both_policies
def test_proxy_header_byte_by_byte(run_services, when):
    host = run_services(when=when, proxy_protocol=TRUSTED)
    for header in (V1, V2):
        parts = [bytes([byte]) for byte in header + b"who\n"]
        assert ask_who(host, *parts) == CLIENT


@both_policies
@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", v2(0x21, 0, b"abc"),
                                    v2(0x21, 0x12, V2[16:]), v2(0x21, 0x22, V2_SIX[16:]),
                                    v2(0x21, 0x32, bytes(216))])
def test_proxy_that_names_nobody_is_seen_itself(run_services, when, header):
    host = run_services(when=when, proxy_protocol=TRUSTED)
    remote, local = ask_who(host, header + b"who\n").split()
    assert remote.startswith("127.0.0.1:")
    assert local == f"127.0.0.1:{host.address('services')[1]}"


@both_policies
@pytest.mark.parametrize("begin", [b"who\n", b"GET / HTTP/1.1\r\n", V2[:12] + b"\x31\x11\0\0", b"PROXY TCP4 x\r\n"])
def test_connection_of_a_proxy_without_a_right_header_is_cut_and_counted(run_services, when, begin):
    host = run_services(when=when, proxy_protocol=TRUSTED)
    with clients.connect(host.address("services")) as sock:
        sock.sendall(begin)
        assert clients.was_reset(sock)
    services.wait_for_log(host, "its PROXY protocol header is wrong: ")
    assert ": closed " not in host.log(), "the plugin has heard of it"
    assert ask_who(host, V1 + b"who\n") == CLIENT


@both_policies
@pytest.mark.parametrize("begin", [b"", b"P", V2[:20]])
def test_proxy_header_that_does_not_come_in_time_closes_the_connection(run_services, when, begin):
    host = run_services(when=when, proxy_protocol={"from": ["127.0.0.1"], "timeout_ms": 200},
                        accept={"first_data_timeout_ms": 300})
    with clients.connect(host.address("services")) as sock:
        sock.sendall(begin)
        assert clients.was_reset(sock)
    if begin:
        services.wait_for_log(host, "its PROXY protocol header is wrong: none came in time")


@both_policies
def test_header_from_elsewhere_is_no_header(run_services, when):
    host = run_services(when=when, proxy_protocol={"from": ["192.0.2.0/24"]})
    assert ask_who(host, V1 + b"who\n") == "what?"
    assert ask_who(host, b"who\n").startswith("127.0.0.1:")


def test_lists_and_limits_go_by_the_client_behind_the_proxy(run_services):
    host = run_services(proxy_protocol=TRUSTED, deny=["192.0.2.0/24", "127.0.0.0/8"],
                        limits={"per_client": 1})
    with clients.connect(host.address("services")) as sock:
        sock.sendall(V1 + b"who\n")
        assert clients.was_reset(sock)
    with clients.connect(host.address("services")) as sock:
        sock.sendall(V2_SIX + b"echo one\n")
        assert clients.receive_exactly(sock, 4) == b"one\n"
        with clients.connect(host.address("services")) as second:
            second.sendall(V2_SIX + b"echo two\n")
            assert clients.was_reset(second), "a second one of the same client"
        other = V2_SIX.replace(b"\x20\x01\x0d\xb8", b"\x20\x01\x0d\xb9")
        assert ask_who(host, other + b"echo three\n") == "three"


def test_client_limits_take_both_forms_of_an_ipv4_address_for_one_client(run_services):
    """::ffff:0:0/96 is one /64: IPv4 clients that are named in its form are clients all the same."""
    host = run_services(proxy_protocol=TRUSTED, limits={"per_client": 2})
    with contextlib.ExitStack() as held:
        def is_served(header):
            sock = held.enter_context(clients.connect(host.address("services")))
            sock.sendall(header + b"echo hi\n")
            return clients.receive_exactly(sock, 3) == b"hi\n"

        for last in range(1, 7):
            assert is_served(b"PROXY TCP6 ::ffff:203.0.113.%d ::ffff:10.0.0.1 1 80\r\n" % last)
        assert is_served(V1) and is_served(V2_MAPPED)
        for header in (V1, V1_MAPPED, V2, V2_MAPPED):
            with clients.connect(host.address("services")) as sock:
                sock.sendall(header + b"echo hi\n")
                assert clients.was_reset(sock), "a third one of the same client"


@both_policies
def test_proxy_that_connects_and_leaves_is_no_fault(run_services, when):
    """A health check."""
    host = run_services(when=when, proxy_protocol=TRUSTED)
    for _ in range(5):
        clients.connect(host.address("services")).close()
    assert ask_who(host, V1 + b"who\n") == CLIENT
    assert "PROXY protocol" not in host.log()
