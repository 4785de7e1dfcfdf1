"""The tests in C: every executable that a build has installed in its folder `tests`, one item each.

cmocka names the test that failed; a crash or a sanitizer's report fails the executable.
"""

import pathlib
import subprocess

import pytest
from support.systems import System, build_of

TIME_LIMIT_S = 300

WITH_AN_ENGINE = (
    "test_accepting", "test_answers", "test_engine_accept", "test_engine_connect", "test_engine_datagram",
    "test_engine_end", "test_engine_fairness", "test_engine_files", "test_engine_port", "test_engine_transfer",
    "test_failing_allocations", "test_linux_accept_faults", "test_linux_connect_faults", "test_linux_datagram_faults",
    "test_linux_life_faults", "test_linux_port_faults", "test_linux_transfer_faults", "test_newcomers", "test_shortage",
    "test_steady",
)
"""Those that run a real engine of the system, the one that TEST_ENGINE names."""

SIMULATED_WORLD = "test_sim_"
"""Worlds of the simulated engine have one thread, and no function of the system but its memory: neither
ThreadSanitizer nor another C runtime has something to say of them."""

OF_AN_ENGINE_ALONE = ("test_engine_", "test_iocp_")
"""They call the system, and hardly the C runtime: the build on another one runs them in a full run."""

DIRECT = "io_uring-direct"
"""The engine io_uring with its sockets in the tables of the rings. Its sends wait for the ring: how
many parts connections have for that goes by the crowd, which is no steady number."""

HAVE_DIRECT = ("linux", "linux-asan", "linux-tsan")

SIMULATED = ("iocp", "io_uring", "epoll")
"""Whose differences the simulated engine shows. It is the same code in every build, and in each of
them the conformance suite runs on it."""


def _engines_of(name, path):
    """What TEST_ENGINE is to be, and what it is called in the item's name."""
    if path.stem.startswith("test_sim_engine_"):
        return [(engine, f"{engine}-") for engine in SIMULATED]
    if path.stem in WITH_AN_ENGINE and path.stem != "test_steady" and name in HAVE_DIRECT:
        return [(None, ""), (DIRECT, "direct-")]
    return [(None, "")]


def _executables(fixtures):
    return sorted((pathlib.Path(fixtures).resolve().parent / "tests").iterdir())


def pytest_generate_tests(metafunc):
    """One item for each build and executable of it."""
    builds, full = [], metafunc.config.getoption("full")
    for text in metafunc.config.getoption("system"):
        fixtures = text.partition("=")[2].partition(":")[2]
        name = text.partition("=")[0]
        for path in _executables(fixtures):
            if name == "linux-direct" or (name.endswith("-epoll") and path.stem not in WITH_AN_ENGINE):
                continue  # the same as on the build's first engine
            if name in ("linux-tsan", "windows-ucrt") and path.stem.startswith(SIMULATED_WORLD) and not full:
                continue
            if name == "windows-ucrt" and path.stem.startswith(OF_AN_ENGINE_ALONE) and not full:
                continue
            mark = [pytest.mark.quick] if name == "linux" else []
            for engine, prefix in _engines_of(name, path):
                builds.append(pytest.param(text, path, engine, id=f"{name}-{prefix}{path.stem}",
                                           marks=[] if engine == DIRECT else mark))
    if "c_build" in metafunc.fixturenames:
        metafunc.parametrize("c_build, executable, engine", builds)


def test_c(c_build, executable, engine, tmp_path, wine):
    system = System(*build_of(c_build), wine)
    system.hold()
    command = [*system.runner(), str(executable)]
    environment = system.environment()
    if engine:
        environment["TEST_ENGINE"] = engine
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=TIME_LIMIT_S, errors="replace", stdin=subprocess.DEVNULL, check=False,
    )
    report = result.stdout[-6000:] + result.stderr[-6000:]
    assert result.returncode == 0, f"{executable.name} ended with {result.returncode}:\n{report}"
    assert "PASSED" in result.stdout + result.stderr, report
