"""The house style, as far as a machine can see it. Runs once, whatever builds are under test."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from support import include_graph

TOP = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 800

# Includes point one way: a folder may include those that stand behind it here.
LAYERS = ["control", "devkit", "command", "manifest", "plugin", "net", "engine", "os", "base"]


def _sources(*folders, endings=(".c", ".h")):
    return sorted(p for f in folders for p in (TOP / f).rglob("*") if p.suffix in endings)


SOURCES = _sources("examples", "host", "plugin-api", "plugins", "tests")


def _relative(path):
    return str(path.relative_to(TOP))


def _tool(name):
    return shutil.which(name) or pytest.fail(f"{name} is not installed")


def test_style_sources_are_formatted():
    result = subprocess.run([_tool("clang-format"), "--dry-run", "-Werror", *SOURCES],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"run ./dev fmt\n{result.stderr[:4000]}"


def test_style_files_are_short():
    long = [_relative(path) for path in SOURCES if path.read_text(encoding="utf-8").count("\n") > LINES_MAX]
    assert not long, "split them by their ideas"


def test_style_files_have_no_tabs():
    assert not [_relative(path) for path in SOURCES if "\t" in path.read_text(encoding="utf-8")]


def _may_know_the_system(path):
    name = _relative(path)
    return (
        re.search(r"host/(os/os_|engine/(iocp|linux|uring|epoll)/)", name)
        or name == "plugin-api/berth/abi.h"
        or re.search(r"plugins/.*_(linux|windows)\.c$", name)
        or re.search(r"tests/.*(linux_|_linux|_windows|iocp|winsock)", name)
    )


SYSTEM_WORDS = re.compile(
    r"#\s*(if|ifdef|ifndef|elif).*(_WIN32|__linux__|__MINGW)|"
    r"#\s*include\s*<(windows|winsock2|unistd|pthread|sys/(socket|mman|epoll|stat)|liburing)\.?h?"
)


def test_style_only_files_of_a_system_know_it():
    found = {_relative(path): SYSTEM_WORDS.search(path.read_text(encoding="utf-8"))
             for path in SOURCES if not _may_know_the_system(path)}
    known = {name: match[0] for name, match in found.items() if match}
    assert not known, "this belongs into a file of its own for each system"


def _forbidden_includes(path):
    parts = path.relative_to(TOP / "host").parts
    allowed = LAYERS[LAYERS.index(parts[0]):] if len(parts) > 1 else LAYERS
    if parts[0] == "manifest":
        allowed = ["manifest", "os", "base"]
    for folder in re.findall(r'#include "(\w+)/', path.read_text(encoding="utf-8")):
        if folder not in [*allowed, "berth"]:
            yield f"{_relative(path)} must not include from {folder}/"


def test_style_includes_point_one_way():
    assert not [text for path in _sources("host") for text in _forbidden_includes(path)]


def test_style_rooms_include_one_way():
    units = include_graph.units()
    assert {unit.room for unit in units.values()} <= {*include_graph.ROOMS, "programs"}, "give it a room"
    assert not list(include_graph.wrong_arrows(units)), "what is above is called by hooks it hands in"
    assert not include_graph.room_cycles(units)


def test_style_units_of_the_network_rooms_are_in_no_cycle():
    units = include_graph.units()
    found = [cycle for cycle in include_graph.unit_cycles(units)
             if any(units[name].room.startswith(("net/", "plugin")) for name in cycle)]
    assert not found, "break it by an interface: tests/support/include_graph.py shows the graph"


RAW_CALLS = re.compile(
    r"(?<![\w.>])(socket|socketpair|bind|listen|connect|accept4|shutdown|close|getsockname|getsockopt|"
    r"setsockopt|fcntl|ioctl|recv|send|sendmsg|sendfile|recvmmsg|sendmmsg|preadv2|poll|eventfd|read|write|"
    r"epoll_create1|epoll_ctl|epoll_wait|mmap|munmap|io_uring_(submit\w*|peek_cqe|get_sqe|cq_\w+|"
    r"queue_\w+|register\w*|unregister\w*|get_probe))\("
)


def test_style_engines_of_linux_call_by_their_tables():
    """So that tests can let any of the calls fail."""
    found = {}
    for folder in ("linux", "uring", "epoll"):
        for path in (TOP / "host" / "engine" / folder).glob("*.c"):
            text = re.sub(r'/\*.*?\*/|"[^"\n]*"', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            found[path.name] = [match[0] for match in RAW_CALLS.finditer(text)]
    assert len(found) > 10
    raw = {name: calls for name, calls in found.items() if calls}
    assert not raw, "linux_calls.h and uring_calls.h are for that"


def test_style_only_the_manifest_and_the_control_channel_know_cjson():
    found = [p for p in _sources("host") if "cJSON" in p.read_text(encoding="utf-8")]
    channel = {"client.c", "identity.c", "identity.h", "requests.c", "status.c", "status.h",
               "status_metrics.c", "supervise.h",
               "supervisor_client.c"}
    assert {p.parent.name for p in found if p.name not in channel} == {"manifest"}


OTHER_CLOCKS = re.compile(
    r"\b(os_now_(ms|us)|clock_gettime|gettimeofday|timespec_get|QueryPerformance\w+|GetTickCount\w*|"
    r"GetSystemTime\w*|time\((NULL|0|&\w+))"
)


@pytest.mark.parametrize("path", _sources("host/net", "host/plugin", "host/control"), ids=_relative)
def test_style_the_time_is_the_engines(path):
    found = OTHER_CLOCKS.search(path.read_text(encoding="utf-8"))
    assert not found, f"{found[0]!r}: ask engine_now_ms(), or worker_now_ms() on a worker"


@pytest.mark.parametrize("path", sorted((TOP / ".github" / "workflows").glob("*.yml")), ids=_relative)
def test_style_workflow_is_yaml_and_names_what_is_there(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = " ".join(step.get("run", "") for step in steps)
    named = re.findall(r"(?<![\w/\\.=:])(?:\./dev|(?:tests|plugin-api|config)/[\w./-]+)", commands)
    assert named
    for name in named:
        assert (TOP / name).exists(), f"{name} is not there"


HEADERS = _sources("plugin-api", endings=(".h",))
COMPILERS = [
    ("gcc", "c11", "c"),
    ("gcc", "c17", "c"),
    ("clang", "c11", "c"),
    ("x86_64-w64-mingw32-gcc", "c11", "c"),
    ("g++", "c++17", "c++"),
    ("x86_64-w64-mingw32-g++", "c++17", "c++"),
]


@pytest.mark.parametrize("compiler, standard, language", COMPILERS,
                         ids=[f"{c}-{s}" for c, s, _ in COMPILERS])
def test_style_each_header_of_the_abi_compiles_alone(compiler, standard, language, tmp_path):
    _tool(compiler)
    for header in HEADERS:
        source = tmp_path / "alone.c"
        source.write_text(f'#include "berth/{header.name}"\nint nothing;\n', encoding="ascii")
        result = subprocess.run(
            [compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
             "-fsyntax-only", "-x", language, f"-I{TOP / 'plugin-api'}", source],
            capture_output=True, text=True, check=False,
        )
        assert result.returncode == 0, f"{header.name}: {result.stderr[:2000]}"


@pytest.mark.parametrize("language", ["c", "c++"])
def test_style_each_header_of_the_abi_is_microsofts_language(language, tmp_path):
    """As far as clang can show it without Microsoft's own headers."""
    for header in HEADERS:
        source = tmp_path / "alone.c"
        source.write_text(f'#include "berth/{header.name}"\nint nothing;\n', encoding="ascii")
        _compile_as_msvc(source, language)


