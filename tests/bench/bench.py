"""Measures the host beside others: ./dev bench [SUITE…].

    bench.py --dist DIR --bench DIR --fixtures DIR --out DIR [--samples N] [--seconds S] [SUITE…]

Runs in a network namespace of its own where that is permitted, the server on one core and the client
on another. All servers of a case are sampled in turn, and that again and again, so that what the
machine does meanwhile happens to all of them."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

import page
import processes
import results
import sampling
from servers import NotHere
from suites import SUITES as LINUX_SUITES
from suites_windows import WINDOWS_SUITES
from windows import Build

SUITES = {**LINUX_SUITES, **WINDOWS_SUITES}
UNNAMED_SUITES = [name for name, suite in SUITES.items() if not suite.get("by_name")]
"""Those that run when none is named."""
IN_NAMESPACE = "BERTH_BENCH_NAMESPACE"


def options():
    parser = argparse.ArgumentParser(description="Measures the host beside others.")
    parser.add_argument("suites", nargs="*", metavar="SUITE",
                        help=f"{', '.join(SUITES)}; windows: all on Windows; none: all but million")
    for name in ("dist", "bench", "fixtures", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    for name in ("dist", "bench", "fixtures"):
        parser.add_argument(f"--windows-{name}", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each sample")
    parser.add_argument("--results", type=pathlib.Path, help="a text to bring up to date")
    parser.add_argument("--only", default="", help="only servers whose name matches")
    chosen = parser.parse_args()
    if chosen.samples < 1:
        parser.error(f"--samples {chosen.samples}: there must be one")
    if not 0.1 <= chosen.seconds <= 600:  # which nan is not
        parser.error(f"--seconds {chosen.seconds}: not between 0.1 and 600")
    try:
        re.compile(chosen.only)
    except re.error as error:
        parser.error(f"--only {chosen.only}: {error}")
    chosen.suites = [name for word in chosen.suites
                     for name in (WINDOWS_SUITES if word == "windows" else [word])]
    for name in chosen.suites:
        if name not in SUITES:
            parser.error(f"unknown suite \"{name}\": there are {', '.join(SUITES)}")
    return chosen


def enter_namespace():
    """Starts this program again in a network of its own, where nobody else's traffic is. Returns
    what to say of it."""
    if os.environ.get(IN_NAMESPACE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return "in a network namespace of its own"
    for flags in ("-n", "-rn"):  # the second makes do without being root
        allowed = subprocess.run(["unshare", flags, "ip", "link", "set", "lo", "up"], check=False,
                                 capture_output=True)
        if allowed.returncode == 0:
            os.environ[IN_NAMESPACE] = "1"
            os.execvp("unshare", ["unshare", flags, sys.executable, *sys.argv])
    return "in the machine's network: a namespace of its own is not permitted here"


def choose_cores():
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        sys.exit("bench: it takes two cores, one for the server and one for the client")
    return sampling.Cores(*usable[:3])


def _line(path, beginning):
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(beginning):
            return line.partition(":")[2].strip()
    return "unknown"


def describe_machine(cores):
    return {
        "processor": f"{_line('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": _line("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "cores": f"server on {cores.server}, client on {cores.client}, where nothing else is said",
    }


def first_line(*command):
    """What a program says, None when it is not there or wants nothing of it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


PACKAGES = ("libuv1-dev", "libevent-dev", "libboost-dev", "liburing-dev", "nginx-light",
            "libnginx-mod-stream", "haproxy", "apache2-bin", "redis-server", "wine64")


