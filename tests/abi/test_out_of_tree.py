"""Plugins that people build for themselves, from the folder `plugin-api` as it is shipped and wherever it
is copied to: with a compiler alone, with Meson, with CMake; in C, in C++ and in Rust."""

import os
import re
import shutil
import subprocess

import headers
import past
import pytest
import snapshot
from support import clients, manifests

pytestmark = [pytest.mark.any_engine, pytest.mark.plain]

MESON_CROSS = """[binaries]
c = 'x86_64-w64-mingw32-gcc'
cpp = 'x86_64-w64-mingw32-g++'
ar = 'x86_64-w64-mingw32-ar'
strip = 'x86_64-w64-mingw32-strip'
pkgconfig = 'pkg-config'

[host_machine]
system = 'windows'
cpu_family = 'x86_64'
cpu = 'x86_64'
endian = 'little'
"""


def _run(*command, folder, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=dict(os.environ, **environment), check=False,
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def api(system, tmp_path):
    """The shipped folder, copied somewhere else."""
    return shutil.copytree(system.dist / "plugin-api", tmp_path / "moved" / "plugin-api")


@pytest.fixture
def plugins(tmp_path):
    """The folder that the host of a test takes its plugins from."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


# -- ways to build: each puts ID.so or ID.dll into `plugins` ------------------------------------------


def by_compiler(system, api, plugins, language, source):
    tools = "x86_64-w64-mingw32-" if system.is_windows else ""
    compiler = tools + {"c": "gcc", "cpp": "g++"}[language]
    static = ["-static"] if system.is_windows else [f"-Wl,--version-script={api / 'berth-plugin.map'}"]
    _run(compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", *static, "-I", api,
         source, "-o", plugins / (source.stem + system.library_suffix), folder=plugins)


def _meson(system, plugins, source, *options):
    cross = []
    if system.is_windows:
        (source.parent / "cross.ini").write_text(MESON_CROSS, encoding="ascii")
        cross = ["--cross-file", "cross.ini"]
    _run("meson", "setup", "build", "--werror", *cross, *options, folder=source.parent)
    _run("ninja", "-C", "build", folder=source.parent)
    shutil.copy(source.parent / "build" / (source.stem + system.library_suffix), plugins)


def by_meson_and_pkg_config(system, api, plugins, language, source):
    _meson(system, plugins, source, f"-Dpkg_config_path={api / 'pkgconfig'}",
           "--wrap-mode=nofallback")


def by_meson_and_subproject(system, api, plugins, language, source):
    shutil.copytree(api, source.parent / "subprojects" / "berth-plugin")
    _meson(system, plugins, source)


def by_cmake(system, api, plugins, language, source):
    cross = []
    if system.is_windows:
        cross = ["-DCMAKE_SYSTEM_NAME=Windows", "-DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc",
                 "-DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++"]
    _run("cmake", "-B", "build", f"-Dberth-plugin_DIR={api / 'cmake'}", *cross, folder=source.parent)
    _run("cmake", "--build", "build", folder=source.parent)
    shutil.copy(source.parent / "build" / (source.stem + system.library_suffix), plugins)


WAYS = [by_compiler, by_meson_and_pkg_config, by_meson_and_subproject, by_cmake]

# -- what the examples do -----------------------------------------------------------------------------


def shouts(address):
    with past.Session(address) as one:
        assert one.ask("a word") == "A WORD"


def tallies(address):
    with clients.connect(address) as sock:
        sock.sendall(b"one\ntwo\n")
        sock.shutdown(1)
        assert clients.receive_to_end(sock) == b"8 bytes, 2 lines\n"


def mirrors(address):
    with past.Session(address) as one:
        assert one.ask("drawer") == "reward"


EXAMPLES = {"c": ("shout.c", shouts), "cpp": ("tally.cpp", tallies)}


def serve(berth, run_host, system, plugins, example, uses):
    """The plugin is told to be loadable, and does what it is there for."""
    listed = berth("plugins", "--plugins", system.path(plugins))
    assert listed.code == 0, listed
    assert re.search(rf"^{example}\s.*\sloadable$", listed.output, re.MULTILINE), listed
    host = run_host(manifests.one(example, "connect"), plugins=plugins)
    uses(host.address(example))


@pytest.mark.parametrize("language", EXAMPLES)
@pytest.mark.parametrize("build", WAYS, ids=lambda way: way.__name__)
def test_out_of_tree_plugin_serves(berth, run_host, system, api, plugins, tmp_path, build,
                                     language):
    name, uses = EXAMPLES[language]
    source = shutil.copytree(api / "examples" / language, tmp_path / "mine") / name
    build(system, api, plugins, language, source)
    valid = berth("plugin", "validate", system.path(plugins / (source.stem + system.library_suffix)))
    assert valid.code == 0, valid
    serve(berth, run_host, system, plugins, source.stem, uses)


# -- Rust ---------------------------------------------------------------------------------------------


def _rust_target(system):
    """The options for the system; skips where the machine has no Rust for it."""
    if not shutil.which("rustc"):
        pytest.skip("this machine has no rustc")
    if not system.is_windows:
        return []
    target = "x86_64-pc-windows-gnu"
    library = _run("rustc", "--print", "target-libdir", "--target", target, folder=None).strip()
    if not os.path.isdir(library):
        pytest.skip(f"the machine's rustc has no target {target}")
    return ["--target", target]


def test_out_of_tree_plugin_in_rust_serves(berth, run_host, system, api, plugins):
    target = _rust_target(system)
    _run("rustc", "--edition", "2021", "--crate-type", "rlib", "--crate-name", "berth", "--cfg", 'feature="std"',
         "-O", "-D", "warnings", *target, api / "rust" / "src" / "lib.rs", folder=api)
    _run("rustc", "--edition", "2021", "--crate-type", "cdylib", "--extern", "berth=libberth.rlib", "-O",
         "-D", "warnings", *target, "-o", plugins / f"mirror{system.library_suffix}",
         api / "examples" / "rust" / "mirror.rs", folder=api)
    serve(berth, run_host, system, plugins, "mirror", mirrors)


# -- what the shipped folder says of itself -----------------------------------------------------------


def test_out_of_tree_versions_are_those_of_the_abi(api):
    constants = snapshot.stored("linux-x86_64")["constants"]
    version = f"{constants['BERTH_ABI_MAJOR']}.{constants['BERTH_ABI_MINOR']}"
    told = _run("pkg-config", "--modversion", "berth-plugin", folder=api,
                PKG_CONFIG_PATH=str(api / "pkgconfig"))
    assert told.strip() == version
    meson = (api / "meson.build").read_text(encoding="utf-8")
    assert set(re.findall(r"\bversion: '([^']*)'", meson)) == {version}
    root = (headers.TOP / "meson.build").read_text(encoding="utf-8")
    assert "declare_dependency(include_directories: api_includes, version: abi_version)" in root
    readme = (api / "README.md").read_text(encoding="utf-8")
    assert f"ABI {version} is a release candidate" in readme or constants["BERTH_ABI_DRAFT"] == 0


def test_out_of_tree_example_is_the_plugin_of_the_documents():
    page = (headers.TOP / "docs" / "writing-plugins.md").read_text(encoding="utf-8")
    example = (headers.API / "examples" / "c" / "shout.c").read_text(encoding="utf-8")
    assert f"```c\n{example}```" in page


def test_out_of_tree_readme_tells_of_every_callback_and_header():
    readme = (headers.API / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("| callback | thread |"):readme.index("## Threads")]
    for name, kind in headers.structs()["berth_plugin"].items():
        assert "(" not in kind or f"| `{name}` |" in table, name
    headers_told = readme[: readme.index("## Life cycle")]
    for path in (headers.API / "berth").glob("*.h"):
        assert f"{path.name}`" in headers_told, path.name
    for extension in re.findall(r'_ID "(berth\.\w+/\d+)"', "".join(
            path.read_text(encoding="utf-8") for path in (headers.API / "berth").glob("*.h"))):
        assert f"| `{extension}` |" in headers_told, extension


@pytest.mark.parametrize("language, file", [("meson", "meson.build"), ("cmake", "CMakeLists.txt")])
def test_out_of_tree_readme_shows_the_example_files(language, file):
    """Without their comments and options of taste: every line of the README is one of the example."""
    readme = (headers.API / "README.md").read_text(encoding="utf-8")
    shown = re.search(rf"```{language}\n(.*?)```", readme, re.DOTALL)[1].splitlines()
    example = (headers.API / "examples" / "c" / file).read_text(encoding="utf-8").splitlines()
    assert [line for line in shown if line not in example and "project('shout'" not in line] == []
