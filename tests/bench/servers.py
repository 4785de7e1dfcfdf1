"""The servers that are compared: how each is started, and when it is ready.

A server is started afresh for every sample, on the core that is meant for it."""

import contextlib
import json
import os
import pathlib
import resource
import time

import processes

START_S = 20.0
CONNECTIONS_MAX = 2000000
SHORT_BYTES = 64
"""What an echo of the suite `short` has; the plugin echo-once knows it too."""


ASIO_IDLE_BUFFER = 1024
"""Its sessions have a buffer each, 1 KiB in its examples; 16 KiB only where messages are that long."""


def is_idle(case):
    return case.get("client", {}).get("-m") == "idle"


def tables_for(count):
    """How many workers, and with how many places in a table of the ring of each, hold so many
    connections: no table is longer than the limit of descriptors, and not all get equally many."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    places = 20000 if limit == resource.RLIM_INFINITY else min(limit, 1 << 20)
    return -(-count * 10 // (places * 9)), places


class NotHere(Exception):
    """Why a server cannot take part."""


class Server:
    """One program. Subclasses say how it is started and where it listens."""

    kind = "peer"
    configurations = ()
    """The files in its folder that say how it is configured."""
    run_s = None
    """How long a client of it may take at most, where that is less than the case allows."""
    shares_cores = False
    """Whether it has all cores, and the client too where there is none left for it."""

    def __init__(self, name):
        self.name = name
        self.process = None
        self.start_seconds = None
        self.started_with = []

    def description(self, folder):
        """How it was started, for who wants to do the same."""
        files = {name: (folder / name).read_text(encoding="utf-8") for name in self.configurations
                 if (folder / name).is_file()}
        return {"command": self.started_with, "files": files}

    def check(self):
        """Raises NotHere when it cannot be started on this machine."""

    def command(self, folder, case):
        raise NotImplementedError

    def environment(self, folder):
        """What it finds in its environment beside ours."""
        return {}

    def client_options(self, case):
        """What the client must know of it: how to ask it for an echo, if it has one of its own."""
        return {}

    def while_serving(self, case):
        """What is done to it while it serves, as a context."""
        return contextlib.nullcontext()

    def find_address(self, folder):
        """Where it listens, None while it does not."""
        raise NotImplementedError

    def start(self, folder, cpus, case):
        """Starts it on those cores and waits until it serves; returns "ADDRESS:PORT"."""
        folder.mkdir(parents=True, exist_ok=True)
        command = self.started_with = self.command(folder, case)
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            began = time.monotonic()
            self.process = processes.start(command, cpus, cwd=folder, stdout=out, stderr=err,
                                           env=os.environ | self.environment(folder))
        while not (address := self.find_address(folder)):
            if self.process.poll() is not None or time.monotonic() - began > START_S:
                processes.end_if_asked()
                text = (folder / "stderr").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"{self.name} does not start: {text[-500:]}")
            time.sleep(0.0005)
        self.start_seconds = time.monotonic() - began
        return address

    def pids(self):
        """The process and its children: all that serve."""
        found, left = [], [self.process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    left += map(int, (task / "children").read_text().split())
        return found

    def memory_bytes(self):
        """What is resident of all its processes."""
        pages = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def said(self, folder):
        """What it wrote about its limits."""
        text = (folder / "stdout").read_text(errors="replace")
        return next((line for line in text.splitlines() if line.startswith("refused")), "")

    def stop(self):
        if self.process:
            processes.end(self.process)
            self.process = None


class Program(Server):
    """A reference server or a peer of ours: it says where it listens."""

    def __init__(self, name, path, kind, idle_buffer_bytes=0):
        super().__init__(name)
        self.path = pathlib.Path(path)
        self.kind = kind
        self.idle_buffer_bytes = idle_buffer_bytes

    def check(self):
        if not self.path.is_file():
            raise NotHere(f"{self.path.name} was not built")

    def command(self, folder, case):
        close_after = SHORT_BYTES if case.get("server_closes") else 0
        idle = is_idle(case) and self.idle_buffer_bytes
        return [str(self.path), "--port", "0", "--close-after", str(close_after),
                *(["--buffer", str(self.idle_buffer_bytes)] if idle else [])]

    def find_address(self, folder):
        text = (folder / "stdout").read_text(errors="replace")
        if "listening on " in text and text.endswith("\n"):
            return text.split("listening on ")[1].splitlines()[0]
        return None


class Berth(Server):
    """The host with the echo plugin, on one worker if nothing else is said; where a case has more
    connections than descriptors, on several, without descriptors (host.direct_descriptors)."""

    kind = "berth"
    executable = "berth"
    configurations = ("berth.json",)

    def path(self, path):
        """In its own words."""
        return str(path)

    def __init__(self, dist, fixtures, when, engine="auto", workers=1):
        name = f"berth, {when}" + (f", {engine}" if engine != "auto" else "")
        super().__init__(name)
        self.dist, self.fixtures, self.when, self.engine = dist, fixtures, when, engine
        self.workers = workers

    def check(self):
        if not (self.dist / self.executable).is_file():
            raise NotHere("it was not built")

    def plugin(self, case, folder):
        """Which one, and its configuration."""
        return "echo-once" if case.get("server_closes") else "echo", {}

    def command(self, folder, case):
        plugin, config = self.plugin(case, folder)
        limits = {"connections": CONNECTIONS_MAX, "per_client": CONNECTIONS_MAX}
        accept = {"when": self.when, "backlog": 4096, "first_data_timeout_ms": 60000}
        if plugin == "proxy":
            limits["outbound"] = CONNECTIONS_MAX
        listener = {"address": "127.0.0.1:0", "plugin": plugin, "accept": accept, "limits": limits,
                    "config": config}
        host = {"workers": self.workers, "engine": self.engine, "limits": {"connections": CONNECTIONS_MAX},
                "log": {"level": "error"}}
        if "tables_for" in case:
            host["workers"], host["direct_descriptors"] = tables_for(case["tables_for"])
        manifest = {"manifest": 1, "host": host, "listeners": {"echo": listener}}
        (folder / "berth.json").write_text(json.dumps(manifest), encoding="utf-8")
        (folder / "ready.json").unlink(missing_ok=True)
        plugins = self.fixtures if plugin == "echo-once" else self.dist / "plugins"
        return [str(self.dist / self.executable), "run", "--manifest", "berth.json",
                "--ready-file", "ready.json", "--plugins", self.path(plugins)]

    def find_address(self, folder):
        with contextlib.suppress(OSError, ValueError, KeyError):
            ready = json.loads((folder / "ready.json").read_text(encoding="utf-8"))
            return ready["listeners"]["echo"]["addresses"][0]
        return None


def berths(places):
    return [Berth(places.dist, places.fixtures, when) for when in ("connect", "data")]


def models(places):
    return [Program(f"model {name}", places.bench / f"model-{name}", "model")
            for name in ("uring", "epoll", "poll", "select", "threads")]


def peers(places):
    return [Program("libuv", places.bench / "peer-libuv", "peer"),
            Program("libevent", places.bench / "peer-libevent", "peer"),
            Program("Boost.Asio", places.bench / "peer-asio", "peer", ASIO_IDLE_BUFFER)]
