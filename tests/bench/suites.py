"""The suites: which servers, in which cases, and which figures their tables show."""

from packages import (echoes_in_workers, http_in_workers, http_servers, others, proxies,
                      restarted, web_servers)
from servers import SHORT_BYTES, berths, models, peers

FROM = "127.0.0.1-127.0.0.20"
MANY_FROM = "127.0.0.1-127.0.1.250"
DESCRIPTORS = 18000
"""Of a process, that one may count on: a client or a server with more connections takes other ways."""
ARRIVALS = 500
"""New connections a second, where others saturate the server."""

BLOCK_RATE = 200000
"""Bytes a second of a block of 1,000, as in the literature."""

CPU = ("cpu_us", "server µs/op")
RATE = ("per_second", "op/s")
P99 = ("p99_us", "p99 µs")
MAX = ("max_us", "max µs")


def echo_cases(seconds, counts, size, text):
    return [{"name": f"{count:,} × {text}",
             "client": {"-c": count, "-s": size, "-d": seconds, "--warmup": seconds / 4}}
            for count in counts]


def _echo(seconds):
    return [case for size, text in ((64, "64 B"), (16384, "16 KiB"))
            for case in echo_cases(seconds, (1, 64, 1000, 8000), size, text)]


def short_cases(seconds):
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
        more = {"tables_for": count} if count > DESCRIPTORS else {}
        return {"name": name, "client": client, **more}

    return [
        case("7,000 flat out", 7000, 0, 1),
        case("12,000 at 200,000 bytes/s a block", 12000, BLOCK_RATE, 1),
        case("46,000 at 200,000 bytes/s a block", 46000, BLOCK_RATE, 4),
    ]


