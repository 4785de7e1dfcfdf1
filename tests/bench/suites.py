"""The suites: which servers, in which cases, and which figures their tables show."""

from servers import SHORT_BYTES, berths, models, packages, peers

FROM = "127.0.0.1-127.0.0.20"
BLOCK_RATE = 200000
"""Bytes a second of a block of 1,000, as in the literature."""

CPU = ("cpu_us", "server µs/op")
RATE = ("per_second", "op/s")
P99 = ("p99_us", "p99 µs")


def _echo(seconds):
    cases = []
    for size, text in ((64, "64 B"), (16384, "16 KiB")):
        for count in (1, 64, 1000, 8000):
            client = {"-c": count, "-s": size, "-d": seconds, "--warmup": seconds / 4}
            cases.append({"name": f"{count:,} × {text}", "client": client})
    return cases


def _short(seconds):
    cases = []
    for server_closes in (False, True):
        for count in (16, 256):
            client = {"-m": "short", "-c": count, "-s": SHORT_BYTES, "-d": seconds,
                      "--warmup": seconds / 4, "--from": FROM}
            if server_closes:
                client["--server-closes"] = True
            who = "server" if server_closes else "client"
            cases.append({"name": f"{count} at once, {who} closes", "client": client,
                          "server_closes": server_closes})
    return cases


def _models(seconds):
    def case(name, count, rate, processes):
        client = {"-c": count, "-s": 512, "-b": 1000, "-d": seconds, "--from": FROM,
                  "--processes": processes}
        if rate:
            client["-r"] = rate
        if processes > 1:  # many will be left waiting, and they shall wait together
            client.update({"--connecting": 4000, "--patience": 3})
        return {"name": name, "client": client}

    return [
        case("7,000 flat out", 7000, 0, 1),
        case("12,000 at 200,000 bytes/s a block", 12000, BLOCK_RATE, 1),
        case("46,000 at 200,000 bytes/s a block", 46000, BLOCK_RATE, 4),
    ]


def _memory(seconds):
    client = {"-m": "idle", "-c": 10000, "-d": max(seconds, 2), "--from": FROM}
    return [{"name": "10,000 idle connections", "client": client}]


def _start(seconds):
    return [{"name": "from start to ready", "client": {}, "start_only": True}]


def everybody(places):
    return [*berths(places), *models(places), *peers(places), *packages()]


def ours(places):
    return [*berths(places), *models(places)]


SUITES = {
    "models": {
        "title": "Ways to wait for sockets, side by side",
        "text": "A reference server for each way, and the host. Messages of 512 bytes, checked by "
                "content. A process here may have only so many descriptors; what did not fit was "
                "refused.",
        "servers": ours, "cases": _models, "chart": "cpu_us",
        "columns": [("attempted", "attempted"), ("connected", "connected"),
                    ("memory", "RSS"), ("sockets", "kernel sockets"),
                    ("cpu_share", "CPU"), CPU, ("sent_per_second", "sent/s"),
                    ("received_per_second", "received/s"), P99, ("said", "said")],
    },
    "echo": {
        "title": "Round trips",
        "text": "Every connection sends a message, waits for its echo, and sends the next.",
        "servers": everybody, "cases": _echo, "chart": "cpu_us",
        "columns": [("connected", "connected"), CPU, ("ratio", "× best raw"), RATE,
                    ("p50_us", "p50 µs"), P99],
    },
    "short": {
        "title": "Short-lived connections",
        "text": "Connect, send 64 bytes, receive them, close.",
        "servers": everybody, "cases": _short, "chart": "cpu_us",
        "columns": [CPU, ("ratio", "× best raw"), RATE, ("p50_us", "p50 µs"), P99],
    },
    "memory": {
        "title": "Memory of idle connections",
        "text": "Each has had one echo. The process's own memory; the kernel's is beside it.",
        "servers": everybody, "cases": _memory, "chart": "memory_each",
        "columns": [("connected", "connected"), ("memory_each", "bytes each"), ("memory", "RSS"),
                    ("sockets", "kernel sockets")],
    },
    "start": {
        "title": "From start to ready",
        "text": "From the start of the process to the moment that it says where it listens.",
        "servers": everybody, "cases": _start, "chart": "start_ms",
        "columns": [("start_ms", "ms")],
    },
}
