"""Hosts for the black-box tests. Every one that a test starts is ended and examined: it must end
with a good exit code, and its log may say nothing of a defect or a sanitizer's finding."""

import itertools

import pytest
from support import manifests, operating, pop3, services
from support.host import Host, run_berth


@pytest.fixture
def start_host(system, tmp_path):
    """start_host(manifest, …) starts a host and does not wait until it is ready."""
    hosts = []
    counter = itertools.count()

    def start(manifest, **options):
        number = next(counter)
        if any(host.process.poll() is None for host in hosts):
            manifest = manifests.with_name(manifest, f"berth-{number}")  # "berth" is taken
        host = Host(system, tmp_path / f"host-{number}", manifest, **options)
        hosts.append(host)
        return host

    yield start
    try:
        for host in hosts:
            if not host.failed_to_start:  # told already
                host.stop()
                host.examine()
    finally:
        for host in hosts:
            host.kill()


@pytest.fixture
def run_host(start_host):
    """run_host(manifest, …) starts a host and waits until it serves."""

    def run(manifest, **options):
        return start_host(manifest, **options).wait_ready()

    return run


@pytest.fixture
def run_services(run_host, system):
    """run_services(…) serves the plugin `services` (see support/services.py)."""

    def run(**more):
        return run_host(services.manifest(**more), plugins=system.fixtures)

    return run


@pytest.fixture
def fail_to_start(system, tmp_path):
    """fail_to_start(manifest, …) runs a host that cannot start, to its end. Nothing of it may have
    been half started: there is no ready file, and no line of a listener."""

    def fail(manifest, ready_file=None, **options):
        manifest = manifests.with_name(manifest, "failing")  # one that serves may have the usual name
        host = Host(system, tmp_path / "failing", manifest, ready_file=ready_file, **options)
        try:
            result = host.result()
        finally:
            host.kill()
        assert not host.ready_file.exists(), result
        assert result.output == "", result
        return result

    return fail


SEEMS_TO_WAIT = "blocks-a-worker"
"""Windows does not tell whether a thread has waited or was put off by others: on a busy machine a callback
now and then looks as if it had waited. One that waits does so every time."""
LOOKS = 3


@pytest.fixture
def berth(system, tmp_path):
    """berth("check", path, …) runs a command to its end."""

    def run(*arguments, **options):
        for _ in range(LOOKS):
            result = run_berth(system, arguments, tmp_path, **options)
            if not (system.is_windows and arguments[:1] == ("plugin",) and SEEMS_TO_WAIT in result.output):
                break
        return result

    return run


@pytest.fixture
def operate(system, tmp_path):
    """operate(NAME) speaks to the host of that name, as an operator."""
    return lambda name="berth": operating.Operator(system, tmp_path, name)


@pytest.fixture
def mail(system, tmp_path):
    """Users and Maildirs for the plugin `pop3`: "ann", whose password is "secret"."""
    (tmp_path / "mail").mkdir()
    made = pop3.Mail(system, tmp_path / "mail")
    made.add_user("ann")
    return made


@pytest.fixture
def run_pop3(run_host, mail):
    """run_pop3(config, …) serves them."""

    def run(config=None, **more):
        return run_host(mail.manifest(config, **more))

    return run
