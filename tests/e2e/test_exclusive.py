"""A plugin of which only one may be open: a restart closes the old generation first, and opens it again when
the new one does not."""

import pytest
from support import clients, manifests


@pytest.fixture
def host(run_host, system):
    listener = manifests.listener("exclusive", "connect", generation_drain_timeout_ms=300)
    return run_host(manifests.manifest({"exclusive": listener}), plugins=system.fixtures)


def _folder(host):
    return host.manifest_file.parent


def _echo(host):
    with clients.connect(host.address("exclusive")) as sock:
        assert clients.echo(sock, b"served") == b"served"


def test_exclusive_restart_closes_the_old_one_first(host, operate):
    """Whoever is connected is asked, and cut when the time is over; whoever comes meanwhile waits."""
    with clients.connect(host.address("exclusive")) as old:
        assert clients.echo(old, b"mine") == b"mine"
        restart = operate().beside("restart", "exclusive")
        host.wait_for_log("must close before another one opens")
        assert old.recv(1) == b""
        assert restart.wait(clients.WAIT_S) == 0
    _echo(host)
    assert operate().serving("exclusive")["generation"] == 2
    assert (_folder(host) / "lock").is_dir()
    for _ in range(3):
        operate().ask("restart", "exclusive")
        _echo(host)


def test_exclusive_clients_who_come_while_it_is_closed_are_served(host, operate):
    with clients.connect(host.address("exclusive")) as old:
        assert clients.echo(old, b"mine") == b"mine"
        restart = operate().beside("restart", "exclusive")
        clients.wait_until(lambda: operate().run("status").code == 0, "an answer meanwhile")
        _echo(host)
        assert restart.wait(clients.WAIT_S) == 0


def test_exclusive_old_one_opens_again_when_the_new_one_fails(host, operate):
    (_folder(host) / "fail-once").touch()
    done = operate().run("restart", "exclusive")
    assert done.code == 1 and "it does not feel like it" in done.output + done.errors, done
    host.wait_for_log("generation 1 is open again, as the new one is not")
    _echo(host)
    assert operate().serving("exclusive")["generation"] == 1
    operate().ask("restart", "exclusive")
    _echo(host)


def test_exclusive_when_neither_opens_the_host_goes_on_without_it(host, operate):
    (_folder(host) / "fail-always").touch()
    done = operate().run("restart", "exclusive")
    assert done.code == 1, done
    host.wait_for_log("generation 1 cannot be opened again")
    assert operate().listeners("exclusive") == []
    (_folder(host) / "fail-always").unlink()
    operate().ask("restart", "exclusive")
    _echo(host)
