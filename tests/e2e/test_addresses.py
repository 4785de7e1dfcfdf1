"""Where a host listens: both families, dual-stack, several addresses, listeners and plugins."""

import contextlib
import json
import socket

import pytest
from support import clients, manifests

MIB = 1024 * 1024


needs_ipv6 = pytest.mark.skipif(not clients.has_ipv6(), reason="this machine has no ::1")

both_policies = pytest.mark.parametrize("when", ["data", "connect"])


@pytest.fixture
def run_away_from(run_host):
    """run_away_from(other, manifest) serves at a port that nobody else has at the address `other`: the tests
    that run beside this one have ports of their own there, which may be the same. It stays ours; no one listens."""
    with contextlib.ExitStack() as stack:

        def run(other, manifest):
            for _ in range(5):
                host = run_host(manifest)
                port = host.address("echo")[1]
                holder = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET))
                with contextlib.suppress(OSError):
                    holder.bind((other, port))
                    return host
            pytest.fail(f"the host listens at {other}, too")

        yield run


def test_address_ipv4_loopback_is_served_there_only(run_host, run_away_from):
    has_ipv6 = clients.has_ipv6()
    host = run_away_from("::1", manifests.one()) if has_ipv6 else run_host(manifests.one())
    ip, port = host.address("echo")
    assert ip == "127.0.0.1" and port > 0
    assert clients.is_served((ip, port))
    if has_ipv6:
        assert clients.is_refused(("::1", port))


@needs_ipv6
@both_policies
def test_address_ipv6_loopback_is_served(run_away_from, when):
    host = run_away_from("127.0.0.1", manifests.one(when=when, address="[::1]:0"))
    ip, port = host.address("echo")
    assert ip == "::1" and port > 0
    assert clients.is_served((ip, port))
    assert clients.is_refused(("127.0.0.1", port))


@needs_ipv6
@both_policies
def test_address_dual_stack_is_reached_by_both_families(run_host, when):
    host = run_host(manifests.one(when=when, address="[::]:0"))
    ip, port = host.address("echo")
    assert ip == "::"
    assert clients.is_served(("::1", port))
    assert clients.is_served(("127.0.0.1", port))


@needs_ipv6
def test_address_v6_only_is_not_reached_by_ipv4(run_away_from):
    host = run_away_from("127.0.0.1", manifests.one(address="[::]:0", v6_only=True))
    _, port = host.address("echo")
    assert clients.is_served(("::1", port))
    assert clients.is_refused(("127.0.0.1", port))


@needs_ipv6
def test_address_of_each_family_on_one_port_is_served_by_its_own_listener(run_host):
    """v6_only is what lets a wildcard of each family share a port number."""
    first = run_host(manifests.one(address="0.0.0.0:0"))
    _, port = first.address("echo")
    second = run_host(manifests.one("packet-echo", address=f"[::]:{port}", v6_only=True))
    assert clients.is_served(("127.0.0.1", port))
    with clients.connect(("::1", second.address("packet-echo")[1])) as sock:
        assert clients.echo(sock, b"\x03hi") == b"\x03hi"


@needs_ipv6
def test_address_dual_stack_knows_ipv4_clients_by_their_ipv4_addresses(run_host):
    host = run_host(manifests.one(when="connect", address="[::]:0", limits={"per_client": 1}))
    port = host.address("echo")[1]
    held = [clients.connect_from(f"127.0.0.{last}", ("127.0.0.1", port)) for last in (1, 2, 3)]
    for sock in held:
        assert clients.echo(sock, b"one each") == b"one each"
        sock.close()


def interfaces():
    """Addresses whose zone is an interface of this machine, by number and by name, and where they
    are reached: the loopback's, and the link-local ones."""
    yield "[::1%1]", ("::1",)
    yield "[::1%lo]", ("::1",)
    with open("/proc/net/if_inet6", encoding="ascii") as table:
        for digits, index, _, scope, _, name in map(str.split, table):
            if scope == "20":
                address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
                yield f"[{address}%{name}]", (address, 0, int(index, 16))