def commit():
    """Of the sources, and whether there is more in them than that. The results are no source."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent)]
    name = first_line(*git, "rev-parse", "--short", "HEAD")
    changed = first_line(*git, "status", "--porcelain", "--untracked-files=no", "--",
                         ":/", ":(top,exclude)tests/bench/RESULTS.md")
    return f"{name} with changes" if name and changed else name


def versions(places):
    found = {"berth": first_line(str(places.dist / "berth"), "--version"), "commit": commit(),
             "compiler": first_line("cc", "--version"),
             "compiler for Windows": first_line("x86_64-w64-mingw32-gcc", "--version")}
    found.update((name, first_line("dpkg-query", "-W", "-f", "${Version}", name)) for name in PACKAGES)
    return {name: version or "not installed" for name, version in found.items()}


# -- a suite ---------------------------------------------------------------------------------------


TURNS_MAX = 3
"""Times the samples that are wanted: so often at most, until enough of them are of one class."""
FAILURES_MAX = 2
"""Of a server in a case; then it is left alone."""


class Turns:
    """The servers of a case, one after the other, again and again."""

    def __init__(self, places, cores, case, servers, skipped):
        self.places, self.cores, self.case = places, cores, case
        self.servers = [server for server in servers if server.name not in skipped]
        self.skipped = skipped
        self.failures = {}
        self.taken = {server.name: [] for server in servers}

    def take(self, server):
        taken, failures = self.taken[server.name], self.failures.setdefault(server.name, [])
        try:
            taken.append(sampling.sample(self.places, self.cores, self.case, server))
        except (NotHere, sampling.Skipped) as reason:
            self.servers.remove(server)
            if taken:
                failures.append(str(reason))
            else:
                self.skipped[server.name] = str(reason)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            failures.append(str(error))
            if len(failures) == FAILURES_MAX:
                self.servers.remove(server)

    def lacking(self, count):
        """Who has fewer samples than wanted that can be compared."""
        kept, _ = sampling.comparable(self.taken)
        return [server for server in self.servers if len(kept[server.name]) < count]

    def run(self, count):
        for turn in range(TURNS_MAX * count):
            for server in list(self.servers) if turn < count else self.lacking(count):
                self.take(server)
                processes.end_if_asked()
                reason = self.skipped.get(server.name) or "; ".join(self.failures[server.name])
                print(f"  {self.case['name']}: {turn + 1}/{count} {server.name} {reason}",
                      file=sys.stderr, flush=True)


def add_ratios(rows):
    """To the best of the raw models, in processor time. One that has turned connections away had an
    easier time, and is compared with nobody."""
    whole = [row for row in rows if row.get("cpu_us") and row["errors"] == 0]
    raw = [row["cpu_us"] for row in whole if row["kind"] == "model"]
    for row in whole:
        if raw:
            row["ratio"] = row["cpu_us"] / min(raw)


def why_skipped(turns, kept, name):
    """Why a server has no figures, None when it has."""
    if name in turns.skipped:
        return turns.skipped[name]
    if kept[name]:
        return None
    if not turns.taken[name]:
        return f"failed: {turns.failures[name][-1]}"
    return "no sample at the core-to-core latency of the others"


def run_case(places, cores, case, servers, count):
    skipped = {}
    for server in servers:
        try:
            server.check()
        except NotHere as reason:
            skipped[server.name] = str(reason)
        if case.get("kind", server.kind) != server.kind:
            skipped[server.name] = case["reason"]
    turns = Turns(places, cores, case, servers, skipped)
    turns.run(count)
    kept, left_out = sampling.comparable(turns.taken)
    rows, latency_ns, command = [], None, ""
    for server in servers:
        row = {"name": server.name, "kind": server.kind, "wanted": count,
               "failed": turns.failures.get(server.name, [])}
        reason = why_skipped(turns, kept, server.name)
        if reason:
            row["skipped"] = reason
        else:
            row.update(sampling.medians(kept[server.name]))
            latency_ns = latency_ns or row["latency_ns"]
            command = command or " ".join(row.get("command", []))
        rows.append(row)
    add_ratios(rows)
    return {"name": case["name"], "rows": rows, "left_out": left_out, "latency_ns": latency_ns,
            "command": command, "samples": turns.taken}


def run_suite(name, places, cores, chosen):
    suite = SUITES[name]
    print(f"{name}:", file=sys.stderr)
    cases = []
    watched = any(key == "sockets" for key, _ in suite["columns"])
    for case in suite["cases"](chosen.seconds):
        case["sockets"] = watched
        servers = case.get("servers", suite["servers"])(places)
        cases.append(run_case(places, cores, case,
                              [s for s in servers if re.search(chosen.only, s.name, re.I)],
                              chosen.samples))
    return {"name": name, "title": suite["title"], "text": suite["text"],
            "columns": suite["columns"], "chart": suite["chart"], "cases": cases,
            "repeat": f"BENCH_SAMPLES={chosen.samples} BENCH_SECONDS={chosen.seconds:g} "
                      f"./dev bench {name}"}


def write(report, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (folder / "report.html").write_text(page.page(report), encoding="utf-8")


SAMPLES_MIN = 5
"""Of a run whose figures are kept."""


def failures_of(suite):
    return [f"{case['name']}, {row['name']}: {text}" for case in suite["cases"]
            for row in case["rows"] for text in row["failed"]]


def why_not_kept(suite, chosen):
    """Why the figures of a suite are not for keeping, None when they are."""
    rows = [row for case in suite["cases"] for row in case["rows"]]
    if chosen.only:
        return "not all servers took part (--only)"
    enough = SUITES.get(suite["name"], {}).get("samples_min", SAMPLES_MIN)
    if chosen.samples < enough:
        return f"{chosen.samples} samples are fewer than {enough}"
    failed = [row["name"] for row in rows if row.get("skipped", "").startswith("failed: ")]
    if failed:
        return f"failed: {', '.join(sorted(set(failed)))}"
    if not any("skipped" not in row for row in rows):
        return "nothing was measured"
    return None


def keep(report, chosen):
    """Takes over what is for keeping into the text."""
    suite = report["suites"][-1]
    reason = why_not_kept(suite, chosen)
    if reason:
        print(f"bench: {suite['name']} is not taken over into {chosen.results}: {reason}",
              file=sys.stderr)
        return
    old = chosen.results.read_text(encoding="utf-8") if chosen.results.is_file() else ""
    chosen.results.write_text(results.merged(old, {**report, "suites": [suite]}, SUITES),
                              encoding="utf-8")


def main():
    chosen = options()
    processes.end_when_asked()
    where = enter_namespace()
    cores = choose_cores()
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as work:
        places = sampling.Places(*(p.resolve() for p in (chosen.dist, chosen.fixtures,
                                                         chosen.bench)), pathlib.Path(work),
                                 Build(*(p.resolve() for p in (chosen.windows_dist,
                                                               chosen.windows_fixtures,
                                                               chosen.windows_bench))))
        report = {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": describe_machine(cores),
            "versions": versions(places),
            "notes": [where, f"samples in turn: {chosen.samples}, of {chosen.seconds:g} s each"],
            "suites": [],
        }
        for name in chosen.suites or UNNAMED_SUITES:
            report["suites"].append(run_suite(name, places, cores, chosen))
            write(report, chosen.out)
            if chosen.results:
                keep(report, chosen)
    print(f"written: {chosen.out / 'report.html'}, {chosen.out / 'report.json'}")
    failed = [text for suite in report["suites"] for text in failures_of(suite)]
    for text in failed:
        print(f"bench: failed: {text}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
