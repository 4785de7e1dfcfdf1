"""Work in proportion to what peers and operators give: instructions at four sizes, and no time."""

import json
import os
import subprocess

import pytest
from support import cost
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
