"""Plays random worlds of the real host on the simulated engine, a number each: see tests/sim/world.h.

A world that breaks a rule is told with the rule and with the command that plays it again.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "linux-sim" / "tests" / "simulate"
BROKEN = re.compile(r"^(\d+) (.+)$", re.MULTILINE)


def play(command, first, count, stride, stop=False, environment=None):
    """(seed, rule) for each that breaks one; the program ends with each."""
    broken = []
    seed, end = first, first + count * stride
    while seed < end:
        done = subprocess.run([*command, str(seed), str((end - seed) // stride), str(stride)], check=False,
                              capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                              env=environment)
        if done.returncode == 0:
            break
        told = BROKEN.findall(done.stdout)
        playing = re.findall(r"^playing (\d+)$", done.stdout, re.MULTILINE)
        seed = int(told[-1][0] if told else playing[-1] if playing else seed)
        broken.append((seed, told[-1][1] if told else f"a crash ({done.returncode}): {done.stderr[-2000:]}"))
        if stop:
            break
        seed += stride
    return broken


def play_all(command, first, seeds, processes, stop=False):
    with ThreadPoolExecutor(processes) as pool:
        parts = [pool.submit(play, command, first + i, len(range(i, seeds, processes)), processes, stop)
                 for i in range(processes)]
        return sorted(sum((part.result() for part in parts), []))


def main():
    parser = argparse.ArgumentParser(prog="./dev sim", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--seed", type=int, metavar="S", help="this one alone, or the first one of N")
    parser.add_argument("--trace", action="store_true", help="with everything that happens in it")
    parser.add_argument("--twice", action="store_true", help="each twice, whose traces must be the same")
    parser.add_argument("--stop", action="store_true", help="at the first that breaks a rule: `SEED rule`")
    parser.add_argument("--program", type=Path, default=PROGRAM, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trace:
        if options.seed is None:
            parser.error("--trace needs --seed")
        return subprocess.run([options.program, "--trace", str(options.seed)], check=False).returncode
    alone = options.seed is not None and "--seeds" not in sys.argv
    seeds = 1 if alone else options.seeds
    command = [options.program, *(["--twice"] if options.twice else [])]
    broken = play_all(command, options.seed or 0, seeds, min(os.cpu_count() or 1, max(seeds, 1)), options.stop)
    for seed, rule in broken[:1] if options.stop else broken:
        print(f"{seed} {rule}")
        if not options.stop:
            print(f"    again: ./dev sim --seed {seed} --trace")
    if not options.stop or not broken:
        print(f"{seeds} seeds, {len(broken)} of them break a rule")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
