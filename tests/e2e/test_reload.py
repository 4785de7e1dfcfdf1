"""Generations: plugins and manifests that change under clients who notice nothing."""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import pytest
from support import clients, manifests, operating

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]


class World:
    """A host with a plugins folder of its own, in which versions are exchanged."""

    def __init__(self, system, folder, start):
        self.system = system
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        for each in (system.dist / "plugins").glob(f"*{system.library_suffix}"):
            shutil.copy(each, self.plugins)
        if (system.dist / "lib").exists():  # beside them, as in the folder they come from
            shutil.copytree(system.dist / "lib", folder / "lib")
        self.operator = operating.Operator(system, folder)
        self._start = start
        self.host = None

    def install(self, version, name="versioned"):
        """Puts it in place as an operator would, over the one that runs: in one step."""
        source = self.system.fixtures / "versions" / f"versioned-{version}{self.system.library_suffix}"
        shutil.copy(source, self.plugins / "new")
        os.replace(self.plugins / "new", self.plugins / f"{name}{self.system.library_suffix}")

    def run(self, manifest, **options):
        self.host = self._start(manifest, plugins=self.plugins, **options)
        return self.host

    def rewrite(self, change):
        """The manifest with change(manifest) done to it."""
        manifest = json.loads(self.host.manifest_file.read_text(encoding="utf-8"))
        change(manifest)
        text = json.dumps(manifest, indent=2)
        new = self.host.manifest_file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, self.host.manifest_file)


@pytest.fixture
def world(system, tmp_path, run_host):
    return World(system, tmp_path, run_host)


def version_of(sock):
    """The version, the count of the library's questions, of the connection's, and the config."""
    sock.sendall(b"v\n")
    line = b""
    while not line.endswith(b"\n"):
        part = sock.recv(4096)
        assert part, "the connection ended"
        line += part
    version, asked, lines, config = line.decode().split(" ", 3)
    return int(version), int(asked), int(lines), json.loads(config)


def new_version(host, name="versioned"):
    with clients.connect(host.address(name)) as sock:
        return version_of(sock)[0]


# -- restart ---------------------------------------------------------------------------------------


