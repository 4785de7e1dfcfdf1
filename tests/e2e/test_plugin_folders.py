"""Plugins of several files: `plugins/NAME/NAME.so` with libraries beside it, which are its own."""

import json
import os
import shutil
import subprocess

import pytest
from support import clients, manifests, operating

pytestmark = pytest.mark.any_engine

LIBRARY = """
#ifdef _WIN32
__declspec(dllexport)
#endif
int counter_next(void) {
    static int next = FIRST;
    return next++;
}
"""

PLUGIN = """
#include <berth/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int counter_next(void);

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    char text[32];
    if (data->size == 6 && memcmp(data->bytes, "crash!", 6) == 0) {
        abort();
    }
    int size = snprintf(text, sizeof(text), "%d\\n", counter_next());
    conn->host->send(conn, text, (uint32_t)size);
    return data->size;
}

static const struct berth_plugin plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .id = ID,
    .name = ID,
    .version = "1.0.0",
    .received = received,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &plugin;
}
"""


class Plugins:
    """A plugins folder with plugins that count by a library beside them; all of those have one name."""

    def __init__(self, system, folder):
        self.system = system
        self.folder = folder / "plugins"
        self.sources = folder / "sources"
        self.folder.mkdir()
        self.sources.mkdir()
        (self.sources / "counter.c").write_text(LIBRARY, encoding="ascii")
        (self.sources / "plugin.c").write_text(PLUGIN, encoding="ascii")
        (self.sources / "counter.map").write_text("COUNTER_1 { global: counter_next; local: *; };\n", encoding="ascii")
        self.library = "counter.dll" if system.is_windows else "libcounter.so.1"

    def compile(self, *arguments):
        compiler = "x86_64-w64-mingw32-gcc" if self.system.is_windows else "gcc"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", *map(str, arguments)], cwd=self.sources, check=True,
                       timeout=120)

    def build_library(self, path, first):
        """With a soname and a version on Linux, as packages have them: the hard case."""
        more = [] if self.system.is_windows else [f"-Wl,-soname,{self.library}", "-Wl,--version-script=counter.map"]
        self.compile(f"-DFIRST={first}", "counter.c", *more, "-o", path)

    def install(self, name, first):
        """A plugin NAME that counts from `first` on."""
        place = self.folder / name
        place.mkdir()
        self.build_library(place / self.library, first)
        self.compile(f'-DID="{name}"', "-I", self.system.dist / "plugin-api", "plugin.c", place / self.library,
                     "-o", place / f"{name}{self.system.library_suffix}")
        return place

    def replace_library(self, name, first):
        self.build_library(self.sources / self.library, first)
        os.replace(self.sources / self.library, self.folder / name / self.library)


@pytest.fixture
def plugins(system, tmp_path):
    return Plugins(system, tmp_path)


def manifest(*names, **host):
    return manifests.manifest({name: manifests.listener(name, "connect") for name in names}, **host)


def count(address):
    with clients.connect(address) as sock:
        return ask(sock)


def ask(sock):
    sock.sendall(b"x")
    return int(sock.recv(100))


def test_libraries_of_one_name_are_each_plugins_own(plugins, run_host):
    for name, first in (("ten", 10), ("twenty", 20), ("thirty", 30)):
        plugins.install(name, first)
    host = run_host(manifest("ten", "twenty", "thirty"), plugins=plugins.folder)
    for turn in range(2):
        assert [count(host.address(name)) for name in ("ten", "twenty", "thirty")] == [10 + turn, 20 + turn, 30 + turn]


def test_restart_takes_a_library_that_has_changed_beside_the_plugin(plugins, run_host, operate):
    plugins.install("ten", 10)
    host = run_host(manifest("ten"), plugins=plugins.folder)
    with clients.connect(host.address("ten")) as old:
        assert ask(old) == 10
        plugins.replace_library("ten", 500)
        assert operate().ask("restart", "ten")["replaced"] == 1
        assert count(host.address("ten")) == 500, "the new generation has the new library"
        assert ask(old) == 11, "and the old one its own"
    again = operate().ask("restart", "ten")
    assert again["replaced"] == 1 and count(host.address("ten")) == 500, "a generation more, from the start"
    clients.wait_until(lambda: host.log().count(" is gone") == 2, "no older generation stays mapped")


def test_watch_sees_a_library_that_has_changed_beside_the_plugin(plugins, run_host):
    plugins.install("ten", 10)
    host = run_host(manifest("ten"), plugins=plugins.folder, arguments=["--watch"])
    assert count(host.address("ten")) == 10
    plugins.replace_library("ten", 700)
    clients.wait_until(lambda: count(host.address("ten")) >= 700, "the change is in force")


@pytest.mark.parametrize("way", ["missing", "cut"])
def test_library_that_is_gone_after_a_crash_is_taken_from_the_copies(plugins, run_host, operate, system, way):
    """All files of the plugin are kept, as they were before they were made its own."""
    if system.is_sanitized:
        pytest.skip("a sanitizer has a handler of crashes of its own")
    place = plugins.install("ten", 10)
    host = run_host(manifest("ten"), plugins=plugins.folder, arguments=["--supervise"])
    host.expect_crash()
    assert count(host.address("ten")) == 10
    good = (place / plugins.library).read_bytes()
    if way == "missing":
        (place / plugins.library).unlink()
    else:
        (place / plugins.library).write_bytes(good[:1000])
    with clients.connect(host.address("ten")) as sock:
        sock.sendall(b"crash!")
        clients.wait_until(lambda: "the copy that ran before the crash is used" in host.log(), "the next host")
    clients.wait_until(lambda: is_counting(host.address("ten")), "it serves")
    (place / plugins.library).write_bytes(good)
    assert operate().ask("restart", "ten")["replaced"] == 1
    assert count(host.address("ten")) == 10


