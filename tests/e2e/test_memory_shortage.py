"""Memory that runs short, and comes back: every worker serves again, and the log has a line for each
end of it."""

import socket

import pytest
from support import clients, manifests

ADDRESS_SPACE = 31 << 20  # of which two workers have 8 MiB each for their stacks
CROWD = 1500
SPEECHES = 4
WORKERS = 2


def crowd_of(address):
    socks = []
    for _ in range(CROWD):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        socks.append(sock)
    return socks


def speak(socks):
    for sock in socks:
        try:
            sock.send(b"G" * 6000)
        except OSError:
            pass  # it was reset: there was no memory for it


def test_memory_after_a_shortage_serves_every_client_again(run_host, system):
    if system.is_windows or system.is_sanitized or system.name == "linux-direct":
        pytest.skip("needs a limit of the address space, and a host that is as small as it is")
    manifest = manifests.manifest({"echo": manifests.listener("echo", "connect")}, workers=WORKERS,
                                  **system.host_options)
    host = run_host(manifest, address_space=ADDRESS_SPACE)
    address = host.address("echo")
    socks = crowd_of(address)
    for _ in range(SPEECHES):
        speak(socks)
        clients.wait_until(lambda: "memory is short" in host.log() or speak(socks), "a shortage")
    for sock in socks:
        sock.close()
    host.wait_for_log("there is memory again")
    # One worker that does not recover resets every other client.
    assert all(clients.may_be_served(address) for _ in range(20)), host.log()
    lines = [line for line in host.log().splitlines() if "memory" in line]
    assert sum("memory is short" in line for line in lines) <= 2 * WORKERS, host.log()
    assert len(lines) <= 6 * WORKERS, host.log()
