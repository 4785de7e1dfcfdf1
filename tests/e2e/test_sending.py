"""What plugins send: in order, in any number of pieces, and never without end."""

import contextlib
import socket

import pytest
from support import clients, manifests, services

pytestmark = pytest.mark.direct

MIB = 1024 * 1024


def test_slices_of_any_number_arrive(run_services):
    host = run_services()
    with services.session(host) as session:
        for count, size in ((1, 1), (16, 1), (17, 100), (1000, 1), (100, 16384), (3, 4 * MIB)):
            session.send("slices", count, size)
            assert session.read(count * size) == b"x" * (count * size)
        assert session.ask("echo", "x") == "x"


def test_plugin_that_sends_past_the_hard_cap_is_cut_and_others_are_not(run_services):
    host = run_services(limits={"send_queue_bytes": 65536})
    with services.session(host) as session, services.session(host) as other:
        session.send("slices", 100000, 65536)
        with contextlib.suppress(ConnectionError):
            while session.sock.recv(MIB):
                pass
        assert other.ask("echo", "x") == "x"
    services.wait_for_log(host, "closed 5")
    assert "wait to be sent: one callback of the plugin sends without an end" in host.log()


def test_pieces_count_like_bytes(run_services):
    """Many slices of a byte each: the queue is full by their number."""
    host = run_services(limits={"send_queue_pieces": 16})
    with services.session(host) as session, services.session(host) as other:
        session.send("slices", 1000000, 1)
        with contextlib.suppress(ConnectionError):
            while session.sock.recv(MIB):
                pass
        assert other.ask("echo", "x") == "x"
    services.wait_for_log(host, "closed 5")


def test_full_queue_pauses_reading_and_tells_when_it_is_drained(run_services):
    host = run_services(limits={"send_queue_bytes": 65536})
    with services.session(host) as session:
        session.send("slices", 16, MIB)  # in one call, and more than sockets hold
        services.wait_for_log(host, ": filled")
        session.send("echo", "behind")
        assert session.read(16 * MIB + 7) == b"x" * 16 * MIB + b"behind\n"
    services.wait_for_log(host, ": drained")
    log = host.log()
    assert log.count(": filled") == log.count(": drained") and log.index(": filled") < log.index(": drained")


@pytest.mark.parametrize("full, ends", [("pause", False), ("close", True)])
def test_client_that_sends_and_never_reads(run_host, full, ends):
    host = run_host(manifests.one(limits={"send_queue_bytes": 65536, "send_queue_full": full}))
    data = clients.random_bytes(64 * MIB, seed=31)
    with clients.connect(host.address("echo")) as sock:
        try:
            count = clients.fill(sock, data)
            assert not ends and count < len(data)
            sock.settimeout(clients.WAIT_S)
            assert clients.receive_exactly(sock, count) == data[:count]
        except ConnectionError:
            assert ends, "cut, where it should have been held"
    assert clients.is_served(host.address("echo"))
    if ends:
        host.wait_for_log('limits.send_queue_full says "close"')
    else:
        assert "limits.send_queue_full" not in host.log()


def test_thousand_clients_that_never_read_are_contained(run_host, system):
    """Memory is bounded by the settings, and others are answered as ever."""
    count = 1000 if system.measures_memory else 100
    host = run_host(manifests.one(when="connect", limits={"send_queue_bytes": 16384},
                                  accept={"backlog": 1024},
                                  socket={"send_buffer_bytes": 16384, "receive_buffer_bytes": 16384}))
    address = host.address("echo")
    chunk = bytes(65536)
    with contextlib.ExitStack() as held:
        floods = [held.enter_context(clients.connect(address)) for _ in range(count)]
        before = host.memory_bytes() if system.measures_memory else 0
        for _ in range(8):
            for sock in floods:
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock.send(chunk)
            assert clients.is_served(address)
        if system.measures_memory:
            # A queue that is full, and the burst of buffers that came before it was held.
            assert host.memory_bytes() - before < count * (4 * 16384 + 16384 + 65536)
        assert clients.is_served(address)
    assert clients.is_served(address)


@pytest.mark.linux("ss shows the sockets of Linux; the Winsock table's tests see the options")
def test_socket_options_are_set(run_services):
    """As the kernel shows them, by way of the sockets' states."""
    host = run_services(socket={"keepalive": {"idle_s": 77, "interval_s": 5, "probes": 3}})
    with services.session(host) as session:
        assert session.ask("echo", "x") == "x"
        local = f"0100007F:{host.address('services')[1]:04X}"
        remote = f"0100007F:{session.sock.getsockname()[1]:04X}"

        def keepalive_runs():
            """Its timer, number 2, is the one that runs once everything is acknowledged."""
            with open("/proc/net/tcp", encoding="ascii") as table:
                line = next(l.split() for l in table if l.split()[1:3] == [local, remote])
            timer, when = line[5].split(":")
            return timer == "02" and 60 <= int(when, 16) / 100 <= 78

        clients.wait_until(keepalive_runs, "a keep-alive timer of 77 s")


@pytest.mark.linux("Wine does not pass SO_LINGER on in time; the Winsock table's tests see it set")
@pytest.mark.parametrize("linger", ["finish", "reset"])
def test_linger_says_what_becomes_of_undelivered_bytes(run_services, system, linger):
    """The client has finished and does not read: its answer lies in the system's buffers when the
    host closes the socket."""
    host = run_services(socket={"linger": linger, "send_buffer_bytes": 1048576})
    with clients.connect(host.address("services")) as sock:
        sock.sendall(b"slices 3 65536\nclose\n")
        sock.shutdown(socket.SHUT_WR)
        services.wait_for_log(host, ": closed ")
        if linger == "finish":
            assert clients.receive_to_end(sock) == b"x" * 3 * 65536
        else:
            with pytest.raises(ConnectionError):
                clients.receive_to_end(sock)
