"""Memory that runs short, and comes back: every worker serves again, and the log has a line for each
end of it."""

import contextlib
import socket

import pytest
from support import clients, manifests

ADDRESS_SPACE = 36 << 20  # of which two workers have 8 MiB each for their stacks
CROWD = 600
SPEECH = b"G" * 65536
LITTLE = 4096
"""Room in the system for what goes to a client: the rest of what it does not read is in the host's memory."""
WORKERS = 2


def crowd_of(address, count=CROWD):
    socks = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        sock.setblocking(False)
        sock.connect_ex(address)
        socks.append(sock)
    return socks


def speak(socks):
    for sock in socks:
        try:
            sock.send(SPEECH)
        except OSError:
            pass  # it was reset: there was no memory for it


@pytest.mark.only("linux", "linux-epoll", why="it needs a limit of the address space, and a host as small as it is")
def test_memory_after_a_shortage_serves_every_client_again(run_host, system):
    listener = manifests.listener("echo", "connect", socket={"send_buffer_bytes": LITTLE})
    manifest = manifests.manifest({"echo": listener}, workers=WORKERS, **system.host_options)
    host = run_host(manifest, address_space=ADDRESS_SPACE)
    address = host.address("echo")
    socks = crowd_of(address)
    clients.wait_until(lambda: "memory is short" in host.log() or speak(socks), "a shortage")
    for sock in socks:
        sock.close()
    host.wait_for_log("there is memory again")
    # One worker that does not recover resets every other client.
    assert all(clients.may_be_served(address) for _ in range(20)), host.log()
    lines = [line for line in host.log().splitlines() if "memory" in line]
    assert sum("memory is short" in line for line in lines) <= 2 * WORKERS, host.log()
    assert len(lines) <= 6 * WORKERS, host.log()


@pytest.mark.only("linux", "linux-epoll", why="it needs a limit of the address space, and a host as small as it is")
def test_memory_that_is_hardly_enough_is_not_short_for_ever(run_host, system):
    """Small connections, so many that they need all of it; it is used to the last page, and it comes back."""
    manifest = manifests.manifest({"echo": manifests.listener("echo", "connect")}, workers=WORKERS,
                                  **system.host_options)
    host = run_host(manifest, address_space=27 << 20)
    socks = crowd_of(host.address("echo"), 1500)
    for _ in range(4):
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(b"G" * 6000)
    for sock in socks:
        sock.close()
    assert clients.wait_until(lambda: clients.may_be_served(host.address("echo")), "a client that is served")
    clients.wait_until(lambda: host.log().count("memory is short") == host.log().count("there is memory again"),
                       host.log)
    assert all(clients.may_be_served(host.address("echo")) for _ in range(20)), host.log()
