"""The folder that is shipped: complete, and at home wherever it is copied to."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from xml.etree import ElementTree

import pytest
from support import clients, manifests, pe

pytestmark = pytest.mark.any_engine

SHIPPED_PORTS = (5001, 5002)


def free(port):
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture
def shipped_ports():
    """The ports of the shipped manifest, once nobody else has them."""
    deadline = time.monotonic() + clients.WAIT_S
    while not all(map(free, SHIPPED_PORTS)):
        if time.monotonic() > deadline:
            pytest.skip(f"somebody else on this machine uses the ports {SHIPPED_PORTS}")
        time.sleep(0.5)


@pytest.fixture
def elsewhere(system, tmp_path):
    """A copy of the folder where nobody expects it: spaces, and letters beyond ASCII."""
    return shutil.copytree(system.dist, tmp_path / "über uns – kopiert" / "berth copy")


def test_dist_has_everything(system):
    names = [
        system.executable().name,
        f"plugins/echo{system.library_suffix}",
        f"plugins/packet-echo{system.library_suffix}",
        "config/berth.json",
        "config/berth.schema.json",
        "plugin-api/berth/plugin.h",
    ]
    assert [name for name in names if not (system.dist / name).is_file()] == []


def test_dist_has_nothing_to_link_with(system):
    """What a linker leaves beside a library of Windows serves nobody: plugins are loaded by their host."""
    assert [path for path in system.dist.rglob("*") if path.name.endswith((".dll.a", ".lib", ".exp"))] == []


@pytest.mark.windows("programs of Linux have no resources")
@pytest.mark.parametrize("name", ["berth", "berth-pop3-user"])
def test_dist_programs_of_windows_say_what_they_are_and_what_they_know(system, berth, name):
    resources = pe.Resources((system.dist / f"{name}.exe").read_bytes())
    version = re.match(r"berth (\d+\.\d+\.\d+) ", berth("--version").output)[1]
    (about,) = resources.all(pe.VERSION)
    numbers = (*map(int, version.split(".")), 0)
    assert pe.fixed_version(about) == (numbers, numbers)
    assert pe.version_string(about, "ProductVersion") == version
    assert pe.version_string(about, "OriginalFilename") == f"{name}.exe"
    (manifest,) = map(ElementTree.fromstring, resources.all(pe.MANIFEST))
    settings = {element.tag.rpartition("}")[2]: element.text for element in manifest.iter()}
    assert settings["activeCodePage"] == "UTF-8" and settings["longPathAware"] == "true"


def test_dist_needs_no_library_that_the_system_lacks(system):
    beside = system.executable().with_stem("berth-pop3-user")
    programs = [system.executable(), beside, *(system.dist / "plugins").glob(f"*{system.library_suffix}")]
    for program in programs:
        if system.is_windows:
            tool = ["x86_64-w64-mingw32-objdump", "-p", program]
            listing = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
            needed = {name.lower() for name in re.findall(r"DLL Name: (\S+)", listing)}
            extra = {name for name in needed if not _is_windows_own(name)}
            assert not extra, f"{program.name} needs {extra}"
        else:
            listing = subprocess.run(
                ["ldd", program], capture_output=True, text=True, check=True
            ).stdout
            assert "not found" not in listing, f"{program.name}: {listing}"
            extra = [
                line
                for line in listing.splitlines()
                if not _is_of_every_linux(line) and str(system.dist) not in line
            ]
            assert system.is_sanitized or not extra, f"{program.name} needs {extra}"


def _is_of_every_linux(line):
    """A line of ldd: the C library in its parts, the loader, the kernel's own page."""
    pattern = r"\s*(/lib.*/ld-linux|linux-vdso|lib(c|m|dl|rt|pthread)\.so|statically linked)"
    return re.match(pattern, line)


def _is_windows_own(name):
    own = "advapi32 bcrypt iphlpapi kernel32 msvcrt mswsock ntdll rpcrt4 shell32 ucrtbase user32 ws2_32"
    return name.removesuffix(".dll") in own.split() or name.startswith("api-ms-win-")


@pytest.mark.xdist_group("shipped ports")
def test_dist_copied_anywhere_serves_its_own_manifest(run_host, elsewhere, shipped_ports):
    host = run_host(None, dist=elsewhere)
    listeners = host.ready["listeners"].values()
    found = {(l["addresses"][0], l["plugin"], l["accept"]) for l in listeners}
    assert found == {
        ("127.0.0.1:5001", "echo", "data"),
        ("127.0.0.1:5002", "echo", "connect"),
    }
    for port in SHIPPED_PORTS:
        assert clients.is_served(("127.0.0.1", port))
    host.stop()


def test_dist_copied_anywhere_finds_what_its_own_manifest_names(run_host, elsewhere):
    """Its manifest is found beside the executable, and the plugins by the manifest's words."""
    (elsewhere / "plugins").rename(elsewhere / "módulos")
    manifest = manifests.one(host={"plugins": "módulos"})
    (elsewhere / "config" / "berth.json").write_text(json.dumps(manifest), encoding="utf-8")
    host = run_host(None, dist=elsewhere)
    assert clients.is_served(host.address("echo"))


def test_dist_copied_anywhere_runs_while_its_plugins_are_replaced(run_host, elsewhere, system):
    """A plugin's file is not held while it runs: dropping in a new one is an ordinary copy."""
    host = run_host(manifests.one(), dist=elsewhere)
    plugin = elsewhere / "plugins" / f"echo{system.library_suffix}"
    original = plugin.read_bytes()
    with clients.connect(host.address("echo")) as sock:
        assert clients.echo(sock, b"before") == b"before"
        plugin.write_bytes(b"not a plugin any more")
        assert clients.echo(sock, b"after") == b"after"
        assert clients.is_served(host.address("echo"))
        plugin.unlink()
        assert clients.is_served(host.address("echo"))
    plugin.write_bytes(original)