def test_style_example_in_c_is_microsofts_language():
    _compile_as_msvc(TOP / "plugin-api" / "examples" / "c" / "shout.c", "c")


def _compile_as_msvc(source, language):
    result = subprocess.run(
        [_tool("clang"), "--target=x86_64-pc-windows-msvc", "-fms-compatibility", "-fsyntax-only", "-Wall",
         "-Wextra", "-Wpedantic", "-Werror", "-isystem", TOP / "tests" / "abi" / "msvc", "-x", language,
         f"-I{TOP / 'plugin-api'}", source],
        capture_output=True, text=True, check=False,
    )
    assert result.returncode == 0, f"{source}: {result.stderr[:2000]}"


def _documented_plugin():
    text = (TOP / "docs" / "writing-plugins.md").read_text(encoding="utf-8")
    return re.search(r"```c\n(#include <berth/plugin\.h>.*?)```", text, re.DOTALL)[1]


@pytest.mark.parametrize("compiler", ["gcc", "x86_64-w64-mingw32-gcc", "clang"])
def test_style_plugin_of_the_documents_compiles(compiler, tmp_path):
    source = tmp_path / "shout.c"
    source.write_text(_documented_plugin(), encoding="ascii")
    command = [_tool(compiler), "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror",
               f"-I{TOP / 'plugin-api'}", source, "-o", tmp_path / "shout"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


WINDOWS_SOURCES = [
    p for p in _sources("host", endings=(".c",))
    if not re.search(r"os_linux|engine/(linux|uring|epoll)/", _relative(p)) and p.parent.name != "manifest"
]


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_style_clang_has_nothing_to_say_about_the_windows_build(processor):
    """A second opinion; the manifest is left out, since cJSON's header is the subproject's."""
    includes = [f"-I{TOP / 'host'}", f"-I{TOP / 'plugin-api'}"]
    uthash = TOP / "subprojects" / "uthash"
    if not uthash.is_dir():
        pytest.skip("the Windows build's sources are not there; ./dev build windows fetches them")
    for source in WINDOWS_SOURCES:
        result = subprocess.run(
            [_tool("clang"), f"--target={processor}-w64-mingw32", "-isystem", "/usr/share/mingw-w64/include",
             "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_WIN32_WINNT=0x0A00",
             "-D__USE_MINGW_ANSI_STDIO=1", '-DBERTH_VERSION="0.0.0"', *includes, f"-I{uthash}", source],
            capture_output=True, text=True, check=False,
        )
        assert result.returncode == 0, result.stderr[:4000]


DATABASE = TOP / "build" / "linux"


def _compiled():
    """What is compiled, each once, with the command of the first of its kind."""
    database = DATABASE / "compile_commands.json"
    if not database.is_file():
        return {}
    found = {}
    for command in json.loads(database.read_text(encoding="utf-8")):
        path = (DATABASE / command["file"]).resolve()
        if any(path.is_relative_to(TOP / folder) for folder in ("examples", "host", "plugins")):
            found.setdefault(path, command)
    return dict(sorted(found.items()))


COMPILED = _compiled()


def _git(*arguments):
    return subprocess.run(["git", "-C", TOP, *arguments], capture_output=True, text=True, check=False)


def _changed():
    """What differs from the branch that the work will go to: origin's, else the commit of a day ago.
    None where that cannot be told, and on a forge: everything is looked at there."""
    if os.environ.get("TIDY_ALL") or os.environ.get("CI") or os.environ.get("ANALYZE_DEEPLY"):
        return None
    base = _git("merge-base", "HEAD", "origin/HEAD").stdout.strip()
    base = base or _git("log", "-1", "--format=%H", "--until=1.day").stdout.strip()
    names = _git("diff", "--name-only", base) if base else None
    if names is None or names.returncode != 0:
        return None
    return {(TOP / name).resolve() for name in names.stdout.splitlines()}


def _to_be_tidy():
    """The changed files, and those that include a changed header."""
    changed = _changed()
    if changed is None:
        return list(COMPILED)
    headers = {path.name for path in changed if path.suffix == ".h"}
    touched = [path for path in COMPILED if path in changed or headers & {
        name.rpartition("/")[2] for name in re.findall(r'#include "([\w./]+)"', path.read_text(encoding="utf-8"))}]
    return touched or list(COMPILED)[:1]


# How many steps of a function the analyzer follows. It alone costs what analysis costs, four times as
# much when it goes as far as it does by itself, which `./dev analyze` lets it.
NODES = [] if os.environ.get("ANALYZE_DEEPLY") else [
    "--extra-arg=-Xclang", "--extra-arg=-analyzer-config",
    "--extra-arg=-Xclang", "--extra-arg=max-nodes=40000",
]


TIDY = _to_be_tidy()
"""None without a build."""


@pytest.mark.busy
@pytest.mark.parametrize("path", TIDY, ids=list(map(_relative, TIDY)))
def test_style_clang_tidy_finds_nothing(path, tmp_path):
    (tmp_path / "compile_commands.json").write_text(json.dumps([COMPILED[path]]), encoding="utf-8")
    result = subprocess.run(
        [_tool("clang-tidy"), "--quiet", "-p", tmp_path, f"--config-file={TOP / '.clang-tidy'}",
         *NODES, path],
        capture_output=True, text=True, check=False, cwd=TOP,
    )
    assert result.returncode == 0, result.stdout[:6000]
