"""UDP listeners."""

import socket
import threading

import pytest
from support import clients, manifests

FOUR, SIX = socket.AF_INET, socket.AF_INET6

WINE_BINDS_TO_ALL = (
    "Wine ignores PKTINFO on sends and binds UDP sockets to all addresses whatever is asked for: what "
    "the engine does about the source is in the Winsock table's tests"
)


@pytest.fixture
def run_udp(run_host, system):
    """run_udp(…) serves the plugin `datagram-echo`."""

    def run(address="127.0.0.1:0", host=None, **more):
        listener = {"address": address, "plugin": "datagram-echo", "transport": "udp", **more}
        manifest = manifests.manifest({"datagrams": listener}, **(host or {}))
        return run_host(manifest, plugins=system.fixtures)

    return run


def client(family=FOUR, timeout=clients.WAIT_S):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    return sock


def ask(sock, address, data):
    """Sends until an answer comes, as UDP may lose either."""
    sock.settimeout(2)
    for _ in range(30):
        sock.sendto(data, address)
        try:
            return sock.recvfrom(65536)
        except TimeoutError:
            continue
    raise AssertionError("no answer")


@pytest.mark.threads
@pytest.mark.parametrize("family, bound", [(FOUR, "127.0.0.1:0"), (SIX, "[::1]:0")])
def test_datagram_comes_back_from_where_it_was_sent(run_udp, family, bound):
    host = run_udp(bound, host={"workers": 2})
    address = host.address("datagrams")
    for _ in range(8):
        with client(family) as sock:
            for data in (b"x", b"hello", bytes(range(256)) * 5, b""):
                answer, sender = ask(sock, address, data)
                assert answer == data and sender[:2] == address


@pytest.mark.parametrize("bound, target", [
    ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1"),
    pytest.param("0.0.0.0:0", "127.0.0.2", marks=pytest.mark.linux(WINE_BINDS_TO_ALL)),
    pytest.param("[::]:0", "127.0.0.3", marks=pytest.mark.linux(WINE_BINDS_TO_ALL)),
])
def test_reply_comes_from_the_address_the_datagram_went_to(run_udp, system, bound, target):
    """The socket is bound to all addresses: by itself the system would choose another one."""
    host = run_udp(bound)
    port = host.address("datagrams")[1]
    with client(SIX if ":" in target else FOUR) as sock:
        for _ in range(3):
            answer, sender = ask(sock, (target, port), b"info")
            assert sender[:2] == (target, port)
            shown = f"[{target}]:{port}" if ":" in target else f"{target}:{port}"
            assert answer.decode().split()[1] == shown
        mine = sock.getsockname()[1]
        assert answer.decode().split()[0].endswith(f":{mine}")


def test_two_addresses_are_both_served(run_udp, system):
    host = run_udp(["127.0.0.1:0", "[::1]:0" if system.is_windows else "127.0.0.2:0"])
    for address in host.addresses("datagrams"):
        with client(SIX if ":" in address[0] else FOUR) as sock:
            answer, sender = ask(sock, address, b"x")
            assert answer == b"x" and sender[:2] == address


def test_datagram_longer_than_the_buffer_is_shown_as_truncated(run_udp):
    host = run_udp(host={"buffers": {"bytes": 4096}})
    with client() as sock:
        assert ask(sock, host.address("datagrams"), bytes(4096))[0] == bytes(4096)
        assert ask(sock, host.address("datagrams"), bytes(4097))[0] == b"truncated to 4096"
        assert ask(sock, host.address("datagrams"), bytes(20000))[0] == b"truncated to 4096"


@pytest.mark.threads
def test_burst_is_answered_as_far_as_it_arrives(run_udp):
    host = run_udp(host={"workers": 2}, socket={"receive_buffer_bytes": 4194304})
    address = host.address("datagrams")
    with client() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4194304)
        for number in range(1000):
            sock.sendto(b"%d" % number, address)
        sock.settimeout(1)
        answers = set()
        try:
            while len(answers) < 1000:
                answers.add(int(sock.recv(100)))
        except TimeoutError:
            pass
        assert len(answers) >= 50 and answers <= set(range(1000))
        assert ask(sock, address, b"after")[0]


def test_clients_that_are_gone_do_no_harm(run_udp):
    """Answers to closed ports come back as ICMP: 10054 on Windows."""
    host = run_udp()
    address = host.address("datagrams")
    for _ in range(50):
        with client() as sock:
            sock.sendto(b"nobody waits", address)
    with client() as sock:
        assert ask(sock, address, b"x")[0] == b"x"


def test_denied_clients_are_not_heard(run_udp):
    host = run_udp(deny=["127.0.0.1/32"])
    address = host.address("datagrams")
    with client() as denied, client() as other:
        denied.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.9", 0))
        denied.sendto(b"x", address)
        assert ask(other, address, b"y")[0] == b"y"
        denied.settimeout(0.3)
        with pytest.raises(TimeoutError):
            denied.recv(10)


def test_tcp_and_udp_share_a_port(run_host, system):
    with socket.socket() as free, client() as free_udp:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free_udp.bind(("127.0.0.1", port))
    manifest = manifests.manifest({
        "stream": manifests.listener("services", when="connect", address=f"127.0.0.1:{port}"),
        "datagrams": {"address": f"127.0.0.1:{port}", "plugin": "datagram-echo", "transport": "udp"},
    })
    host = run_host(manifest, plugins=system.fixtures)
    with client() as sock, clients.connect(host.address("stream")) as stream:
        assert ask(sock, ("127.0.0.1", port), b"x")[0] == b"x"
        stream.sendall(b"echo y\n")
        assert clients.receive_exactly(stream, 2) == b"y\n"


@pytest.mark.threads
def test_stop_while_datagrams_keep_coming(run_udp):
    host = run_udp(host={"workers": 2})
    address = host.address("datagrams")
    stopping = threading.Event()

    def send():
        with client() as sock:
            while not stopping.is_set():
                sock.sendto(b"again", address)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        with client() as sock:
            assert ask(sock, address, b"x")[0] == b"x"
        host.stop()
    finally:
        stopping.set()
        sending.join()


def test_ready_file_and_lines_tell_the_transport(run_udp):
    host = run_udp()
    assert host.ready["listeners"]["datagrams"]["accept"] == "datagrams"
    assert ", takes datagrams, engine " in host.output()


@pytest.mark.parametrize("plugin, transport, other", [
    ("services", "udp", "tcp"), ("datagram-echo", "tcp", "udp"),
])
def test_plugin_for_the_other_transport_is_refused(fail_to_start, system, plugin, transport, other):
    listener = {"address": "127.0.0.1:0", "plugin": plugin, "transport": transport}
    result = fail_to_start(manifests.manifest({"l": listener}), plugins=system.fixtures)
    assert result.code == 78
    assert f'set the listener\'s "transport" to "{other}"' in result.errors
