"""Work in proportion to what peers and operators give: instructions at four sizes, and no time."""

import json
import os
import signal
import subprocess

import pytest
from support import clients, cost
from support.systems import System, build_of


@pytest.fixture
def counted(request, tmp_path, wine):
    """counted(words, …) runs the program `cost` of the build for Linux, and counts."""
    builds = [text for text in request.config.getoption("system") if text.startswith("linux=")]
    if not builds:
        pytest.skip("the build for Linux is not among the systems")
    system = System(*build_of(builds[0]), wine)
    program = system.fixtures.parent / "cost" / "cost"

    class Counted:
        berth = system.dist / "berth"

        @staticmethod
        def instructions(*words):
            return cost.instructions([program, *words], tmp_path)

        @staticmethod
        def output(*words):
            return subprocess.run([program, *map(str, words)], capture_output=True, text=True,
                                  check=True, timeout=60).stdout

    return Counted


def sizes(first):
    return [first << i for i in range(4)]


@pytest.mark.parametrize("make, use", [("names", "chat"), ("networks", "clients")])
def test_cost_of_keys_that_were_chosen_to_collide_is_proportional(counted, tmp_path, make, use):
    def of(size):
        keys = tmp_path / f"keys{size}"
        keys.write_text(counted.output(make, size), encoding="ascii")
        return counted.instructions(use, size, keys)

    cost.assert_proportional(of, sizes(200))


def test_cost_of_a_proxy_header_is_proportional(counted):
    cost.assert_proportional(lambda size: counted.instructions("header", size), sizes(2000))


def test_cost_of_messages_that_others_move_is_proportional(counted, tmp_path):
    def of(size):
        box = tmp_path / f"box{size}"
        for part in ("new", "cur", "tmp"):
            (box / part).mkdir(parents=True)
        for number in range(size):
            (box / "new" / f"{1700000000 + number * 7919 % size}.M{number}.here").write_bytes(b"x\n")
        counted_now = counted.instructions("mailbox", box)
        assert not any((box / "cur").iterdir())
        return counted_now

    cost.assert_proportional(of, sizes(100))


@pytest.mark.parametrize("kind", ["same-port", "clashing"])
def test_cost_of_a_check_of_many_listeners_is_proportional(counted, tmp_path, kind):
    def of(size):
        path = tmp_path / f"{size}.json"
        path.write_text(json.dumps({"manifest": 1, "listeners": {
            f"listener{i}": {
                "plugin": "echo",
                "address": "127.0.0.1:80" if kind == "clashing" else f"127.0.{i >> 8}.{i & 255}:80",
            } for i in range(size)}}), encoding="utf-8")
        return cost.instructions([counted.berth, "check", path], tmp_path,
                                 {**os.environ, "TMPDIR": str(tmp_path)},
                                 codes=(78,) if kind == "clashing" else (0,))

    cost.assert_proportional(of, sizes(250))


class Reloaded:
    """A host under valgrind that serves so many UDP listeners, and gets other manifests by signal."""

    def __init__(self, berth, folder, command):
        self.manifest = folder / "berth.json"
        self.ready = folder / "ready"
        self._log = folder / "log"
        self._command = [*command, berth, "run", "--manifest", self.manifest, "--ready-file", self.ready]

    def write(self, names, plugin, **more):
        self.manifest.write_text(json.dumps({
            "manifest": 1, "host": {"workers": 1, "engine": "epoll", "hang_timeout_ms": 0, "control": False},
            "listeners": {name: {"plugin": plugin, "transport": "udp", "address": f"127.0.{i >> 8}.{i & 255}:4999",
                                 **more} for i, name in enumerate(names)}}), encoding="utf-8")

    def _await(self, process, condition):
        clients.wait_until(lambda: condition() or process.poll() is not None, "the host under valgrind", 120)
        assert process.poll() is None, self._log.read_text(encoding="utf-8")[-2000:]

    def run(self, *changes):
        with self._log.open("wb") as log, subprocess.Popen(
                list(map(str, self._command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log) as host:
            self._await(host, self.ready.exists)
            for number, change in enumerate(changes, 1):
                change()
                host.send_signal(signal.SIGHUP)
                self._await(host, lambda n=number: self._log.read_text(encoding="utf-8").count("reload (SIGHUP)") == n)
            host.send_signal(signal.SIGTERM)
            assert host.wait(120) == 0, self._log.read_text(encoding="utf-8")[-2000:]
        return cost.collected(self._log.read_text(encoding="utf-8"))


def test_cost_of_reloads_is_proportional_to_the_listeners(counted, tmp_path):
    """Of one that changes all of them, one that gives their addresses to others, one that adds as many, and
    one that takes those away."""
    def of(size):
        folder = tmp_path / str(size)
        folder.mkdir()
        host = Reloaded(counted.berth, folder, cost.counting())
        some, others = ([f"{word}{i}" for i in range(size)] for word in ("some", "others"))
        host.write(some, "datagram")
        return host.run(lambda: host.write(some, "datagram", config={"mode": "echo"}),
                        lambda: host.write(others, "datagram"),
                        lambda: host.write(others + some, "datagram"),
                        lambda: host.write(some, "datagram"))

    cost.assert_proportional(of, sizes(50))
