"""What a command costs, in instructions of its process, and how that grows with its input.

Instructions are counted by valgrind: they are the same however busy the machine is.
"""

import re
import shutil
import subprocess

import pytest


def counting():
    """What a command begins with whose instructions are counted."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind, which counts instructions, is not installed")
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]


def collected(said):
    """How many they were, as it has said on standard error."""
    return int(re.search(r"Collected : (\d+)", said)[1])


def instructions(command, folder, environment=None, codes=(0,)):
    """How many instructions the command takes to its end, which must be one of these exit codes."""
    done = subprocess.run(
        [*counting(), *map(str, command)],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, check=False, timeout=300)
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode in codes, said[-2000:]
    return collected(said)


def assert_proportional(cost_of, sizes, most=2.0):
    """That cost_of(size) grows with the size, and no faster: from the smallest of four sizes, each
    twice the one before, to the largest, what one more item costs grows by less than `most`. It is
    the same all the way where the cost is proportional, a little more with n log n, and four times
    as much where it is quadratic."""
    assert len(sizes) == 4 and all(b == 2 * a for a, b in zip(sizes, sizes[1:])), sizes
    costs = [cost_of(size) for size in sizes]
    steps = [(more - less) / (b - a) for less, more, a, b in zip(costs, costs[1:], sizes, sizes[1:])]
    assert steps[0] > 0, (sizes, costs)
    assert steps[-1] < most * steps[0], f"costs {costs} at sizes {sizes}: each more costs {steps}"
