"""Addresses of the host's own: a datagram that seems to come from one of its listeners, one that went
to many, a connection that is its own other end, and how many clients queue."""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys

import pytest
from support import clients, manifests

LOOPBACK = "127.0.0.1"

as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0,
                             reason="raw sockets and network namespaces are root's")


def udp(address=f"{LOOPBACK}:0", **more):
    return {"address": address, "plugin": "datagram", "transport": "udp", "config": {"mode": "echo"}, **more}


def forge(source_port, target_port, data=b"forged"):
    """One datagram on loopback whose sender is whoever we say."""
    packet = struct.pack(">HHHH", source_port, target_port, 8 + len(data), 0) + data
    me = socket.inet_aton(LOOPBACK)
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(packet), 1, 0, 64, 17, 0, me, me)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(header + packet, (LOOPBACK, 0))


def counters(operate, name):
    return operate().serving(name)["counters"]


@as_root
@pytest.mark.any_engine
def test_datagram_from_a_listener_of_the_host_is_dropped_and_counted(run_host, operate):
    host = run_host(manifests.manifest({"one": udp(), "two": udp()}, workers=1))
    one, two = (host.address(name)[1] for name in ("one", "two"))
    forge(one, one)
    forge(two, one)
    clients.wait_until(lambda: counters(operate, "one")["datagrams_own"] == 2, "two to be counted")
    assert counters(operate, "one")["datagrams_sent"] == 0
    assert counters(operate, "two")["datagrams_received"] == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # others are answered as ever
        sock.settimeout(clients.WAIT_S)
        sock.sendto(b"hello", (LOOPBACK, one))
        assert sock.recv(9) == b"hello"


@pytest.mark.linux("Wine's host drops it before")
@as_root
@pytest.mark.any_engine
def test_datagram_from_port_0_is_dropped(run_host, operate):
    host = run_host(manifests.manifest({"one": udp()}, workers=1))
    forge(0, host.address("one")[1])
    clients.wait_until(lambda: counters(operate, "one")["datagrams_own"] == 1, "it to be counted")
    assert counters(operate, "one")["datagrams_sent"] == 0


@as_root
@pytest.mark.any_engine
def test_datagram_from_a_listener_of_the_host_is_taken_where_that_is_wanted(run_host, operate):
    """One that only writes down what comes may have its senders in the same host."""
    host = run_host(manifests.manifest({"one": udp(), "two": udp(accept_own_datagrams=True)}, workers=1))
    one, two = (host.address(name)[1] for name in ("one", "two"))
    forge(one, two)
    clients.wait_until(lambda: counters(operate, "two")["datagrams_sent"] == 1, "an answer")
    clients.wait_until(lambda: counters(operate, "one")["datagrams_own"] == 1, "its end")


@pytest.mark.any_engine
@pytest.mark.linux("the Winsock table's tests have Windows")
def test_backlog_by_default_is_the_maximum_of_the_system(run_host):
    if not shutil.which("ss"):
        pytest.skip("needs the program ss")
    host = run_host(manifests.manifest({"echo": manifests.listener("echo")}, workers=1))
    port = host.address("echo")[1]
    listed = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    maximum = int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())
    assert int(listed.stdout.split()[2]) == maximum, listed.stdout


# -- in a network of their own ---------------------------------------------------------------------

PRELUDE = """
import json, os, signal, socket, subprocess, sys, time
berth, folder, manifest, setup = json.loads(sys.argv[1])
subprocess.run(["sh", "-ec", setup], check=True)
with open(folder + "/m.json", "w") as file:
    json.dump(manifest, file)
ready = folder + "/ready.json"
host = subprocess.Popen([berth, "run", "--manifest", folder + "/m.json", "--ready-file", ready],
                        stdout=sys.stderr, env=dict(os.environ, BERTH_RUNTIME_DIR=folder))
try:
    end = time.monotonic() + 60
    while not os.path.exists(ready) and host.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert os.path.exists(ready), "no start"
    result = {}
    exec(sys.stdin.read())
    print(json.dumps(result))
finally:
    host.send_signal(signal.SIGTERM)
    host.wait(60)
"""


def in_own_network(system, folder, manifest, setup, steps):
    """Runs a host and the steps, which fill `result`, in a network that nothing else is in."""
    arguments = json.dumps([str(system.executable()), str(folder), manifest, setup])
    result = subprocess.run(["unshare", "-n", sys.executable, "-c", PRELUDE, arguments], input=steps, text=True,
                            capture_output=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def own_network(system, tmp_path):
    if not shutil.which("ip"):
        pytest.skip("needs the program ip")
    return lambda manifest, setup, steps: in_own_network(system, tmp_path, manifest, setup, steps)


BROADCAST_SETUP = """ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 addrgenmode none
echo 0 > /proc/sys/net/ipv6/conf/v0/accept_dad
ip link set v0 up; ip link set v1 up
ip addr add 10.9.9.1/24 brd 10.9.9.255 dev v0
ip addr add fe80::9/64 dev v0 nodad
"""

BROADCAST_STEPS = """
def ask(family, to):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.settimeout(1)
    for _ in range(20):
        try:
            sock.sendto(b"x", to)
            return sock.recvfrom(9)[1][0].partition("%")[0]
        except OSError:
            time.sleep(0.1)
result["group"] = ask(socket.AF_INET6, ("ff02::1", 7602, 0, socket.if_nametoindex("v0")))
result["broadcast"] = ask(socket.AF_INET, ("10.9.9.255", 7602))
"""


@pytest.mark.linux("it needs network namespaces")
@pytest.mark.plain("it looks at addresses, which no sanitizer has to do with")
@as_root
def test_datagram_to_many_is_answered_from_an_address_of_the_host(own_network, system):
    manifest = manifests.manifest({"all": udp("[::]:7602")}, workers=1, **system.host_options)
    answers = own_network(manifest, BROADCAST_SETUP, BROADCAST_STEPS)
    assert answers == {"group": "fe80::9", "broadcast": "10.9.9.1"}


SELF_STEPS = """
result["own"] = 0
for port in range(10000, 10400):
    sock = socket.socket()
    sock.bind(("127.0.0.1", port))
    sock.settimeout(10)
    try:
        sock.connect(("127.0.0.1", 7501))
        sock.sendall(b"mine")
        result["own"] += sock.recv(9) == b"mine"
    except ConnectionError:
        pass
    sock.close()
"""


@pytest.mark.linux("it needs network namespaces")
@pytest.mark.plain("it looks at addresses, which no sanitizer has to do with")
@as_root
@pytest.mark.any_engine
def test_connect_to_a_dead_port_of_the_machines_own_range_is_refused(own_network, system):
    proxy = {"address": "127.0.0.1:7501", "plugin": "proxy",
             "config": {"upstreams": ["127.0.0.1:40002"], "retry_after_ms": 0}}
    manifest = manifests.manifest({"proxy": proxy}, workers=1, **system.host_options)
    setup = 'ip link set lo up; echo "40002 40003" > /proc/sys/net/ipv4/ip_local_port_range'
    assert own_network(manifest, setup, SELF_STEPS) == {"own": 0}
