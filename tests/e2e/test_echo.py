"""The main job: what goes in comes out, however it is cut and however many do it at once."""

import pytest
from support import clients, manifests

pytestmark = pytest.mark.direct

MIB = 1024 * 1024

both_policies = pytest.mark.parametrize("when", ["data", "connect"])


@pytest.mark.quick
@both_policies
def test_echo_one_message_comes_back(run_host, when):
    host = run_host(manifests.one(when=when))
    assert clients.is_served(host.address("echo"))


@pytest.mark.threads
@both_policies
def test_echo_64_mib_in_random_fragments_come_back_equal(run_host, when):
    host = run_host(manifests.one(when=when))
    sent, received = clients.echo_stream(host.address("echo"), 64 * MIB, seed=64)
    assert sent == received


@pytest.mark.parametrize("receive", ["zero-byte", "buffered"])
def test_echo_in_either_receive_mode_comes_back_equal(run_host, receive):
    host = run_host(manifests.one(receive=receive))
    sent, received = clients.echo_stream(host.address("echo"), 4 * MIB, seed=7)
    assert sent == received


def test_echo_through_tiny_buffers_and_queues_comes_back_equal(run_host):
    manifest = manifests.one(
        host={"buffers": {"bytes": 4096, "retained_max": 1}, "workers": 1},
        limits={"send_queue_bytes": 4096},
    )
    host = run_host(manifest)
    sent, received = clients.echo_stream(host.address("echo"), 4 * MIB, seed=8)
    assert sent == received


@pytest.mark.threads
@pytest.mark.xdist_group("many connections")
@both_policies
def test_echo_thousands_of_connections_at_once_all_are_served(run_host, system, when):
    count = 500 if system.is_windows else 2000
    limits = {"connections": count, "per_client": count}
    host = run_host(manifests.one(when=when, limits=limits))
    clients.echo_many(host.address("echo"), count)
    assert clients.is_served(host.address("echo")), "afterwards"


@pytest.mark.threads
def test_echo_connections_that_come_and_go_are_all_served(run_host, system):
    host = run_host(manifests.one())
    for index in range(100 if system.is_windows else 1000):
        assert clients.is_served(host.address("echo"), b"client %d" % index)


@pytest.mark.threads
def test_echo_of_several_streams_at_once_each_comes_back_equal(run_host):
    host = run_host(manifests.one(when="connect"))
    results = clients.in_threads(
        [
            lambda seed=seed: clients.echo_stream(host.address("echo"), 2 * MIB, seed)
            for seed in range(8)
        ]
    )
    assert all(sent == received for sent, received in results)
