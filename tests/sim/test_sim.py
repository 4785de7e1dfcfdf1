"""Worlds of the simulator: the real host on the simulated engine, each world from its number.

What is found is found again by `./dev sim --seed S --trace`.
"""

import pathlib
import subprocess
import sys

import pytest
from support.systems import System, build_of

SIM = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(SIM))

from simulate import play  # noqa: E402

SEEDS = 1000
SLOW_SEEDS = 100  # with a sanitizer, and under Wine
QUICK_SEEDS = 300
SLICE = 100  # an item each, which takes seconds
ONE_THREAD = ("-epoll", "-direct", "-tsan")
"""The ends of builds that have nothing more to find: a world has no engine of the system, and one thread."""

TWICE = 50
MUTANTS_LEAST = 60

REGRESSIONS = {
    0: "timer_of_a_driven_server_is_not_late",
    24: "done_of_a_work_comes_after_closed",
    93: "what_is_enough_by_now_is_shown",
    415: "accepts_of_other_marks_keep_nobody_out",
    429: "no_datagram_comes_to_a_closed_listener",
    913: "timers_are_counted_when_memory_was_short",
    4261: "a_queue_that_has_drained_is_not_past_its_cap",
}
"""Worlds that have broken a rule once, and what it was."""


def _quick(name):
    return [pytest.mark.quick] if name == "linux" else []


def pytest_generate_tests(metafunc):
    builds = [(text, text.partition("=")[0]) for text in metafunc.config.getoption("system")]
    builds = [(text, name) for text, name in builds if not name.endswith(ONE_THREAD)]
    if "first_seed" in metafunc.fixturenames:
        metafunc.parametrize("sim_build, first_seed", [
            pytest.param(text, seed, id=f"{name}-{seed}", marks=_quick(name) if seed < QUICK_SEEDS else [])
            for text, name in builds for seed in range(0, SEEDS if name == "linux" else SLOW_SEEDS, SLICE)])
    elif "sim_build" in metafunc.fixturenames:
        metafunc.parametrize("sim_build", [pytest.param(text, id=name, marks=_quick(name)) for text, name in builds])


def _play(sim_build, wine, first, count, *options):
    system = System(*build_of(sim_build), wine)
    system.hold()
    folder = pathlib.Path(sim_build.partition("=")[2].partition(":")[2]).resolve().parent / "sim"
    command = [*system.runner(), str(next(folder.glob("simulate*"))), *options]
    return play(command, first, count, 1, environment=system.environment())


def test_sim_worlds_break_no_rule(sim_build, first_seed, wine):
    assert not _play(sim_build, wine, first_seed, SLICE)


def test_sim_world_of_one_seed_is_the_same_again(sim_build, wine):
    assert not _play(sim_build, wine, SEEDS, TWICE, "--twice")


def test_sim_mutants_fit_the_code():
    """Each is planted by `./dev sim --mutants`, which takes too long to be run here."""
    patches = sorted((SIM / "mutants").glob("*.patch"))
    unfit = [patch.stem for patch in patches
             if subprocess.run(["git", "apply", "--check", patch], cwd=SIM.parents[1], check=False,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0]
    assert len(patches) >= MUTANTS_LEAST
    assert not unfit, "these patches do not apply: change them with the code that they are about"


@pytest.mark.parametrize("seed", REGRESSIONS, ids=REGRESSIONS.get)
def test_sim_regression(sim_build, wine, seed):
    assert not _play(sim_build, wine, seed, 1)
