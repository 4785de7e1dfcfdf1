"""Every service at once, for minutes: streams, floods, files, packets, timers, blocking work, outbound
connections, datagrams, clients behind a proxy, resets and half-closes in whatever mixture comes. What
it costs in memory and handles after the first while, it may cost for ever; and at the end nothing is
in use any more, which the host itself asserts when it stops."""

import contextlib
import itertools
import random
import socket
import threading
import time

import pytest
from support import clients, manifests, services

MIB = 1024 * 1024
THREADS = 12
WARM_UP_S = 20
PROXY = b"PROXY TCP4 192.0.2.%d 198.51.100.7 56324 443\r\n"


def soak_manifest():
    trusting = {"from": ["127.0.0.1/32"], "timeout_ms": 2000}
    limits = {"send_queue_bytes": 65536, "timers": 200}
    return manifests.manifest(
        {
            "services": manifests.listener("services", "connect", limits=limits, idle_timeout_ms=5000,
                                           close_timeout_ms=2000),
            "turns": manifests.listener("services", "data", limits={**limits, "active_io": 4}),
            "proxied": manifests.listener("services", "data", proxy_protocol=trusting,
                                          accept={"first_data_timeout_ms": 1000}),
            "datagrams": {"address": "127.0.0.1:0", "plugin": "datagram-echo", "transport": "udp"},
        },
        workers=2, work={"threads_max": 4, "queue_max": 64},
    )


class Soak:
    def __init__(self, host, system, path, size):
        self.host, self.path, self.size = host, system.path(path), size
        self.counts = {}
        self.failures = []
        self.stopping = threading.Event()

    def session(self, name="services", first=b""):
        one = services.Session.__new__(services.Session)
        one.sock = clients.connect(self.host.address(name))
        one.sock.sendall(first)
        one.reader = one.sock.makefile("rb")
        return contextlib.closing(one)

    # -- one thing to do, each

    def echo(self, rng):
        with self.session(rng.choice(["services", "turns"])) as one:
            for number in range(rng.randrange(1, 20)):
                assert one.ask("echo", number) == str(number)

    def slices(self, rng):
        count, size = rng.randrange(1, 17), rng.randrange(1, 16384)  # one call: no cap
        with self.session(rng.choice(["services", "turns"])) as one:
            one.send("slices", count, size)
            assert one.read(count * size) == b"x" * (count * size)

    def file(self, rng):
        with self.session() as one:
            one.send("file", self.path, 0, "all", "<", ">")
            assert len(one.read(self.size + 2)) == self.size + 2

    def file_left_early(self, rng):
        with self.session() as one:
            one.send("file", self.path, 0, "all", "<", ">")
            one.read(rng.randrange(1, 100000))
            clients.reset(one.sock)

    def file_short(self, rng):
        with self.session() as one:
            one.send("file", self.path, 0, self.size + 9, "<", ">")
            assert len(one.rest()) == self.size + 1

    def packets(self, rng):
        with self.session() as one:
            one.send("packets", self.path, 50)
            assert len(one.read(50 * 7 + 10 * 3 + 40 * 4)) == 540

    def timers(self, rng):
        with self.session() as one:
            assert one.ask("timers", 50) == "50 timers"
            assert one.ask("timer", rng.randrange(0, 50)) == "timer"
            one.send("timer", 10000)

    def work(self, rng):
        with self.session() as one:
            one.send("work", 5, 1)
            assert {one.line() for _ in range(5)} <= {"work OK", "work LIMIT"}
            one.send("work", 5, 5)  # and leave

    def connect(self, rng):
        port = self.host.address("services")[1]
        with self.session() as one:
            one.send("connect", rng.choice(["127.0.0.1", "localhost"]), port, 20000, "echo")
            assert one.line().startswith("connected ")
            one.send("connect", "127.0.0.1", 1, 20000)
            assert one.line() == "connect REFUSED"

    def connect_left_early(self, rng):
        with self.session() as one:
            one.send("connect", "localhost", self.host.address("services")[1], 20000)

    def proxied(self, rng):
        with self.session("proxied", PROXY % rng.randrange(1, 255)) as one:
            assert one.ask("who").startswith("192.0.2.")
        with self.session("proxied", b"nonsense\n") as one, contextlib.suppress(ConnectionError):
            assert one.rest() == b""

    def datagrams(self, rng):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(2)
            for number in range(20):
                sock.sendto(b"%d" % number, self.host.address("datagrams"))
            with contextlib.suppress(TimeoutError):
                for _ in range(20):
                    sock.recv(100)

    def flood(self, rng):
        with self.session(rng.choice(["services", "turns"])) as one:
            one.send("slices", 100000, 4096)
            time.sleep(rng.random() / 10)
            clients.reset(one.sock)

    def abort(self, rng):
        with self.session() as one, contextlib.suppress(ConnectionError):
            one.send("work", 2, 1)
            one.send("abort")
            one.rest()

    def half_close(self, rng):
        with self.session() as one:
            one.send("slices", 10, 10000)
            one.sock.shutdown(socket.SHUT_WR)
            assert one.rest() == b"x" * 100000

    def silent(self, rng):
        with self.session(rng.choice(["services", "turns", "proxied"])):
            time.sleep(rng.random() / 5)

    # -- all of them

    def run(self, seed):
        rng = random.Random(seed)
        things = [self.echo, self.slices, self.file, self.file_left_early, self.file_short,
                  self.packets, self.timers, self.work, self.connect, self.connect_left_early,
                  self.proxied, self.datagrams, self.flood, self.abort, self.half_close, self.silent]
        while not self.stopping.is_set() and not self.failures:
            thing = rng.choice(things)
            try:
                thing(rng)
                self.counts[thing.__name__] = self.counts.get(thing.__name__, 0) + 1
            except Exception as error:  # whatever it is, the test tells it
                self.failures.append(f"{thing.__name__}: {error!r}")


@pytest.mark.soak
def test_soak_every_service(run_host, system, tmp_path, request):
    seconds = request.config.getoption("soak")
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(1 * MIB))
    host = run_host(soak_manifest(), plugins=system.fixtures)
    soak = Soak(host, system, path, 1 * MIB)
    threads = [threading.Thread(target=soak.run, args=(seed,)) for seed in range(THREADS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    first = None
    for _ in itertools.count():
        time.sleep(0.5)
        passed = time.monotonic() - began
        if first is None and passed > min(WARM_UP_S, seconds / 3):
            first = host.memory_bytes()
        if passed > seconds or soak.failures:
            break
    soak.stopping.set()
    for thread in threads:
        thread.join(clients.TRANSFER_S)
    assert not soak.failures, (soak.failures, host.log()[-3000:])
    if system.measures_memory:  # what was left behind has its time limits
        clients.wait_until(lambda: host.descriptors() < 40, "descriptors to be closed")
    last, descriptors = host.memory_bytes(), host.descriptors()
    done = ", ".join(f"{count} {name}" for name, count in sorted(soak.counts.items()))
    print(f"{done}; memory {first / MIB:.1f} to {last / MIB:.1f} MiB, {descriptors} descriptors")
    if system.measures_memory:
        assert last - first < 24 * MIB, "memory grows"
