"""Both directions: a plugin of a later minor version on this host, and the plugins of the past on a later
host. What is later is made from the headers of today (grow.py)."""

import shutil
import subprocess

import grow
import headers
import past
import pytest
from support import manifests


@pytest.fixture(scope="session")
def later_api(tmp_path_factory):
    """The folder of headers that have grown, and their minor version."""
    folder = tmp_path_factory.mktemp("later") / "plugin-api"
    return folder, grow.grow(folder)


@pytest.fixture
def build_later(system, later_api, tmp_path):
    """build_later(REQUIRED) builds the later plugin; returns its folder."""

    def build(required):
        folder = tmp_path / "plugins"
        folder.mkdir()
        compiler = "x86_64-w64-mingw32-gcc" if system.is_windows else "gcc"
        done = subprocess.run(
            [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-g",
             f"-I{later_api[0]}", f"-DREQUIRED={required}",
             headers.TOP / "tests/abi/later_plugin.c", "-o", folder / f"later{system.library_suffix}"],
            capture_output=True, text=True, check=False,
        )
        assert done.returncode == 0, done.stderr
        return folder

    return build


def test_later_headers_have_grown_in_every_table(later_api):
    now, later = headers.structs(), headers.structs(later_api[0])
    for name, members in now.items():
        grown = "struct_size" in members
        assert list(later[name]) == [*members, *(["later_number", "later_function"] if grown else [])]


def test_later_plugin_runs_here_and_sees_what_is_not_here(run_host, build_later):
    minor_here = 0
    host = run_host(manifests.one("later", "connect"), plugins=build_later(minor_here))
    with past.Session(host.address("later")) as one:
        assert one.ask("echo") == "echo"
        told = [one.ask("tables"), one.line(), one.line()]
        assert told == ["later 0 0 0", "known 1 1 1", f"minor {minor_here} 1 0"]
        assert one.ask("query") == "query 0 1 0"
        assert [one.ask("info"), one.line()] == ["longer 1 0 1", "shorter 1 1 1"]
        told = [one.ask("connect"), one.line(), one.line()]
        assert sorted(told) == ["connect 0 -2 -7", "connect tails -7 -7 -7", "connected 0 1 0"]
        assert [one.ask("requests"), one.line()] == ["log 0 -7 0", "metric 0 -7 0"]


def test_later_plugin_that_needs_its_minor_is_refused(fail_to_start, build_later, later_api):
    minor = later_api[1]
    folder = build_later("BERTH_ABI_MINOR")
    result = fail_to_start(manifests.one("later", "connect"), plugins=folder)
    assert result.code == 1 and len(result.error_lines) == 1, result
    for part in ('"later"', f"requires ABI 1.{minor}", f"serves ABI 1.{minor - 1}"):
        assert part in result.errors, result


# -- a later host -------------------------------------------------------------------------------------

COPIED = ("host", "plugins", "examples", "config", "subprojects", "meson.build", "meson_options.txt", "plugin-api")


def _build_host(system, top):
    """A host from today's sources with headers that have grown; its folder."""
    top.mkdir()
    for name in COPIED:
        source = headers.TOP / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, top / name)
    shutil.rmtree(top / "plugin-api" / "berth")
    grow.grow(top / "plugin-api")
    options = []
    if system.is_windows:
        options = ["--cross-file", "config/cross/x86_64-w64-mingw32.ini"]
    program = system.executable(top / "build" / "host")
    for command in (
        ["meson", "setup", "build", "--prefix=/", "-Doptimization=0", "-Ddebug=false", *options],
        ["ninja", "-C", "build", f"host/{program.name}"],
    ):
        done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    dist = top / "dist"
    dist.mkdir()
    shutil.copy(program, dist)
    if (system.dist / "lib").is_dir():
        shutil.copytree(system.dist / "lib", dist / "lib")
    return dist


@pytest.fixture(scope="session")
def later_hosts():
    """Those that are built, by their systems: the fixture `system` itself is another for every test."""
    return {}


@pytest.fixture
def later_host(system, later_hosts, tmp_path_factory):
    if system.name not in later_hosts:
        top = tmp_path_factory.mktemp("later-host") / "sources"
        later_hosts[system.name] = _build_host(system, top)
    return later_hosts[system.name]


@pytest.mark.any_engine
@pytest.mark.plain
@pytest.mark.xdist_group("later host")
@pytest.mark.parametrize("name", sorted(past.EXERCISES))
def test_later_host_runs_the_past(run_host, system, later_host, tmp_path, name):
    host = run_host(past.manifest(name), plugins=past.folder(system), dist=later_host)
    past.EXERCISES[name](host, system, tmp_path)


@pytest.mark.any_engine
@pytest.mark.plain
@pytest.mark.xdist_group("later host")
def test_later_host_gives_a_later_plugin_all_of_it(run_host, system, later_host, build_later):
    """The counterpart: the later plugin is not blind, it sees what a later host has."""
    host = run_host(manifests.one("later", "connect"), plugins=build_later("BERTH_ABI_MINOR"),
                    dist=later_host)
    with past.Session(host.address("later")) as one:
        assert [one.ask("tables"), one.line()] == ["later 1 1 1", "known 1 1 1"]