@needs_ipv6
def test_address_zone_is_an_interface_by_name_or_number(run_host, system):
    for text, reached in interfaces():
        if system.is_windows and not text.endswith("%1]"):
            continue  # there interfaces have other names
        host = run_host(manifests.one(address=f"{text}:0", allow=["::1", f"{text[1:-1]}"]))
        port = int(host.ready["listeners"]["echo"]["addresses"][0].rpartition(":")[2])
        with socket.socket(socket.AF_INET6) as sock:
            sock.settimeout(clients.WAIT_S)
            sock.connect((reached[0], port, *reached[1:]))
            assert clients.echo(sock, b"here") == b"here"
        host.stop()


@pytest.mark.parametrize("address, says", [
    ("[fe80::1%nowhere]:0", 'this machine has no network interface "nowhere"'),
    ("[::1%4000000]:0", 'this machine has no network interface "4000000"'),
    ("[fe80::1]:0", "a link-local address needs the network interface it is of"),
    ("[::ffff:127.0.0.1]:0", 'no socket can listen at; write "127.0.0.1:0"'),
])
def test_address_that_cannot_be_listened_at_is_refused_by_check_and_run_alike(
        berth, fail_to_start, tmp_path, system, address, says):
    manifest = manifests.one(address=address)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    checked = berth("check", system.path(path))
    ran = fail_to_start(manifest)
    assert checked.code == ran.code == 78
    assert says in checked.errors and says in ran.errors


def test_address_list_is_served_on_every_address(run_host):
    addresses = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"]
    if clients.has_ipv6():
        addresses.append("[::1]:0")
    host = run_host(manifests.one(address=addresses))
    actual = host.addresses("echo")
    assert len(set(actual)) == len(addresses)
    for address in actual:
        assert clients.is_served(address)


def test_address_with_a_fixed_port_is_that_port(run_host):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = run_host(manifests.one(address=f"127.0.0.1:{port}"))
    assert host.address("echo") == ("127.0.0.1", port)
    assert clients.is_served(("127.0.0.1", port))


@pytest.mark.threads
def test_listeners_that_share_a_plugin_are_served_side_by_side(run_host):
    host = run_host(
        manifests.manifest(
            {
                "on-data": manifests.listener(when="data"),
                "on-connect": manifests.listener(when="connect"),
                "buffered": manifests.listener(receive="buffered"),
            }
        )
    )
    names = list(host.ready["listeners"])
    assert sorted(names) == ["buffered", "on-connect", "on-data"]
    results = clients.in_threads(
        [lambda n=name: clients.echo_stream(host.address(n), 2 * MIB, 51) for name in names]
    )
    assert all(sent == received for sent, received in results)


@pytest.mark.threads
def test_plugins_share_the_same_threads_and_do_not_mix(run_host):
    host = run_host(
        manifests.manifest(
            {"plain": manifests.listener(), "packets": manifests.listener("packet-echo")},
            workers=1,
        )
    )
    incomplete = b"\x05ab"
    with (
        clients.connect(host.address("plain")) as plain,
        clients.connect(host.address("packets")) as packets,
    ):
        for _ in range(50):
            assert clients.echo(plain, incomplete) == incomplete
            packets.sendall(incomplete)
            packets.sendall(b"cd")
            assert clients.receive_exactly(packets, 5) == b"\x05abcd"


def test_workers_of_any_number_serve(run_host):
    for workers in (1, 3):
        host = run_host(manifests.one(when="connect", host={"workers": workers}))
        socks = [clients.connect(host.address("echo")) for _ in range(12)]
        for index, sock in enumerate(socks):
            assert clients.echo(sock, b"%d" % index) == b"%d" % index
            sock.close()
        host.stop()