@pytest.mark.quick
def test_restart_old_clients_stay_and_new_ones_meet_the_new_generation(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"))
    with clients.connect(host.address("versioned")) as old:
        assert version_of(old)[:3] == (1, 1, 1)
        world.install(2)
        assert world.operator.ask("restart", "versioned")["replaced"] == 1
        with clients.connect(host.address("versioned")) as new:
            assert version_of(new)[:3] == (2, 1, 1), "statics of its own"
            assert version_of(old)[:3] == (1, 2, 2), "and the old one goes on"
            states = {(one["generation"], one["state"]) for one in world.operator.listeners()}
            assert states == {(1, "draining"), (2, "serving")}
    world.operator.wait_level(1)
    host.wait_for_log("generation 1 is gone")
    assert new_version(host) == 2


def test_restart_of_the_same_file_is_a_new_generation_too(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"))
    with clients.connect(host.address("versioned")) as old:
        assert version_of(old)[1] == 1
        world.operator.ask("restart", "--all")
        with clients.connect(host.address("versioned")) as new:
            assert version_of(new)[1] == 1 and version_of(old)[1] == 2


def test_restart_of_one_listener_leaves_the_others(world):
    world.install(1)
    host = world.run(manifests.manifest({name: manifests.listener("versioned", "connect")
                                         for name in ("a", "b")}))
    world.install(2)
    world.operator.ask("restart", "a")
    assert (new_version(host, "a"), new_version(host, "b")) == (2, 1)
    world.operator.ask("restart", "versioned")
    assert (new_version(host, "a"), new_version(host, "b")) == (2, 2)
    world.operator.wait_level(1)


@pytest.mark.parametrize("broken, message", [
    ("versioned-broken", "version 3 does not feel like it"),
    ("nothing", "the system cannot load it"),
    (None, "no plugin"),
])
def test_restart_that_fails_changes_nothing(world, broken, message):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"))
    path = world.plugins / f"versioned{world.system.library_suffix}"
    with clients.connect(host.address("versioned")) as old:
        assert version_of(old)[0] == 1
        if broken == "versioned-broken":
            world.install("broken")
        elif broken:
            path.write_bytes(b"not a library at all")
        else:
            path.unlink()
        done = world.operator.run("restart", "versioned")
        assert done.code == 1 and message in done.errors, done
        assert version_of(old)[0] == 1 and new_version(host) == 1
        assert [(one["generation"], one["state"]) for one in world.operator.listeners()] == [(1, "serving")]
    world.operator.wait_level(1)
    world.install(2)
    world.operator.ask("restart", "versioned")
    assert new_version(host) == 2


def cuts(whole, windows):
    """What a copy that is under way leaves for a moment, and the right length with zeros behind."""
    sizes = (1000, 4096, 8192, len(whole) // 2, len(whole) - 1)
    yield from (whole[:size] for size in sizes)
    if windows:
        return  # only what is for debuggers stands there, and zeros are as good
    for size in (4096, len(whole) // 2, len(whole) - 64):
        yield whole[:size] + bytes(len(whole) - size)


def test_restart_of_a_file_that_is_not_complete_changes_nothing(world, berth):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"))
    path = world.plugins / f"versioned{world.system.library_suffix}"
    whole = path.read_bytes()
    for part in cuts(whole, world.system.is_windows):
        path.write_bytes(part)
        done = world.operator.run("restart", "versioned")
        assert done.code == 1 and 'plugin "versioned"' in done.errors, done
    listed = berth("plugins", "--plugins", world.system.path(world.plugins))
    assert listed.code == 0 and "versioned" in listed.output, listed
    assert new_version(host) == 1
    path.write_bytes(whole)
    world.operator.ask("restart", "versioned")
    world.operator.wait_level(1)


@pytest.mark.plain("the sanitizer's report of the process that was to crash counts as ours")
def test_restart_to_a_plugin_that_crashes_when_it_is_loaded_changes_nothing(world):
    suffix = world.system.library_suffix
    host = world.run(manifests.manifest({"door": manifests.listener("echo", "connect")}))
    for bad in ("crash-at-load", "crash-before-load"):
        shutil.copy(world.system.fixtures / f"{bad}{suffix}", world.plugins)
        world.rewrite(lambda manifest, bad=bad: manifest["listeners"]["door"].update(plugin=bad))
        done = world.operator.run("reload")
        assert done.code == 1 and f'plugin "{bad}"' in done.errors, done
        assert world.system.is_windows or "in a process of its own first" in done.errors, done
        assert clients.is_served(host.address("door"))


def test_name_of_the_host_outlives_the_manifest_a_plugin_came_with(world, system):
    """The plugin is loaded by the second manifest, and asks after the fourth."""
    host = world.run(manifests.one("echo", "connect"))
    source = pathlib.Path(__file__).parents[1] / "abi" / "plugins" / (
        "windows-x86_64" if system.is_windows else "linux-x86_64")
    shutil.copy(source / f"abi-1-0{system.library_suffix}", world.plugins)
    world.rewrite(lambda manifest: manifest["listeners"].update(
        past=manifests.listener("abi-1-0", "connect")))
    world.operator.ask("reload")
    for limit in (70, 80):
        world.rewrite(lambda manifest, limit=limit: manifest["listeners"]["past"].update(
            limits={"connections": limit}))
        assert world.operator.ask("reload")["configured"] == 1
    with clients.connect(host.address("past")) as sock:
        sock.sendall(b"host\n")
        assert clients.receive_exactly(sock, 11) == b"host berth "


def test_listener_that_goes_and_comes_again_counts_its_generations_on(world):
    world.install(1)
    host = world.run(manifests.manifest({
        "kept": manifests.listener("echo", "connect"),
        "versioned": manifests.listener("versioned", "connect"),
    }, generations_max=2))
    text = host.manifest_file.read_text(encoding="utf-8")

    def leave_out():
        world.rewrite(lambda manifest: manifest["listeners"].pop("versioned"))
        world.operator.ask("reload")

    with clients.connect(host.address("versioned")) as first:
        assert version_of(first)[0] == 1
        leave_out()
        world.install(2)
        host.manifest_file.write_text(text, encoding="utf-8")
        world.operator.ask("reload")
        assert world.operator.serving("versioned")["generation"] == 2
        with clients.connect(host.address("versioned")) as second:
            assert version_of(second)[0] == 2, "the file has changed meanwhile"
            leave_out()
            host.manifest_file.write_text(text, encoding="utf-8")
            done = world.operator.run("reload")
            assert done.code == 1 and "host.generations_max" in done.errors, done
            assert version_of(first)[0] == 1 and version_of(second)[0] == 2
    world.operator.wait_level(1)
    world.operator.ask("reload")


def test_restart_cuts_what_has_not_finished_in_time(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect",
                                   host={"generation_drain_timeout_ms": 100}))
    with clients.connect(host.address("versioned")) as old:
        assert version_of(old)[0] == 1
        world.operator.ask("restart", "versioned")
        assert clients.receive_to_end(old) == b""
    world.operator.wait_level(1)
    assert "1 connections of generation 1 were closed at the drain deadline" in host.log()
    assert "leak" not in host.log()


def test_restart_beyond_generations_max_is_refused(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect", host={"generations_max": 3}))
    with contextlib.ExitStack() as held:
        for _ in range(2):
            sock = held.enter_context(clients.connect(host.address("versioned")))
            version_of(sock)
            world.operator.ask("restart", "versioned")
        done = world.operator.run("restart", "versioned")
        assert done.code == 1 and "host.generations_max" in done.errors, done
        assert new_version(host) == 1
    world.operator.wait_level(1)
    world.operator.ask("restart", "versioned")


def test_restart_takes_along_who_has_not_spoken_yet(world):
    """Clients that are connected and silent, in the pool or beyond it, meet the new generation."""
    world.install(1)
    host = world.run(manifests.one("versioned", "data", accept={
        "pool": {"initial": 4, "low": 4, "high": 8}, "first_data_timeout_ms": 3600000}))
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(clients.connect(host.address("versioned"))) for _ in range(40)]
        assert new_version(host) == 1
        world.install(2)
        world.operator.ask("restart", "versioned")
        assert [version_of(sock)[0] for sock in silent] == [2] * len(silent)
    world.operator.wait_level(1)


def test_restart_takes_along_who_waits_for_room(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect", limits={"connections": 2}))
    with contextlib.ExitStack() as held:
        first, second = (held.enter_context(clients.connect(host.address("versioned"))) for _ in range(2))
        assert version_of(first)[0] == version_of(second)[0] == 1
        waiting = [held.enter_context(clients.connect(host.address("versioned"))) for _ in range(5)]
        for sock in waiting:
            sock.sendall(b"v\n")
        world.install(2)
        world.operator.ask("restart", "versioned")
        assert version_of(first)[0] == 1, "the old ones count under the limit of the new generation"
        first.close()
        second.close()

        def served(sock):
            assert clients.receive_exactly(sock, 1) == b"2"
            sock.close()

        clients.in_threads([lambda sock=sock: served(sock) for sock in waiting])


def test_restart_while_paused_stays_paused(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"))
    world.operator.ask("pause", "versioned")
    with clients.connect(host.address("versioned")) as sock:
        sock.sendall(b"v\n")
        world.install(2)
        world.operator.ask("restart", "versioned")
        assert world.operator.serving("versioned")["state"] == "paused"
        world.operator.ask("resume", "versioned")
        assert clients.receive_exactly(sock, 1) == b"2"


def test_restart_of_datagrams_loses_none(world):
    """Every datagram that is sent, one at a time, is answered by one generation or the other."""
    world.install(1)
    host = world.run(manifests.manifest({
        "versioned": {"address": "127.0.0.1:0", "plugin": "versioned", "transport": "udp"}}))
    stop = threading.Event()
    seen = []

    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(host.address("versioned"))
            sock.settimeout(clients.WAIT_S)
            number = 0
            while not stop.is_set():
                sock.send(b"%d" % number)
                version, answer = sock.recv(100).split()
                assert answer == b"%d" % number
                seen.append(version)
                number += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for round_ in range(6):
            count = len(seen)
            clients.wait_until(lambda: len(seen) > count or not asking.is_alive(), "answers")
            world.install(2 if round_ % 2 == 0 else 1)
            world.operator.ask("restart", "versioned")
    finally:
        stop.set()
        asking.join(clients.WAIT_S * 2)
    assert set(seen) == {b"1", b"2"}
    world.operator.wait_level(1)


# -- restarts under load ---------------------------------------------------------------------------


class Load:
    """Clients that talk all the time, and new ones that come all the time; in a thread of its own."""

    def __init__(self, address, talking, arriving_per_s):
        self.address = address
        self.talking = talking
        self.arriving_per_s = arriving_per_s
        self.failures = []
        self.served = 0
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._stopping = True
        self._thread.join(clients.TRANSFER_S)

    async def _session(self, rounds, pause_s, number):
        reader = writer = None
        try:
            reader, writer = await asyncio.open_connection(*self.address)
            writer.write(b"v\n")
            version = (await reader.readline()).split(b" ")[0]
            for index in range(rounds):
                text = b"%d %d\n" % (number, index)
                writer.write(text)
                assert await reader.readexactly(len(text)) == text
                await asyncio.sleep(pause_s)
            writer.write(b"v\n")
            assert (await reader.readline()).split(b" ")[0] == version, "one generation to the end"
            self.served += 1
        except Exception as error:  # noqa: BLE001  (whatever it is, the client has noticed something)
            self.failures.append(repr(error))
        finally:
            if writer:
                writer.close()

    async def _talk(self, number):
        while not self._stopping:
            await self._session(5, 0.3, number)

    async def _arrive(self):
        going = set()
        begin, count = time.monotonic(), 0
        while not self._stopping:
            due = int((time.monotonic() - begin) * self.arriving_per_s)
            for _ in range(min(due - count, 100)):
                task = asyncio.create_task(self._session(1, 0, count))
                going.add(task)
                task.add_done_callback(going.discard)
            count = due
            await asyncio.sleep(0.02)
        await asyncio.gather(*going)

    async def _run(self):
        async with asyncio.TaskGroup() as group:
            for number in range(self.talking):
                group.create_task(self._talk(number))
                if number % 50 == 49:
                    await asyncio.sleep(0.02)
            group.create_task(self._arrive())


@pytest.mark.full("linux-asan", why="restarts under load are those of the other builds")
@pytest.mark.parametrize("broken_ones", [
    pytest.param(False, id="good", marks=pytest.mark.full(why="the other one has good restarts among its own")),
    pytest.param(True, id="every third broken"),
])
def test_restarts_under_load_are_noticed_by_nobody(world, system, broken_ones):
    """50 restarts with two versions in turn: not one connect refused, not one reply broken or wrong,
    every old generation unloaded, and memory and handles level at the end."""
    plain = system.name == "linux"
    talking, arriving = (1000, 500) if plain else (100, 20)
    restarts = 50 if plain or system.is_windows else 16
    world.install(1)
    pool = {"initial": 16, "low": 16, "high": 32}
    spare = 8 if not system.is_windows else 3 * pool["high"]  # accepts that the load had posted
    host = world.run(manifests.one("versioned", "connect", accept={"pool": pool},
                                   host={"generations_max": 100, "drain_timeout_ms": 60000}))
    for version in (2, 1):  # what the first restarts cost is not grown by the others
        world.install(version)
        world.operator.ask("restart", "versioned")
    world.operator.wait_level(1)
    handles = host.descriptors()
    memory = host.memory_bytes()
    failed = 0
    with Load(host.address("versioned"), talking, arriving) as load:
        clients.wait_until(lambda: load.served > talking // 10, "the load")
        for number in range(restarts):
            served = load.served
            clients.wait_until(lambda: load.served > served, "the load to go on")
            if broken_ones and number % 3 == 2:
                world.install("broken")
                done = world.operator.run("restart", "versioned")
                assert done.code == 1 and "does not feel like it" in done.errors
                failed += 1
            else:
                world.install(1 + number % 2)
                world.operator.ask("restart", "versioned")
    assert load.failures == [], (len(load.failures), load.failures[:3], load.served)
    assert load.served > 0
    status = world.operator.wait_level(1)
    assert status["listeners"][0]["generation"] == 3 + restarts - failed
    gone = host.log().count("is gone")
    assert gone == 2 + restarts, host.log()[-2000:]
    clients.wait_until(lambda: host.descriptors() <= handles + spare, lambda: f"{host.descriptors()} handles, {handles} before")
    if system.measures_memory:
        assert host.memory_bytes() < memory + 48 * 1024 * 1024


# -- reload ----------------------------------------------------------------------------------------


def test_reload_keeps_what_is_unchanged_and_opens_and_closes_the_rest(world):
    world.install(1)
    host = world.run(manifests.manifest({
        "kept": manifests.listener("versioned", "connect"),
        "going": manifests.listener("echo", "connect"),
    }))
    going = host.address("going")
    with clients.connect(host.address("kept")) as kept, clients.connect(going) as leaving:
        assert version_of(kept)[0] == 1 and clients.echo(leaving, b"x") == b"x"

        def change(manifest):
            del manifest["listeners"]["going"]
            manifest["listeners"]["coming"] = manifests.listener("versioned", "connect")

        world.rewrite(change)
        would = world.operator.ask("reload", "--dry-run")
        assert (would["added"], would["removed"], would["kept"]) == (1, 1, 1) and would["dry_run"]
        assert clients.is_served(going), "nothing has happened yet"
        world.operator.ask("reload")
        assert version_of(kept)[1] == 2, "the same library"
        assert clients.echo(leaving, b"y") == b"y", "who is there may finish"
        assert set(host.ready["listeners"]) == {"kept", "coming"}, "the ready file says what is"
        with clients.connect(host.address("coming")) as sock:
            assert version_of(sock)[0] == 1
    assert clients.is_refused(going)
    world.operator.wait_level(1)


def test_reload_of_limits_applies_to_connections_that_are_there(world):
    host = world.run(manifests.one("echo", "connect", limits={"connections": 2}))
    with contextlib.ExitStack() as held:
        socks = []
        for _ in range(2):
            socks.append(held.enter_context(clients.connect(host.address("echo"))))
            assert clients.echo(socks[-1], b"1") == b"1"
        for _ in range(2):
            socks.append(held.enter_context(clients.connect(host.address("echo"))))
            socks[-1].sendall(b"2")
        world.operator.wait_for(lambda status: status["connections"] == 2, "the limit")
        world.rewrite(lambda manifest: manifest["listeners"]["echo"]["limits"].update(
            connections=4, per_client=100, active_io=2))
        assert world.operator.ask("reload")["configured"] == 1
        assert [clients.receive_exactly(sock, 1) for sock in socks[2:]] == [b"2", b"2"]
        for sock in socks:
            assert clients.echo(sock, b"3" * 5000) == b"3" * 5000
        one = world.operator.serving("echo")
        assert one["generation"] == 1 and one["connections"] == one["connections_max"] == 4
        world.rewrite(lambda manifest: manifest["listeners"]["echo"].update(
            limits={"connections": 100}, deny=["127.0.0.9/32"]))
        world.operator.ask("reload")
        for sock in socks:
            assert clients.echo(sock, b"4") == b"4"
        with contextlib.suppress(ConnectionError):  # a reset may come within connect()
            with clients.connect_from("127.0.0.9", host.address("echo")) as denied:
                assert clients.was_reset(denied)
        assert clients.is_served(host.address("echo"))


def test_reload_of_what_a_plugin_may_leave_is_a_new_generation(world):
    """The plugin has seen it when the listener opened, and has relied on it."""
    host = world.run(manifests.one("echo", "connect"))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"1") == b"1"
        world.rewrite(lambda manifest: manifest["listeners"]["echo"].update(
            limits={"message_bytes": 1024}))
        assert world.operator.ask("reload")["replaced"] == 1
        assert clients.echo(sock, b"2") == b"2"
        with clients.connect(host.address("echo")) as other:
            assert clients.echo(other, b"3") == b"3"
        assert world.operator.serving("echo")["generation"] == 2


def test_reload_of_when_to_accept(world):
    """From first data to connect: a client that says nothing is shown to the plugin at once; back."""
    host = world.run(manifests.one("echo", "data", accept={"first_data_timeout_ms": 3600000}))
    assert clients.is_served(host.address("echo"))
    with clients.connect(host.address("echo")) as silent:
        world.rewrite(lambda manifest: manifest["listeners"]["echo"]["accept"].update(when="connect"))
        assert world.operator.ask("reload")["configured"] == 1
        with clients.connect(host.address("echo")) as other:
            world.operator.wait_for(lambda status: status["connections"] >= 1, "one who has not spoken")
            assert clients.echo(other, b"x") == b"x"
        assert clients.echo(silent, b"y") == b"y"
    world.rewrite(lambda manifest: manifest["listeners"]["echo"]["accept"].update(when="data"))
    world.operator.ask("reload")
    world.operator.wait_for(lambda status: status["connections"] == 0, "their end")
    assert clients.is_served(host.address("echo"))


def test_reload_of_a_config_is_a_new_generation(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect", config={"greeting": "one"}))
    with clients.connect(host.address("versioned")) as old:
        assert version_of(old)[3] == {"greeting": "one"}
        world.rewrite(lambda manifest: manifest["listeners"]["versioned"].update(config={"greeting": "two"}))
        assert world.operator.ask("reload")["replaced"] == 1
        with clients.connect(host.address("versioned")) as new:
            version, asked, lines, config = version_of(new)
            assert (config, asked, lines) == ({"greeting": "two"}, 2, 1), "of the same library"
        assert version_of(old)[3] == {"greeting": "one"}
        world.rewrite(lambda manifest: manifest["listeners"]["versioned"].update(config={"refuse": 1}))
        done = world.operator.run("reload")
        assert done.code == 1 and "/refuse: unknown key" in done.errors, done
        assert new_version(host) == 1


def test_reload_of_addresses_binds_the_new_one_before_the_old_one_closes(world):
    host = world.run(manifests.one("echo", "connect"))
    old = host.address("echo")
    with clients.connect(old) as sock:
        assert clients.echo(sock, b"1") == b"1"
        world.rewrite(lambda manifest: manifest["listeners"]["echo"].update(
            address=["127.0.0.1:0", "127.0.0.2:0"]))
        assert world.operator.ask("reload")["configured"] == 1
        first, second = world.operator.serving("echo")["addresses"]
        assert first == f"{old[0]}:{old[1]}", "the one that stays has kept its port"
        new = (second.rsplit(":", 1)[0], int(second.rsplit(":", 1)[1]))
        assert clients.is_served(old) and clients.is_served(new)
        world.rewrite(lambda manifest: manifest["listeners"]["echo"].update(address="127.0.0.2:0"))
        world.operator.ask("reload")
        assert clients.is_refused(old) and clients.is_served(new)
        assert clients.echo(sock, b"2") == b"2", "connections are not bound to an address that closes"


def free_addresses(count):
    """So many that nobody listens on, as a manifest says them."""
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return ["%s:%d" % sock.getsockname() for sock in socks]


def test_reload_of_addresses_that_go_from_one_listener_to_another(world):
    """A listener gets another name, two swap their ports, one gives an address away: no connect fails."""
    one, two = free_addresses(2)
    host = world.run(manifests.manifest({
        "first": manifests.listener("echo", "data", address=one),
        "other": manifests.listener("echo", "connect", address=two),
    }))
    addresses = [host.address("first"), host.address("other")]

    def serve(**listeners):
        world.rewrite(lambda manifest: manifest.update(listeners={
            name: manifests.listener("echo", when, address=address)
            for name, (when, address) in listeners.items()}))
        world.operator.ask("reload")
        assert {one["name"]: one["addresses"] for one in world.operator.listeners()
                if one["state"] != "draining"} == {
            name: address if isinstance(address, list) else [address]
            for name, (_, address) in listeners.items()}
        assert all(clients.is_served(address) for address in addresses)

    with clients.connect(addresses[0]) as silent, clients.connect(addresses[1]) as old:
        assert clients.echo(old, b"1") == b"1"
        serve(renamed=("data", one), other=("connect", two))
        assert clients.echo(silent, b"2") == b"2", "who had not spoken yet goes along"
        serve(renamed=("data", two), other=("connect", one))
        serve(renamed=("data", [two, one]))
        serve(renamed=("data", two), again=("connect", one))
        assert clients.echo(old, b"3") == b"3" and clients.echo(silent, b"4") == b"4"


def test_reload_of_an_address_that_the_host_itself_stands_in_the_way_of(world):
    (address,) = free_addresses(1)
    host = world.run(manifests.one("echo", "connect", address=address))
    world.rewrite(lambda manifest: manifest["listeners"]["echo"].update(
        address=address.replace("127.0.0.1", "0.0.0.0")))
    done = world.operator.run("reload")
    assert done.code == 1 and f'{address} is held by this host\'s listener "echo"' in done.errors, done
    assert clients.is_served(host.address("echo"))


def test_reload_of_what_is_set_on_sockets_applies_to_who_comes(world):
    host = world.run(manifests.one("echo", "connect"))
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"1") == b"1"
        for more in (
            {"no_delay": False, "socket": {"keepalive": {"idle_s": 60}, "send_buffer_bytes": 262144}},
            {"accept": {"when": "connect", "backlog": 7, "reuse_sockets": False}},
            {"socket": {"linger": "reset", "send_buffer_bytes": 131072}},
        ):
            world.rewrite(lambda manifest, more=more: manifest["listeners"]["echo"].update(more))
            assert world.operator.ask("reload")["configured"] == 1
            assert clients.is_served(host.address("echo"))
        if world.system.name == "linux" and shutil.which("ss"):  # whose system tells
            (listening, *_) = subprocess.run(
                ["ss", "-Htln", "sport", "=", str(host.address("echo")[1])], check=True,
                capture_output=True, text=True).stdout.splitlines()
            assert listening.split()[2] == "7", listening
        kept = "accept.backlog: a socket that listens keeps the backlog it was opened with"
        assert host.log().count(kept) == (1 if world.system.is_windows else 0)
        world.rewrite(lambda manifest: manifest["listeners"]["echo"].update(socket={}))
        done = world.operator.run("reload")
        assert done.code == 1 and "cannot go back to the system's default" in done.errors, done
        assert clients.echo(sock, b"2") == b"2"


def test_reload_that_cannot_be_done_changes_nothing(world):
    world.install(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = world.run(manifests.manifest({
            "a": manifests.listener("versioned", "connect"),
            "b": manifests.listener("echo", "connect", limits={"connections": 5}),
            "v6": manifests.listener("echo", "connect", address="[::1]:0"),
        }))
        good = host.manifest_file.read_text(encoding="utf-8")
        before = world.operator.listeners()

        def everything(manifest):
            """Good changes, beside each of the bad ones."""
            manifest["listeners"]["a"]["config"] = {"new": 1}
            manifest["listeners"]["b"]["limits"]["connections"] = 7
            manifest["listeners"]["c"] = manifests.listener("echo", "connect")

        for bad, code, message in [
            (lambda m: m["listeners"].update(d=manifests.listener(
                "echo", "connect", address=f"127.0.0.1:{taken.getsockname()[1]}")), 1, "address in use"),
            (lambda m: m["listeners"].update(d=manifests.listener("ecco", "connect")), 1, 'did you mean "echo"'),
            (lambda m: m["listeners"]["b"].update(acept={}), 78, 'did you mean "accept"'),
            (lambda m: m["listeners"]["a"].update(config={"refuse": 1}), 1, "/refuse: unknown key"),
            (lambda m: m["host"].update(turn={"send_bytes": 8192}), 78, "/host/turn: cannot change while the host runs"),
            (lambda m: m["host"].update(workers=7), 78, "/host/workers: cannot change while the host runs"),
            (lambda m: m["listeners"]["v6"].update(v6_only=True), 1, "cannot change while its address stays open"),
        ]:
            host.manifest_file.write_text(good, encoding="utf-8")
            world.rewrite(everything)
            world.rewrite(bad)
            done = world.operator.run("reload")
            assert done.code == code and message in done.errors, done
            after = world.operator.listeners()
            for key in ("name", "generation", "state", "addresses", "connections_max"):
                assert [one[key] for one in after] == [one[key] for one in before], (message, key)
            with clients.connect(host.address("a")) as sock:
                assert version_of(sock)[3] == {}
            assert clients.is_served(host.address("b"))
        host.manifest_file.write_text("{ nonsense", encoding="utf-8")
        assert world.operator.run("reload").code == 78
        host.manifest_file.write_text(good, encoding="utf-8")
        world.rewrite(everything)
        result = world.operator.ask("reload")
        assert (result["added"], result["replaced"], result["configured"]) == (1, 1, 1)


def test_reload_finds_a_plugin_that_was_dropped_in(world):
    host = world.run(manifests.one("echo", "connect"))
    world.install(2)
    world.rewrite(lambda manifest: manifest["listeners"].update(
        versioned=manifests.listener("versioned", "connect")))
    world.operator.ask("reload")
    address = world.operator.serving("versioned")["addresses"][0].rsplit(":", 1)
    with clients.connect((address[0], int(address[1]))) as sock:
        assert version_of(sock)[0] == 2
    assert clients.is_served(host.address("echo"))


def test_reload_from_a_plugin_that_waits_to_one_that_speaks_first(world):
    """What was posted for clients that speak first does not keep the next one waiting."""
    suffix = world.system.library_suffix
    shutil.copy(world.system.fixtures / f"speaks-first{suffix}", world.plugins)
    host = world.run(manifests.manifest({"door": manifests.listener("echo", "data")}))
    address = host.address("door")
    assert clients.is_served(address)
    world.rewrite(lambda manifest: manifest["listeners"]["door"].update(
        plugin="speaks-first", accept={"when": "connect"}))
    assert world.operator.ask("reload")["replaced"] == 1
    for _ in range(40):
        with clients.connect(address) as sock:
            assert sock.recv(1) != b""


# -- watch -----------------------------------------------------------------------------------------


def test_watch_reloads_the_manifest_and_restarts_plugins(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"), arguments=["--watch"])
    assert new_version(host) == 1
    world.install(2)
    host.wait_for_log("restart (a plugin's file has changed)")
    assert new_version(host) == 2
    world.rewrite(lambda manifest: manifest["listeners"].update(more=manifests.listener("echo", "connect")))
    host.wait_for_log("reload (the manifest has changed): 1 added")
    host.manifest_file.write_text("{", encoding="utf-8")
    host.wait_for_log("reload (the manifest has changed) failed: all goes on as before")
    world.install("broken")
    host.wait_for_log("restart (a plugin's file has changed) failed: all goes on as before")
    assert new_version(host) == 2


def replace_alike(path, content):
    """Another file under the name, of the same size and time: image layers and `rsync -t` do so."""
    before = path.stat()
    new = path.with_suffix(".alike")
    new.write_bytes(content.ljust(before.st_size, b"\0" if path.suffix != ".json" else b" "))
    assert new.stat().st_size == before.st_size
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, path)


def test_watch_sees_another_file_of_the_same_size_and_time(world):
    world.install(1)
    plugin = world.plugins / f"versioned{world.system.library_suffix}"
    with open(plugin, "ab") as file:
        file.write(bytes(65536))  # room for the other one, whatever its size
    host = world.run(manifests.one("versioned", "connect"), arguments=["--watch"])
    assert new_version(host) == 1
    replace_alike(plugin, (world.system.fixtures / "versions" / f"versioned-2{plugin.suffix}").read_bytes())
    host.wait_for_log("restart (a plugin's file has changed): ")
    assert new_version(host) == 2
    text = host.manifest_file.read_bytes()
    assert text.count(b'"versioned": {') == 1
    replace_alike(host.manifest_file, text.replace(b'"versioned": {', b'"versionee": {'))
    host.wait_for_log("reload (the manifest has changed): 1 added, 1 removed")


def test_watch_sees_a_file_that_is_rewritten_in_place_with_its_old_time(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"), arguments=["--watch"])
    before = host.manifest_file.stat()
    text = host.manifest_file.read_bytes().replace(b'"versioned": {', b'"versionee": {')
    with open(host.manifest_file, "r+b") as file:
        file.write(text)
    os.utime(host.manifest_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    host.wait_for_log("reload (the manifest has changed): 1 added, 1 removed")


def test_watch_leaves_alone_what_only_has_other_attributes(world):
    """The mode and the number of names change a file's status, and nothing that is served."""
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"), arguments=["--watch"])
    plugin = world.plugins / f"versioned{world.system.library_suffix}"
    plugin.chmod(0o700)
    os.link(plugin, world.plugins.parent / "another-name")
    world.rewrite(lambda manifest: manifest["listeners"].update(more=manifests.listener("echo", "connect")))
    host.wait_for_log("reload (the manifest has changed): 1 added")
    world.rewrite(lambda manifest: manifest["listeners"].pop("more"))
    host.wait_for_log("reload (the manifest has changed): 0 added, 1 removed")
    assert "a plugin's file has changed" not in host.log()


def test_watch_lets_a_file_be_that_is_written_slowly(world):
    world.install(1)
    host = world.run(manifests.one("versioned", "connect"), arguments=["--watch"])
    suffix = world.system.library_suffix
    whole = (world.system.fixtures / "versions" / f"versioned-2{suffix}").read_bytes()
    path = world.plugins / f"versioned{suffix}"
    with open(path, "wb", buffering=0) as file:
        file.write(whole[:len(whole) // 2])
        time.sleep(1.6)
        assert "failed" not in host.log()
        file.write(whole[len(whole) // 2:])
    host.wait_for_log("restart (a plugin's file has changed): ")
    assert new_version(host) == 2


def test_watch_tries_again_what_could_not_be_done(world):
    """A manifest before its plugin; a broken plugin beside a good one; and too many generations."""
    world.install(1)
    host = world.run(manifests.manifest({
        "versioned": manifests.listener("versioned", "connect"),
        "echo": manifests.listener("echo", "connect"),
    }, generations_max=2), arguments=["--watch"])
    suffix = world.system.library_suffix
    world.rewrite(lambda manifest: manifest["listeners"].update(
        late=manifests.listener("speaks-first", "connect")))
    host.wait_for_log("reload (the manifest has changed) failed: all goes on as before")
    shutil.copy(world.system.fixtures / f"speaks-first{suffix}", world.plugins)
    host.wait_for_log("reload (the manifest has changed): 1 added")
    with clients.connect(host.address("versioned")) as old:
        assert version_of(old)[0] == 1
        os.utime(world.plugins / f"echo{suffix}")
        world.install("broken")
        host.wait_for_log("restart (a plugin's file has changed): 0 added, 0 removed, 1 replaced")
        host.wait_for_log("restart (a plugin's file has changed) failed: all goes on as before")
        world.install(1)
        host.wait_for_log("plugin=versioned generation 4 serves")
        world.install(2)
        host.wait_for_log("(host.generations_max); generation 1 has drained for ")
    clients.wait_until(lambda: new_version(host) == 2, "the second version")


# -- what cannot be told apart ---------------------------------------------------------------------

CPP = """
#include <berth/berth.h>
%s
static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    touch();
    conn->host->send(conn, data->bytes, data->size);
    return data->size;
}
extern "C" BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    static struct berth_plugin plugin;
    plugin.magic = BERTH_PLUGIN_MAGIC;
    plugin.struct_size = sizeof(plugin);
    plugin.abi_major = BERTH_ABI_MAJOR;
    plugin.abi_minor_built = BERTH_ABI_MINOR;
    plugin.abi_draft = BERTH_ABI_DRAFT;
    plugin.id = "cpp";
    plugin.name = "C++";
    plugin.version = "1.0.0";
    plugin.received = received;
    return &plugin;
}
"""


def build_cpp(world, code):
    source = world.plugins / "cpp.cpp"
    source.write_text(CPP % code, encoding="utf-8")
    compiler = "x86_64-w64-mingw32-g++" if world.system.is_windows else "g++"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-static-libgcc", "-static-libstdc++",
                    *(["-static"] if world.system.is_windows else []),
                    "-I", world.system.dist / "plugin-api", source,
                    "-o", world.plugins / f"cpp{world.system.library_suffix}"], check=True)
    source.unlink()


@pytest.mark.linux("there is no STB_GNU_UNIQUE on Windows")
def test_restart_of_a_library_with_symbols_of_one_a_process_is_refused(world):
    build_cpp(world, "template <class T> struct shared { static int count; };"
                     "template <class T> int shared<T>::count; static void touch() { shared<int>::count++; }")
    host = world.run(manifests.one("cpp", "connect"))
    assert clients.is_served(host.address("cpp"))
    done = world.operator.run("restart", "cpp")
    assert done.code == 1 and "STB_GNU_UNIQUE" in done.errors and "count" in done.errors, done
    assert clients.is_served(host.address("cpp"))


@pytest.mark.linux("Windows unloads it, and runs no destructors of threads then")
def test_library_that_the_system_keeps_is_named(world):
    """An object of C++ that a worker's thread keeps until it ends holds the library; the host says so."""
    build_cpp(world, "struct held { int value = 1; ~held() { value = 0; } };"
                     "static void touch() { static thread_local held one; one.value++; }")
    host = world.run(manifests.one("cpp", "connect"))
    assert clients.is_served(host.address("cpp"))
    world.operator.ask("restart", "cpp")
    host.wait_for_log("closed, but its library stays mapped")
    assert "thread_local" in host.log() and clients.is_served(host.address("cpp"))
