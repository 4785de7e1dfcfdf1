"""Plants the faults of mutants/*.patch, one at a time, and looks whether they are found.

A patch is a fault of a line or two, with a sentence above it that says what is wrong. It is applied
to a copy of the tree, where only the programs that look for it are built: the simulator, and the
tests in memory for what that misses. The table says which rule or test has found each mutant, and
how many seeds that took.

The result is 0 if FOUND_LEAST of the mutants were found.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = Path(__file__).resolve().parent / "mutants"
FOUND_LEAST = 0.95
CPU_S = 40  # of one program; a machine that is busy takes
BUSY = 20  # times as long
SEEDS = 300  # of the simulator
WORLDS = 100  # of a test that plays worlds by seeds, too

# On engines in memory, so that they are quick. The first ones play worlds by seeds, the last one
# plays whole lives of a host.
TESTS = ("test_sim_services", "test_sim_server", "test_connection", "test_connection_memory",
         "test_connection_io_permit", "test_connection_cancel", "test_describe", "test_plugin_slice",
         "test_outbound", "test_accept_pool", "test_answers", "test_send_queue", "test_timers",
         "test_client_table", "test_work_pool", "test_buffer", "test_driven", "test_newcomers",
         "test_steady", "test_failing_allocations")
PLUGINS = ("echo", "datagram", "http")  # that those load


def run(command, cwd, cpu_s=None):
    """The exit code, or None without an end in so much time of a processor; and what it said."""
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                              timeout=cpu_s and cpu_s * BUSY,
                              preexec_fn=cpu_s and (lambda: resource.setrlimit(
                                  resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))))
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode("utf-8", "replace")
    return None if done.returncode == -signal.SIGXCPU else done.returncode, done.stdout


def reason(output):
    """Where and why a program in C has failed first: at a check of the test, or of the host."""
    test = re.search(r"\[ RUN      \] (test_\w+)(?:(?!\[       OK).)*?"
                     r"(?:/(\w+\.[ch]:\d+): error|"
                     r"defect in the host: \S*?(\w+\.[ch]:\d+: [^\n]{1,120}))", output, re.DOTALL)
    running = re.findall(r"\[ RUN      \] (test_\w+)", output)
    if test:
        return f"{test[1]}: {test[2] or test[3]}"
    return f"{running[-1]}: a crash" if running else "a crash"


class Tree:
    """A copy of the tree with a build of what looks for mutants."""

    def __init__(self, folder):
        self.source = folder / "tree"
        self.build = folder / "build"

    def update(self):
        """The files as they are now; those that have not changed are left alone, for ninja."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
            check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
        for name in filter(None, listed):
            source, copy = ROOT / name, self.source / name
            if source.is_file() and not (
                    copy.is_file() and copy.read_bytes() == source.read_bytes()):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
        if not (self.build / "build.ninja").exists():
            compiler = "ccache cc" if shutil.which("ccache") else "cc"
            code, output = run(
                ["env", f"CC={os.environ.get('CC', compiler)}", "meson", "setup", self.build,
                 self.source, "-Dtests=true", "-Dchecks=enabled", "-Doptimization=1"], ROOT)
            if code != 0:
                sys.exit(f"mutants: no build:\n{output[-2000:]}")

    def compile(self, *names):
        return run(["ninja", "-C", self.build, *(f"tests/{name}" for name in names),
                    *(f"plugins/{name}.so" for name in PLUGINS)], self.source)

    def patch(self, patch, *options):
        return run(["git", "apply", *options, patch], self.source)

    def simulate(self):
        """The rule that a world breaks, and how many seeds that took; None: none does."""
        code, output = self.compile("simulate")
        if code != 0:
            return f"it does not compile: {output.strip()[-500:]}"
        code, output = run([self.build / "tests" / "simulate", "0", str(SEEDS)], self.source,
                           CPU_S)
        seeds = len(re.findall(r"^playing ", output, re.MULTILINE))
        broken = re.search(r"^\d+ (.+)$", output, re.MULTILINE)
        if code is None:
            return f"{seeds} seeds: a world does not end"
        return None if code == 0 else f"{seeds} seeds: {broken[1] if broken else 'a crash'}"

    def test(self):
        """The test that fails; None: none does."""
        code, output = self.compile(*TESTS)
        if code != 0:
            return f"it does not compile: {output.strip()[-500:]}"
        for name in TESTS:
            code, output = run(["env", f"BERTH_TEST_SEEDS={WORLDS}", self.build / "tests" / name],
                               self.source, CPU_S)
            worlds = len(re.findall(r"^seed ", output, re.MULTILINE))
            after = f"after {worlds} worlds: " if worlds else ""
            if code is None:
                return f"{after}{name} does not end"
            if code != 0:
                return f"{after}{reason(output)}"
        return None


def try_mutant(tree, patch):
    """(what found it or None, what else there is to say)"""
    code, output = tree.patch(patch)
    if code != 0:
        return None, f"the patch does not apply: {output.strip()}"
    try:
        found = tree.simulate() or tree.test()
    finally:
        tree.patch(patch, "--reverse")
    return (None, found) if found and found.startswith("it does not compile") else (found, "")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("names", nargs="*", help="of mutants; all, when there are none")
    options = parser.parse_args()
    patches = sorted(MUTANTS.glob("*.patch"))
    unknown = set(options.names) - {patch.stem for patch in patches}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    if options.names:
        patches = [patch for patch in patches if patch.stem in options.names]
    tree = Tree(options.folder.resolve())
    tree.update()
    found = tree.simulate() or tree.test()
    if found:
        sys.exit(f"mutants: something is wrong without any: {found}")
    missed = []
    by_seeds = 0
    for patch in patches:
        began = time.monotonic()
        found, why = try_mutant(tree, patch)
        print(f"{patch.stem:36} {found or why or 'NOT FOUND'} ({time.monotonic() - began:.0f} s)",
              flush=True)
        by_seeds += bool(re.match(r"\d+ seeds: ", found or ""))
        if not found:
            missed.append((patch, why))
    print(f"\n{len(patches) - len(missed)} of {len(patches)} mutants found, {by_seeds} of them by "
          "the simulator")
    for patch, why in missed:
        print(f"  {patch.stem}: {patch.read_text(encoding='utf-8').splitlines()[0]} {why}")
    return 0 if len(missed) <= (1 - FOUND_LEAST) * len(patches) else 1


if __name__ == "__main__":
    sys.exit(main())
