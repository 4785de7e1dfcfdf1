"""The suites on Windows, under Wine. The client is Linux's own."""

import resource

from suites import (
    BLOCK_RATE, CPU, FROM, MODELS_COLUMNS, P99, RATE, echo_cases, short_cases,
)
from windows import windows_servers

WINE_SOCKETS = 20000
WINE_SPARE = 1000
"""Descriptors of a wineserver that are no connections: its files, and sockets that wait for clients."""
SHORT_S = 0.5
"""Of a sample of short-lived connections: thousands of them."""

UNDER_WINE = (
    "Built for Windows, under Wine: the processor time is that of the server's process and of its "
    "wineserver, which does much of the work of Windows' kernel. No figure here speaks for Windows "
    "itself; side by side they say who asks the system for more.")


def _echo(seconds):
    return echo_cases(min(seconds, 1), (100, 1000), 64, "64 B")


def _short(seconds):
    return short_cases(min(seconds, SHORT_S))


def _models_suite(count, rate):
    """One for each number of connections, as each takes half an hour.

    A wineserver has a descriptor for each socket, and its host's others: what there is of them is
    tried, and no more. Who needs more than that for a connection, or too long for all of them, is
    ended, and its row says how far it came."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = (limit if limit != resource.RLIM_INFINITY else WINE_SOCKETS) - WINE_SPARE
    tried = min(count, most)
    name = f"{count:,} " + (f"at {rate:,} bytes/s a block" if rate else "flat out")
    if tried < count:
        name += f": {tried:,} of them, as one wineserver has no more sockets"

    def cases(seconds):
        client = {"-c": tried, "-s": 512, "-b": 1000, "-d": min(seconds, 1), "--from": FROM,
                  "--patience": 8}
        if rate:
            client["-r"] = rate
        return [{"name": name, "client": client, "run_s": 120}]

    return {
        "title": f"Windows: ways to wait for sockets, side by side: {count:,} connections",
        "text": UNDER_WINE + " Messages of 512 bytes, checked by content. Windows keeps its sockets "
                "in non-paged memory of the kernel; under Wine there is none to be read, and the "
                "memory of Linux's sockets stands for it. RSS is that of the server and of its "
                "wineserver, which has a descriptor for each socket, of 20,000. What has more "
                "connections than its model takes says so in its last column. What does not get so far "
                "in two minutes, or with two threads a client in 40 seconds, is ended.",
        "servers": windows_servers, "cases": cases, "chart": "cpu_us",
        "columns": MODELS_COLUMNS,
    }


def _requests(seconds):
    cases = [{"name": f"{count} × 64 B", "client": {"-c": count, "-s": 64}, "requests": (200, 1200)}
             for count in (1, 64)]
    for case in short_cases(seconds):
        if case["client"]["-c"] == 16:
            client = {name: value for name, value in case["client"].items()
                      if name not in ("-d", "--warmup")}
            cases.append({**case, "name": f"short-lived, {case['name']}", "client": client,
                          "requests": (100, 600)})
    return cases


WINDOWS_SUITES = {
    "windows-models-7000": _models_suite(7000, 0),
    "windows-models-12000": _models_suite(12000, BLOCK_RATE),
    "windows-models-46000": _models_suite(46000, BLOCK_RATE),
    "windows-echo": {
        "title": "Windows: round trips",
        "text": UNDER_WINE + " Every connection sends a message, waits for its echo, and sends the "
                "next.",
        "servers": windows_servers, "cases": _echo, "chart": "cpu_us",
        "columns": [("connected", "connected"), CPU, ("ratio", "× best raw"), RATE,
                    ("p50_us", "p50 µs"), P99, ("said", "said")],
    },
    "windows-short": {
        "title": "Windows: short-lived connections",
        "text": UNDER_WINE + " Connect, send 64 bytes, receive them, close.",
        "servers": windows_servers, "cases": _short, "chart": "cpu_us",
        "columns": [CPU, ("ratio", "× best raw"), RATE, ("p50_us", "p50 µs"), P99,
                    ("said", "said")],
    },
    "windows-requests": {
        "title": "Windows: requests to the wineserver for an echo",
        "text": "Counted in the trace of the wineserver, as the difference between a run of many "
                "echoes and one of few, each on connections of its own. A short-lived connection "
                "is one echo. Nearly every call into Windows' kernel is such a request; each is two "
                "switches between processes. Wine asks for the descriptor of an accepted socket (get_handle_fd) at every call on it, "
                "whoever calls: so there is a column without.",
        "servers": windows_servers, "cases": _requests, "chart": "requests",
        "columns": [("requests", "requests/echo"), ("requests_but_fd", "but get_handle_fd"),
                    ("said", "which")],
    },
}
