"""Samples: one run of the client against one server, and what is made of many.

The server's core and the client's core are two, and how far apart they are is measured before every
sample: a virtual machine is moved about, and samples are only compared with those of its like."""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import packages
import processes

RUN_S = 300.0
SPARE_BYTES = 1 << 30
"""Of the machine's memory; a client that would leave less is ended."""
LIKE = 1.5
"""Latencies are of one class when the longest is less than so many times the shortest."""
SOCKET_CACHES = ("TCP", "TCPv6", "sock_inode_cache", "request_sock_TCP", "tcp_bind_bucket")
"""Where the kernel has its sockets."""
QUIET_S = 3.0
"""So long at most until what an earlier server and client have left is given back."""

Places = collections.namedtuple("Places", "dist fixtures bench work windows", defaults=(None,))
Cores = collections.namedtuple("Cores", "server client third", defaults=[None])


class Skipped(Exception):
    """Why a server has no sample in a case."""


def placement(cores, server):
    """The cores of the server, and those of the client: one each; or the server has two, and the
    client a third, or all share what there is."""
    if not server.shares_cores:
        return {cores.server}, {cores.client}
    two = {cores.server, cores.client}
    return two, two if cores.third is None else {cores.third}


def core_latency_ns(places, cores):
    """From core to core, by two threads that hand a cache line to each other."""
    command = [str(places.bench / "bench-latency"), str(cores.server), str(cores.client)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return float(done.stdout)


def slab_bytes(text, caches=SOCKET_CACHES):
    """Of the objects that are in use in those caches, by the words of /proc/slabinfo."""
    rows = (line.split() for line in text.splitlines())
    return sum(int(row[1]) * int(row[3]) for row in rows if row and row[0] in caches)


def buffers_bytes(text):
    """What TCP's buffers have, by the words of /proc/net/sockstat."""
    fields = next(line for line in text.splitlines() if line.startswith("TCP:")).split()
    return int(fields[fields.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")


def socket_memory_bytes():
    """What the kernel has for sockets, of the whole machine: themselves and their buffers. None where
    that may not be read."""
    try:
        slab = pathlib.Path("/proc/slabinfo").read_text(encoding="ascii")
        stat = pathlib.Path("/proc/net/sockstat").read_text(encoding="ascii")
    except OSError:
        return None
    return slab_bytes(slab) + buffers_bytes(stat)


def quiet_socket_memory_bytes():
    """The same when it has come to rest: closed sockets stay for a moment, and the free places of a
    cache count as used until it is shrunk."""
    before, ends = None, time.monotonic() + QUIET_S
    while True:
        for name in SOCKET_CACHES:
            with contextlib.suppress(OSError):
                pathlib.Path(f"/sys/kernel/slab/{name}/shrink").write_text("1", encoding="ascii")
        now = socket_memory_bytes()
        if now == before or time.monotonic() > ends:
            return now
        before = now
        time.sleep(0.1)


def difference(after, before):
    return None if after is None or before is None else after - before


def memory_facts():
    """/proc/meminfo, in bytes."""
    lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (s.partition(":") for s in lines)}


def kernel_bytes():
    """What the kernel has for itself: sockets, and all that belongs to them."""
    return memory_facts()["Slab"]


def sockets_open():
    """Those of TCP that are open here."""
    text = pathlib.Path("/proc/net/sockstat").read_text(encoding="ascii")
    fields = next(line for line in text.splitlines() if line.startswith("TCP:")).split()
    return int(fields[fields.index("inuse") + 1])


class Watch:
    """Follows the memory of a server, and of the kernel's sockets, while a client runs."""

    def __init__(self, server, sockets=False):
        self._server = server
        self._sockets = sockets
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.memory_before = server.memory_bytes()
        self.sockets_before = quiet_socket_memory_bytes() if sockets else None
        self.memory_max = self.memory_before
        self.sockets_max = self.sockets_before
        self.kernel_before = kernel_bytes()
        self.kernel_max = self.kernel_before

    def _run(self):
        while not self._ends.wait(0.2):
            with contextlib.suppress(OSError, StopIteration):
                self.memory_max = max(self.memory_max, self._server.memory_bytes())
                if self._sockets and self.sockets_before is not None:
                    self.sockets_max = max(self.sockets_max, socket_memory_bytes())
                self.kernel_max = max(self.kernel_max, kernel_bytes())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()


def client_options(case, server):
    """A rate is in bytes: a server that is asked in more of them gets as many questions a second."""
    options = {**case["client"], **server.client_options(case)}
    question = None
    if "--question" in options:
        question = options["--question"].encode().decode("unicode_escape")
    elif "--http" in options:
        question = f"GET {options['--http']} HTTP/1.1\r\nHost: bench\r\n\r\n"
    if "-r" in options and question:
        options["-r"] = options["-r"] * len(question) / options["-s"]
    return options


def head_bytes(address, path, closes):
    """How long the head of an answer is, to the question that the client asks."""
    host, _, port = address.rpartition(":")
    end = "Connection: close\r\n" if closes else ""
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{end}\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got and (more := sock.recv(65536)):
            got += more
    return len(got.partition(b"\r\n\r\n")[0]) + 4


def client_command(places, case, server, address, result):
    command = [str(places.bench / "berth-load"), "--json", str(result)]
    for name, value in client_options(case, server).items():
        command += [name] if value is True else [name, str(value)]
    for pid in server.pids()[:16]:
        command += ["--server-pid", str(pid)]
    return [*command, address]


def run_to_end(command, folder, cores, seconds):
    """What the client says on its standard error. Who wants more than there is, of memory or of time,
    is ended with all its processes, and the row tells how far it came."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        client = processes.start(command, cores, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        began, why = time.monotonic(), ""
        try:
            while not why:
                processes.end_if_asked()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    client.wait(0.2)
                    break
                if memory_facts()["MemAvailable"] < SPARE_BYTES:
                    why = f"less than {SPARE_BYTES >> 20} MiB of memory were left"
                elif time.monotonic() - began > seconds:
                    why = f"{seconds:g} s had passed"
            if why:
                raise Skipped(f"stopped with {sockets_open() // 2:,} connections: {why}")
        finally:
            processes.end(client)
        errors.seek(0)
        return errors.read()


def start_client(places, command, cores, first=False):
    """`first`: whenever it has something to do, it runs before all others on its cores, so that
    what it measures is the server and not a client beside it."""
    def run_first():
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

    return processes.start(command, cores, run_first if first else None, cwd=places.work,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish_client(process, result):
    """What it has measured."""
    try:
        _, errors = process.communicate(timeout=RUN_S)
    finally:
        processes.end(process)
    if not result.exists():
        raise RuntimeError(f"the client failed: {errors[-500:]}")
    return json.loads(result.read_text(encoding="utf-8"))


def run_client(places, cores, case, server, address):
    result = places.work / "load.json"
    result.unlink(missing_ok=True)
    command = client_command(places, case, server, address, result)
    if "arriving" in case:
        return run_beside(places, cores, case, server, address, command, result)
    allowed_s = min(case.get("run_s", RUN_S), server.run_s or float("inf"))
    errors = run_to_end(command, places.work, placement(cores, server)[1], allowed_s)
    if not result.exists():
        raise RuntimeError(f"the client failed: {errors[-500:]}")
    return json.loads(result.read_text(encoding="utf-8")), command


def run_beside(places, cores, case, server, address, command, result):
    """The client, and while it measures, new connections that are measured for themselves."""
    process = start_client(places, command, placement(cores, server)[1])
    try:
        arriving = run_arriving(places, cores, case, address, process)
    finally:
        found = finish_client(process, result)
    return {**found, "arriving": arriving}, command


def run_arriving(places, cores, case, address, beside):
    """New connections at a modest rate, on the client's core, while the client there measures."""
    for line in beside.stderr:  # its progress, once a second
        if line.startswith("measuring"):
            break
    result = places.work / "arriving.json"
    result.unlink(missing_ok=True)
    command = [str(places.bench / "berth-load"), "--quiet", "--json", str(result)]
    for name, value in case["arriving"].items():
        command += [name, str(value)]
    return finish_client(start_client(places, [*command, address], {cores.client}, first=True),
                         result)


@contextlib.contextmanager
def surroundings(places, cores, case):
    """What a case needs beside the server: a file to be served, an upstream, somebody who takes a
    share of its core. Gives the case with what has come of it."""
    made = []
    try:
        if "file" in case:
            packages.write_file(places.work / case["file"], case["file_bytes"])
        if case.get("upstream") is True:
            made.append(packages.Upstream(places, cores.client))
            case = {**case, "upstream": made[-1].address}
        if "stolen" in case:
            made.append(packages.Thief(case["stolen"], cores.server))
        yield case
    finally:
        for one in made:
            one.stop()


def sample(places, cores, case, server):
    """One run; a dictionary of figures."""
    if "requests" in case:
        return count_requests(places, cores, case, server)
    with surroundings(places, cores, case) as prepared:
        return take_sample(places, cores, prepared, server)


def count_requests(places, cores, case, server):
    """Requests to the wineserver for an echo: the difference of two runs, which differ in nothing
    but the number of echoes."""
    folder = places.work / "server"
    shutil.rmtree(folder, ignore_errors=True)
    counted = []
    try:
        address = server.start(folder, {cores.server}, case)
        for operations in case["requests"]:
            before = server.requests_made()
            run = {**case, "client": {**case["client"], "-n": operations}}
            found, command = run_client(places, cores, run, server, address)
            if found["errors"] or found["operations"] != operations:
                raise RuntimeError(f"not all was echoed: {found['first_errors']}")
            server.wait_quiet()  # it lets go of the connections
            counted.append(server.requests_made() - before)
    finally:
        server.stop()
    echoes = case["requests"][1] - case["requests"][0]
    each = {name: (counted[1][name] - counted[0][name]) / echoes
            for name in counted[1] | counted[0]}
    told = [f"{name} {count:.2f}" for name, count in sorted(each.items(), key=lambda one: -one[1])
            if count >= 0.005]
    total = sum(each.values())
    return {"latency_ns": 0.0, "requests": total, "errors": 0, "command": command,
            "requests_but_fd": total - each.get("get_handle_fd", 0), "said": ", ".join(told),
            "server": server.description(folder)}


def take_sample(places, cores, case, server):
    folder = places.work / "server"
    shutil.rmtree(folder, ignore_errors=True)
    latency_ns = core_latency_ns(places, cores)
    try:
        address = server.start(folder, placement(cores, server)[0], case)
        described = {"start_ms": server.start_seconds * 1000, "server": server.description(folder)}
        if case.get("start_only"):
            return {**latencies(latency_ns, latency_ns), **described}
        heads = {}
        if "file_bytes" in case:
            client = case["client"]
            heads["head_bytes"] = head_bytes(address, client["--http"], client.get("-m") == "short")
        if "before" in case:
            run_client(places, cores, {**case, "client": case["before"]}, server, address)
        with Watch(server, case.get("sockets")) as watch, server.while_serving(case):
            found, command = run_client(places, cores, case, server, address)
        said = server.said(folder)
    finally:
        server.stop()
    latency_after_ns = core_latency_ns(places, cores)
    connected = found["connections"]["connected"] - found["connections"]["cut"]
    operations = max(found["operations"], 1)
    seconds = max(found["seconds"], 1e-9)
    return {
        **latencies(latency_ns, latency_after_ns),
        **described,
        **heads,
        "cpu_us": found["server_cpu_seconds"] * 1e6 / operations,
        "cpu_share": found["server_cpu_seconds"] / seconds,
        "per_second": found["operations_per_second"],
        "p50_us": found["latency_us"]["p50"],
        "p99_us": found["latency_us"]["p99"],
        "max_us": found["latency_us"]["max"],
        "attempted": found["connections"]["attempted"],
        "connected": connected,
        "sent_per_second": found["bytes_sent_per_second"],
        "received_per_second": found["bytes_received_per_second"],
        "unsent": found["unsent"],
        "memory": watch.memory_max,
        "memory_each": (watch.memory_max - watch.memory_before) / max(connected, 1),
        "sockets": difference(watch.sockets_max, watch.sockets_before),
        "kernel": watch.kernel_max - watch.kernel_before,
        "held": found["connections"]["open_max"],
        "connect_s": found["connections"]["seconds"],
        "stopped": (found["first_errors"] or ["nothing"])[0],
        "errors": found["errors"],
        "first_error": (found["first_errors"] or [""])[0],
        "said": said,
        "command": command,
        "at": time.time(),
        **arriving_figures(found),
    }


def latencies(before_ns, after_ns):
    """Before and after a sample. Where the two are not alike it was neither here nor there."""
    longer, shorter = max(before_ns, after_ns), max(min(before_ns, after_ns), 0.1)
    return {"latency_ns": (before_ns + after_ns) / 2, "moved": longer / shorter >= LIKE}


def arriving_figures(found):
    """Of the new connections: from when each was due, and from its connect, to its first reply."""
    arriving = found.get("arriving")
    if not arriving:
        return {}
    return {
        "arrived": arriving["operations"],
        "arriving_p50_us": arriving["latency_us"]["p50"],
        "arriving_p99_us": arriving["latency_us"]["p99"],
        "arriving_max_us": arriving["latency_us"]["max"],
        "reply_p99_us": arriving["service_us"]["p99"],
        "errors": found["errors"] + arriving["errors"],
        "first_error": (found["first_errors"] + arriving["first_errors"] + [""])[0],
    }


# -- what is made of them --------------------------------------------------------------------------


def comparable(by_server):
    """Those samples of a case that are of one class, the one in which the servers with the fewest have
    most. Returns them, and how many were left out."""
    everything = [s for samples in by_server.values() for s in samples]
    settled = {name: [s for s in samples if not s.get("moved")] for name, samples in by_server.items()}

    def within(samples, shortest):
        limit = max(shortest, 0.1) * LIKE
        return [s for s in samples if shortest <= s["latency_ns"] < limit]

    def worth(shortest):
        counts = [len(within(settled[name], shortest))
                  for name, samples in by_server.items() if samples]
        return (min(counts, default=0), sum(counts))

    beginnings = sorted({s["latency_ns"] for samples in settled.values() for s in samples})
    best = max(beginnings, key=worth, default=0.0)
    kept = {name: within(samples, best) for name, samples in settled.items()}
    return kept, len(everything) - sum(map(len, kept.values()))


def medians(samples):
    """The median of every figure, and of the rest what the last sample has."""
    row = dict(samples[-1])
    for key, value in row.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            row[key] = statistics.median(s[key] for s in samples if s.get(key) is not None)
    row["samples"] = len(samples)
    return row