def is_counting(address):
    try:
        return count(address) >= 10
    except (OSError, ValueError):
        return False


def test_library_that_is_missing_is_named(plugins, berth, fail_to_start, system, tmp_path):
    (plugins.install("ten", 10) / plugins.library).unlink()
    result = fail_to_start(manifest("ten"), plugins=plugins.folder)
    assert result.code == 1 and plugins.library in result.errors and "plugins/NAME/" in result.errors, result
    path = tmp_path / "m.json"
    path.write_text(json.dumps(manifest("ten")), encoding="utf-8")
    result = berth("check", system.path(path), "--plugins", system.path(plugins.folder))
    assert result.code == 1 and plugins.library in result.errors, result


def test_library_that_a_library_needs_is_found_or_named(plugins, run_host, fail_to_start):
    """The one beside needs another one beside."""
    place = plugins.install("ten", 10)
    (plugins.sources / "counter.c").write_text("int base(void);\n" + LIBRARY.replace("FIRST;", "0;").replace(
        "next++", "base() + next++"), encoding="ascii")
    (plugins.sources / "base.c").write_text(LIBRARY.replace("counter_next(void) {", "base(void) { return FIRST; }\nint unused(void) {"),
                                            encoding="ascii")
    base = "base.dll" if plugins.system.is_windows else "libbase.so"
    plugins.compile("-DFIRST=900", "base.c", "-o", place / base)
    more = [] if plugins.system.is_windows else [f"-Wl,-soname,{plugins.library}", "-Wl,--version-script=counter.map"]
    plugins.compile("counter.c", *more, f"-L{place}", place / base, "-o", place / plugins.library)
    host = run_host(manifest("ten"), plugins=plugins.folder)
    assert count(host.address("ten")) == 900
    (place / base).unlink()
    result = fail_to_start(manifest("ten"), plugins=plugins.folder)
    assert result.code == 1 and base in result.errors, result


def test_library_by_its_soname_alone_is_found(plugins, run_host, system):
    if system.is_windows:
        pytest.skip("only ELF has sonames")
    place = plugins.install("ten", 10)
    (place / plugins.library).rename(place / "libcounter.so.1.2.3")
    host = run_host(manifest("ten"), plugins=plugins.folder)
    assert count(host.address("ten")) == 10


def test_plugin_that_is_there_in_both_ways_is_refused(plugins, fail_to_start, system):
    place = plugins.install("ten", 10)
    name = f"ten{system.library_suffix}"
    shutil.copy(place / name, plugins.folder / name)
    result = fail_to_start(manifest("ten"), plugins=plugins.folder)
    assert result.code == 1 and "remove one of them" in result.errors, result


def test_folder_within_a_plugins_folder_is_refused(plugins, fail_to_start):
    (plugins.install("ten", 10) / "more").mkdir()
    result = fail_to_start(manifest("ten"), plugins=plugins.folder)
    assert result.code == 1 and "more, which lies beside it" in result.errors, result


def test_files_of_a_plugin_are_limited_together(plugins, fail_to_start):
    with (plugins.install("ten", 10) / "data").open("wb") as file:
        file.truncate(1 << 30)
    result = fail_to_start(manifest("ten", plugin_files={"bytes_max": 16 << 20}), plugins=plugins.folder)
    assert result.code == 1 and "host.plugin_files.bytes_max" in result.errors, result


def test_library_beside_that_others_can_change_is_refused(plugins, fail_to_start, system):
    if system.is_windows:
        pytest.skip("who can change a file is not seen by its mode; the same code looks at each file")
    (plugins.install("ten", 10) / plugins.library).chmod(0o666)
    result = fail_to_start(manifest("ten"), plugins=plugins.folder)
    assert result.code == 1 and f"{plugins.library}, which lies beside it" in result.errors, result
    assert "can be written by every user" in result.errors


def test_plugin_of_several_files_is_listed_and_valid(plugins, berth, system):
    place = plugins.install("ten", 10)
    listed = berth("plugins", "--plugins", system.path(plugins.folder))
    assert listed.code == 0 and "loadable" in listed.output and "ten " in listed.output, listed
    valid = berth("plugin", "validate", system.path(place / f"ten{system.library_suffix}"), "--json")
    outcomes = {check["name"]: check["outcome"] for check in json.loads(valid.output)["checks"]}
    for check in ("library", "descriptor", "load", "listener-open", "load-cycles", "two-generations"):
        assert outcomes[check] == "passed", valid.output


def test_copies_of_several_files_are_removed(plugins, run_host, tmp_path, system):
    copies = tmp_path / "copies"
    copies.mkdir()
    plugins.install("ten", 10)
    host = run_host(manifest("ten", plugin_files={"copies": system.path(copies)}), plugins=plugins.folder)
    assert count(host.address("ten")) == 10
    assert plugins.library in {path.name for path in copies.rglob("*")}
    host.stop()
    assert not list(copies.iterdir())
