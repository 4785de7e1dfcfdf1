"""The reference servers do what they are compared for: each echoes every byte, to many clients, in
large messages, to slow readers, and refuses clients beyond its model's limit."""

import socket

import pytest
from support import clients, load
from support.models import NAMES, Model
from support.systems import System, build_of


def _builds(config):
    """Those that differ in what is tested here: the host's engines do not."""
    builds = [build_of(text) for text in config.getoption("system")]
    full = ("linux-asan",) if config.getoption("full") else ()  # no part of the host
    return [build for build in builds if build[0] in ("linux", "windows", *full)]


def pytest_generate_tests(metafunc):
    """Every model, or those that a test is about, on the systems that have it."""
    if "model" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("models")
    # The first window in a Wine takes ten seconds: one Wine is enough for those that have one.
    together = {"async-select": [pytest.mark.xdist_group("windows with a window")]}
    both = [
        pytest.param((build, name), id=f"{build[0]}-{name}", marks=together.get(name, []))
        for build in _builds(metafunc.config)
        for name in NAMES["windows" if build[0] == "windows" else "linux"]
        if not mark or f"{'windows' if build[0] == 'windows' else 'linux'}-{name}" in mark.args
    ]
    metafunc.parametrize("model", both)


@pytest.fixture
def run_model(model, wine, tmp_path):
    """run_model(…) starts the reference server that the test is about."""
    (build, name), models = model, []

    def run(*arguments):
        models.append(Model(System(*build, wine), name, tmp_path, *arguments))
        return models[-1]

    yield run
    for running in models:
        running.stop()
        assert "Sanitizer" not in running.output(), running.output()


@pytest.fixture
def run_load(request, model, wine, tmp_path):
    """The load client on Linux, if there is a build for it, since it is native there."""
    builds = _builds(request.config)
    native = [build for build in builds if build[0] == "linux"]
    system = System(*(native[0] if native else model[0]), wine)

    def run(server, *arguments):
        address = ":".join(map(str, server.address))
        return load.run(system, tmp_path, *arguments, address)

    return run


@pytest.mark.parametrize("size, operations", [(1, 400), (64, 400), (102400, 100)])
def test_model_echoes_to_20_clients(run_model, run_load, size, operations):
    server = run_model()
    result = run_load(server, "-c", 20, "-n", operations, "-s", size).expect_fine()
    assert result.json["operations"] == operations
    assert result.json["connections"]["connected"] == 20


def test_model_streams_both_ways(run_model, run_load):
    result = run_load(run_model(), "-m", "stream", "-c", 4, "-n", 1024, "-s", 4096)
    assert result.expect_fine().json["bytes_received"] == 1024 * 4096


def test_model_with_small_buffers_echoes_large_messages(run_model, run_load):
    server = run_model("--buffer", 512)
    assert run_load(server, "-c", 5, "-n", 20, "-s", 50000).expect_fine().json["operations"] == 20


def test_model_is_not_held_up_by_those_who_do_not_read(run_model):
    """Three clients fill all that is between, then a fourth is served; and the first gets its all."""
    address = run_model().address
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        for sock in (first, second, third):
            sock.settimeout(clients.WAIT_S)
            sock.connect(address)
        data = clients.random_bytes(16 * clients.CHUNK * 4, 5)
        taken = [clients.fill(sock, data, 0.3) for sock in (first, second, third)]
        assert clients.is_served(address)
        first.settimeout(clients.WAIT_S)
        first.shutdown(socket.SHUT_WR)
        assert clients.receive_to_end(first) == data[: taken[0]]


def test_model_serves_those_that_come_and_go(run_model, run_load):
    server = run_model()
    result = run_load(server, "-m", "short", "-c", 8, "-n", 200).expect_fine()
    assert result.json["operations"] == 200
    result = run_load(server, "-m", "short", "-c", 8, "-n", 100, "--reset").expect_fine()
    assert result.json["operations"] == 100
    assert clients.is_served(server.address)


def test_model_closes_first_when_asked(run_model, run_load):
    server = run_model("--close-after", 64)
    result = run_load(server, "-m", "short", "--server-closes", "-c", 8, "-n", 100)
    assert result.expect_fine().json["operations"] == 100


@pytest.mark.models("linux-select")
def test_model_refuses_who_does_not_fit_into_a_set(run_model, run_load):
    server = run_model()
    result = run_load(server, "-m", "silent", "-c", 1100, "-d", 0.5)
    assert 1 <= result.json["connections"]["cut"] <= 200
    assert "refused: select has room for descriptors below 1024" in server.output()
    assert clients.is_served(server.address)


def test_model_serves_more_than_one_thread_can_wait_for(run_model, run_load):
    server = run_model()
    assert run_load(server, "-c", 150, "-n", 300).expect_fine().json["operations"] == 300


def test_model_bad_options_are_told(run_model):
    server = run_model("--port", "many")
    assert server.process.wait(clients.START_S) == 2
    assert '"many": expected --port N' in server.output()