def _idle(count, seconds):
    """Source addresses are many: the system looks long for a free port where most are taken."""
    client = {"-m": "idle", "-c": count, "-d": max(seconds, 2), "--from": FROM}
    case = {"name": f"{count:,} idle connections", "client": client,
            "before": {"-c": 50, "-s": 64, "-n": 1000}}
    if count > DESCRIPTORS:
        client.update({"--processes": -(-count // DESCRIPTORS), "--from": MANY_FROM,
                       "--connecting": 400, "--patience": 60})
        case.update({"tables_for": count, "kind": "berth", "run_s": 900,
                     "reason": "holds no more connections than a process may open descriptors"})
    return case


def _memory(seconds):
    return [_idle(10000, seconds), _idle(100000, seconds)]


def _million(seconds):
    return [_idle(1000000, seconds)]


def _start(seconds):
    return [{"name": "from start to ready", "client": {}, "start_only": True}]


def _http(seconds):
    cases = []
    for size, text, count in ((1 << 10, "1 KiB", 64), (100 << 10, "100 KiB", 64),
                              (10 << 20, "10 MiB", 8)):
        for mode, how in (("echo", "keep-alive"), ("short", "a connection each")):
            name = text.replace(" ", "")
            client = {"-m": mode, "-c": count, "--http": f"/{name}", "--body": f"www/{name}",
                      "-d": seconds, "--warmup": seconds / 4, "--from": FROM}
            if mode == "short":
                client["--server-closes"] = True
            cases.append({"name": f"{text}, {how}", "client": client, "file": f"www/{name}",
                          "file_bytes": size})
    return cases


def _proxy(seconds):
    cases = []
    for size, text in ((64, "64 B"), (65536, "64 KiB")):
        client = {"-c": 64, "-s": size, "-d": seconds, "--warmup": seconds / 4}
        cases.append({"name": f"64 × {text}", "client": client, "upstream": True})
    return cases


def _restart(seconds):
    client = {"-m": "short", "-c": 16, "-s": SHORT_BYTES, "-d": max(4 * seconds, 4),
              "--warmup": seconds / 4, "--from": FROM}
    return [{"name": "16 short-lived at once", "client": client}]


def _stolen(seconds):
    client = {"-c": 64, "-s": 64, "-b": 64, "-r": 64 * 20000, "-d": seconds,
              "--warmup": seconds / 4}
    return [{"name": "64 × 64 B, 20,000 a second", "client": client, "stolen": 0.2}]


def _arriving(seconds):
    """The one with the connections that stay says once a second where it stands, and must outlast
    the other one."""
    cases = []
    for size, text in ((64, "64 B"), (16384, "16 KiB")):
        client = {"-c": 1000, "-s": size, "-d": seconds + 2, "--warmup": seconds / 4}
        arriving = {"-m": "short", "-c": 64, "-s": SHORT_BYTES, "-d": seconds,
                    "--connect-rate": ARRIVALS, "--from": FROM}
        cases.append({"name": f"{ARRIVALS} a second, beside 1,000 × {text}", "client": client,
                      "arriving": arriving})
    return cases


def _workers(seconds):
    echo = {"-c": 1000, "-s": 64, "-d": seconds, "--warmup": seconds / 4}
    short = {"-m": "short", "-c": 256, "-s": SHORT_BYTES, "-d": seconds, "--warmup": seconds / 4,
             "--from": FROM}
    get = {"-c": 1000, "--http": "/1KiB", "--body": "www/1KiB", "-d": seconds,
           "--warmup": seconds / 4}
    return [{"name": "1,000 × 64 B", "client": echo},
            {"name": "256 short-lived at once", "client": short},
            {"name": "1,000 × 1 KiB over HTTP, keep-alive", "client": get, "file": "www/1KiB",
             "file_bytes": 1 << 10, "servers": http_in_workers}]


def everybody(places):
    return [*berths(places), *models(places), *peers(places), *others(places)]


def everybody_small(places):
    """The host and those that echo as it does, each in one thread."""
    return [*berths(places), *(m for m in models(places) if m.name in ("model uring", "model epoll")),
            *peers(places)]


def everybody_with_files(places):
    return [*everybody(places), *web_servers(places)]


def ours(places):
    return [*berths(places), *models(places)]


MODELS_COLUMNS = [
    ("attempted", "attempted"), ("connected", "connected"), ("memory", "RSS"),
    ("sockets", "kernel, both ends"), ("cpu_share", "CPU"), CPU, ("sent_per_second", "sent/s"),
    ("received_per_second", "received/s"), P99, ("said", "said"),
]
"""Of the literature's table 6-3, on both systems."""

SUITES = {
    "models": {
        "title": "Ways to wait for sockets, side by side",
        "text": "A reference server for each way, and the host. Messages of 512 bytes, checked by "
                "content. A process here may have only so many descriptors; what did not fit was "
                "refused. Where there are more connections than those, the host keeps them in the "
                "tables of its workers' rings (host.direct_descriptors). What the kernel has for "
                "sockets is that of both ends, which are on one machine: the sockets themselves and "
                "the most that their buffers had.",
        "servers": ours, "cases": _models, "chart": "cpu_us",
        "columns": MODELS_COLUMNS,
    },
    "echo": {
        "title": "Round trips",
        "text": "Every connection sends a message, waits for its echo, and sends the next. nginx and "
                "HAProxy do not echo: asked by HTTP, they return 64 bytes that their configuration "
                "has.",
        "servers": everybody, "cases": _echo, "chart": "cpu_us",
        "columns": [("connected", "connected"), CPU, ("ratio", "× best raw"), RATE,
                    ("p50_us", "p50 µs"), P99],
    },
    "short": {
        "title": "Short-lived connections",
        "text": "Connect, send 64 bytes, receive them, close. nginx and HAProxy are asked by HTTP, "
                "and return 64 bytes.",
        "servers": everybody, "cases": short_cases, "chart": "cpu_us",
        "columns": [CPU, ("ratio", "× best raw"), RATE, ("p50_us", "p50 µs"), P99],
    },
    "arriving": {
        "title": "New connections while others saturate the server",
        "text": "1,000 connections send a message, wait for its echo, and send the next, as fast as "
                "the server answers. Meanwhile others arrive at a fixed rate, send 64 bytes, receive "
                "them and close: their time to the reply, from when each was due, and from its "
                "connect. Both clients are on one core, where the second one goes first.",
        "servers": everybody_small, "cases": _arriving, "chart": "arriving_p99_us",
        "columns": [("arrived", "arrived"), ("arriving_p50_us", "p50 µs"),
                    ("arriving_p99_us", "p99 µs"), ("arriving_max_us", "max µs"),
                    ("reply_p99_us", "p99 µs from connect"), RATE, CPU, ("p99_us", "their p99 µs")],
    },
    "http": {
        "title": "Static files over HTTP",
        "text": "Requests on connections that stay, and a connection for each, which the server "
                "ends. Every body is compared with the file. Logging is off everywhere. The heads of "
                "the host and of nginx are made equally long by a field in each: nginx says "
                "`Connection: keep-alive` and cannot be kept from it. HAProxy serves no files: it "
                "returns one it has in memory.",
        "servers": http_servers, "cases": _http, "chart": "cpu_us",
        "columns": [CPU, RATE, ("received_per_second", "received/s"), ("head_bytes", "head, bytes"),
                    ("p50_us", "p50 µs"), P99],
    },
    "proxy": {
        "title": "Passing on",
        "text": "Round trips through a proxy to the raw io_uring echo server, which is on the "
                "client's core. The processor time is the proxy's.",
        "servers": proxies, "cases": _proxy, "chart": "cpu_us",
        "columns": [CPU, RATE, ("p50_us", "p50 µs"), P99],
    },
    "restart": {
        "title": "Restarts of a plugin in service",
        "text": "The longest that any client waited, from its connect to the end of its "
                "connection, while the plugin is restarted again and again, and while it is not.",
        "servers": restarted, "cases": _restart, "chart": "max_us",
        "columns": [RATE, ("p50_us", "p50 µs"), P99, MAX, ("errors", "errors")],
    },
    "stolen": {
        "title": "A fifth of the core taken by somebody else",
        "text": "Round trips at a fixed rate, whose latency counts from when each was due, while "
                "another process takes 2 ms of every 10 ms of the server's core.",
        "servers": everybody, "cases": _stolen, "chart": "p99_us",
        "columns": [CPU, RATE, ("p50_us", "p50 µs"), P99, MAX],
    },
    "workers": {
        "title": "Two workers on two cores",
        "text": "What an operation costs one worker (thread, process) and what it costs two. On a "
                "machine of two cores there is none left for the client, which then shares both: so "
                "one worker is measured there, too, to compare the two with.",
        "servers": echoes_in_workers, "cases": _workers, "chart": "cpu_us",
        "columns": [CPU, ("cpu_share", "CPU"), RATE, ("p50_us", "p50 µs"), P99],
    },
    "memory": {
        "title": "Memory of idle connections",
        "text": "Each has had one echo, or one answer of HTTP with 64 bytes. The process's own memory, "
                "over what it had after a thousand echoes of 50 connections; the kernel's, of both "
                "ends, is beside it. Those beyond the descriptors of a process are in the tables of "
                "several workers' rings. What others need a connection for: a session of Boost.Asio "
                "has a buffer, of 1 KiB here as in its examples; one of libevent has two of its "
                "buffers and four events; one of httpd mod_echo has a thread, so there are 1,000; "
                "HAProxy wants two descriptors for each, so there are 9,900.",
        "servers": everybody_with_files, "cases": _memory, "chart": "memory_each",
        "columns": [("connected", "connected"), ("memory_each", "bytes each"), ("memory", "RSS"),
                    ("sockets", "kernel, both ends")],
    },
    "million": {
        "title": "A million connections",
        "text": "Each has had one echo, and then stays. Client and server are on one machine, whose "
                "memory has both ends of each. Runs only when it is named: a sample takes minutes and "
                "nearly all of the memory; one is kept, as it tells what is held, and no speed.",
        "servers": berths, "cases": _million, "chart": "memory_each", "by_name": True,
        "samples_min": 1,
        "columns": [("attempted", "attempted"), ("connected", "connected"), ("held", "held"),
                    ("stopped", "stopped by"), ("memory_each", "bytes each"), ("memory", "RSS"),
                    ("kernel", "kernel"), ("connect_s", "seconds to connect")],
    },
    "start": {
        "title": "From start to ready",
        "text": "From the start of the process to the moment that it says where it listens.",
        "servers": everybody_with_files, "cases": _start, "chart": "start_ms",
        "columns": [("start_ms", "ms")],
    },
}
