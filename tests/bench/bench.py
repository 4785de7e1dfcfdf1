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
import results
import sampling
import windows
from servers import NotHere
from suites import SUITES as LINUX_SUITES
from suites_windows import WINDOWS_SUITES
from windows import Build

SUITES = {**LINUX_SUITES, **WINDOWS_SUITES}
UNNAMED_SUITES = [name for name, suite in LINUX_SUITES.items() if not suite.get("by_name")]
"""Those that run when none is named."""
IN_NAMESPACE = "BERTH_BENCH_NAMESPACE"


def options():
    parser = argparse.ArgumentParser(description="Measures the host beside others.")
    parser.add_argument("suites", nargs="*", metavar="SUITE",
                        help=f"{', '.join(SUITES)}; windows: all on Windows; none: all on Linux")
    for name in ("dist", "bench", "fixtures", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    for name in ("dist", "bench", "fixtures"):
        parser.add_argument(f"--windows-{name}", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each sample")
    parser.add_argument("--results", type=pathlib.Path, help="a text to bring up to date")
    parser.add_argument("--only", default="", help="only servers whose name matches")
    chosen = parser.parse_args()
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


def versions(places):
    def first_line(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        except OSError:
            return "not there"
        return (done.stdout or done.stderr).strip().splitlines()[0]

    packages = ("libuv1-dev", "libevent-dev", "libasio-dev", "liburing-dev", "nginx-light", "haproxy",
                "apache2-bin", "redis-server")
    installed = {name: first_line("dpkg-query", "-W", "-f", "${Version}", name)
                 for name in packages}
    if windows.program():
        installed["wine"] = first_line("wine", "--version")
    return {"berth": first_line(str(places.dist / "berth"), "--version"),
            "compiler": first_line("cc", "--version"), **installed}


# -- a suite ---------------------------------------------------------------------------------------


def take_turns(places, cores, case, servers, count, skipped):
    """All servers one after the other, `count` times."""
    taken = {server.name: [] for server in servers}
    for turn in range(count):
        for server in servers:
            if server.name in skipped:
                continue
            try:
                taken[server.name].append(sampling.sample(places, cores, case, server))
            except (NotHere, sampling.Skipped) as reason:
                skipped[server.name] = str(reason)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                skipped[server.name] = f"failed: {error}"
            print(f"  {case['name']}: {turn + 1}/{count} {server.name}"
                  f" {skipped.get(server.name, '')}", file=sys.stderr, flush=True)
    return taken


def add_ratios(rows):
    """To the best of the raw models, in processor time. One that has turned connections away had an
    easier time, and is compared with nobody."""
    whole = [row for row in rows if row.get("cpu_us") and row["errors"] == 0]
    raw = [row["cpu_us"] for row in whole if row["kind"] == "model"]
    for row in whole:
        if raw:
            row["ratio"] = row["cpu_us"] / min(raw)


def run_case(places, cores, case, servers, count):
    skipped = {}
    for server in servers:
        try:
            server.check()
        except NotHere as reason:
            skipped[server.name] = str(reason)
        if case.get("kind", server.kind) != server.kind:
            skipped[server.name] = case["reason"]
    taken = take_turns(places, cores, case, servers, count, skipped)
    kept, left_out = sampling.comparable(taken)
    rows, latency_ns, command = [], None, ""
    for server in servers:
        row = {"name": server.name, "kind": server.kind}
        if server.name in skipped:
            row["skipped"] = skipped[server.name]
        elif not kept[server.name]:
            row["skipped"] = "no sample at the core-to-core latency of the others"
        else:
            row.update(sampling.medians(kept[server.name]))
            latency_ns = latency_ns or row["latency_ns"]
            command = command or " ".join(row.get("command", []))
        rows.append(row)
    add_ratios(rows)
    return {"name": case["name"], "rows": rows, "left_out": left_out, "latency_ns": latency_ns,
            "command": command, "samples": taken}


def run_suite(name, places, cores, chosen):
    suite = SUITES[name]
    print(f"{name}:", file=sys.stderr)
    cases = []
    for case in suite["cases"](chosen.seconds):
        servers = case.get("servers", suite["servers"])(places)
        cases.append(run_case(places, cores, case,
                              [s for s in servers if re.search(chosen.only, s.name, re.I)],
                              chosen.samples))
    return {"name": name, "title": suite["title"], "text": suite["text"],
            "columns": suite["columns"], "chart": suite["chart"], "cases": cases}


def write(report, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (folder / "report.html").write_text(page.page(report), encoding="utf-8")


def bring_up_to_date(report, path):
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    path.write_text(results.merged(old, report, SUITES), encoding="utf-8")


def main():
    chosen = options()
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
                bring_up_to_date(report, chosen.results)
    print(f"written: {chosen.out / 'report.html'}, {chosen.out / 'report.json'}")


if __name__ == "__main__":
    main()
