"""Plugin code that does not return: it is laid to the plugin, and nothing waits for it without an end."""

import json
import pathlib
import signal
import time

import pytest
from support import clients, manifests

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]


class Stuck:
    """A host with the plugin `stuck`, whose callbacks hang while a file of their name is there."""

    def __init__(self, start, folder, system, listeners=None, arguments=(), **host):
        self.folder = pathlib.Path(folder) / "stuck"
        self.folder.mkdir()
        made = {"name": f"stuck-{next(_names)}", "workers": 2, "stall_warning_ms": 100, **host}
        names = listeners or {"stuck": manifests.listener("stuck", "connect")}
        self.start = lambda: start(manifests.manifest(names, **made), plugins=system.fixtures,
                                   environment={"STUCK": system.path(self.folder)},
                                   arguments=arguments)

    def hang_in(self, callback):
        (self.folder / callback).touch()

    def go_on(self, callback):
        (self.folder / callback).unlink()


def _count():
    number = 0
    while True:
        number += 1
        yield number


_names = _count()


@pytest.fixture
def make_stuck(run_host, system, tmp_path):
    return lambda **options: Stuck(run_host, tmp_path, system, **options)


CALLBACKS = {"opened": None, "received": b"x", "work_done": b"w", "post": b"p", "timer": b"t", "closed": b""}
"""What a client does for them."""


@pytest.mark.parametrize("callback", CALLBACKS)
def test_callback_that_hangs_is_a_crash_of_it(make_stuck, system, callback):
    stuck = make_stuck(hang_timeout_ms=500)
    host = stuck.start()
    host.expect_crash()
    stuck.hang_in(callback)
    with clients.connect(host.address("stuck")) as sock:
        if CALLBACKS[callback] == b"":
            sock.close()
        elif CALLBACKS[callback]:
            sock.sendall(CALLBACKS[callback])
        code = host.wait()
    assert code not in (0, 1, 2, 78), code
    told = [line for line in host.log().splitlines() if "crash: " in line]
    assert told, host.log()
    for part in ("plugin=stuck", "listener=stuck", "hang: it has not returned for ",
                 f"callback {callback} of generation 1 (1.0)", "connection "):
        assert part in told[0], told
    if not system.is_sanitized:
        assert any(f"stuck.1{system.library_suffix}" in line for line in told[1:]), told


@pytest.mark.parametrize("callback", ["load", "listener_open"])
def test_start_that_hangs_is_a_crash_of_the_plugin(make_stuck, callback):
    stuck = make_stuck(hang_timeout_ms=500)
    stuck.hang_in(callback)
    with pytest.raises(AssertionError, match="no start"):
        stuck.start()
