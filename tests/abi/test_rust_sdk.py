"""The crate for plugins in Rust, `plugin-api/rust`: its layouts, what does not compile, and what runs."""

import json
import re
import shutil
import subprocess

import headers
import pytest
import rust_bindings
import snapshot
from support import clients, manifests

pytestmark = [pytest.mark.any_engine, pytest.mark.plain]
CRATE = headers.API / "rust"


def rustc(*command, folder):
    return subprocess.run(["rustc", "--edition", "2021", *map(str, command)], cwd=folder, capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL, timeout=300)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The crate, built as the README of a new plugin tells."""
    if not shutil.which("rustc"):
        pytest.skip("this machine has no rustc")
    folder = tmp_path_factory.mktemp("crate")
    built = rustc("--crate-type", "rlib", "--crate-name", "berth", "--cfg", 'feature="std"', "-O", "-D",
                  "warnings", CRATE / "src" / "lib.rs", folder=folder)
    assert built.returncode == 0, built.stderr
    return folder / "libberth.rlib"


@pytest.fixture
def plugins(system, library, tmp_path):
    """A folder with the plugin of all orders in it."""
    if system.is_windows:
        pytest.skip("what is tested is the crate, and it is compiled for Linux: see test_out_of_tree.py")
    folder = tmp_path / "plugins"
    folder.mkdir()
    built = rustc("--crate-type", "cdylib", "--extern", f"berth={library}", "-O", "-D", "warnings",
                  headers.TOP / "tests" / "abi" / "rust" / "orders.rs", "-o", folder / "orders.so", folder=folder)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def host(run_host, plugins):
    return run_host(manifests.one("orders", "connect"), plugins=plugins)


# -- the bindings -------------------------------------------------------------------------------------


def test_rust_sdk_bindings_are_made_of_the_snapshot():
    assert (CRATE / "src" / "raw.rs").read_text(encoding="utf-8") == rust_bindings.source(
        snapshot.stored("linux-x86_64")), "run ./dev abi renew"


def test_rust_sdk_version_names_the_draft():
    constants = snapshot.stored("linux-x86_64")["constants"]
    version = f"{constants['BERTH_ABI_MAJOR']}.{constants['BERTH_ABI_MINOR']}.0"
    version += f"-draft.{constants['BERTH_ABI_DRAFT']}" if constants["BERTH_ABI_DRAFT"] else ""
    assert f'\nversion = "{version}"' in (CRATE / "Cargo.toml").read_text(encoding="utf-8")


def test_rust_sdk_lays_out_as_c_does(library, tmp_path):
    structs = snapshot.stored("linux-x86_64")["structs"]
    lines = ["use berth::raw::*;\nuse std::mem::{size_of, MaybeUninit};\nuse std::ptr::addr_of;\nfn main() {\n"]
    for name, struct in structs.items():
        lines.append(f"    println!(\"{name} {{}}\", size_of::<{name}>());\n")
        lines.append(f"    let one = MaybeUninit::<{name}>::uninit();\n")
        lines += [f'    println!("{name}.{member} {{}}", unsafe {{ addr_of!((*one.as_ptr()).{member}) }} as usize '
                  f"- one.as_ptr() as usize);\n" for member in struct["members"]]
    (tmp_path / "layout.rs").write_text("".join(lines) + "}\n", encoding="utf-8")
    built = rustc("--extern", f"berth={library}", "layout.rs", folder=tmp_path)
    assert built.returncode == 0, built.stderr
    said = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = []
    for name, struct in structs.items():
        wanted.append(f"{name} {struct['size']}")
        wanted += [f"{name}.{member} {about['offset']}" for member, about in struct["members"].items()]
    assert said == wanted


def test_rust_sdk_bindings_need_no_std(tmp_path):
    if not shutil.which("rustc"):
        pytest.skip("this machine has no rustc")
    built = rustc("--crate-type", "rlib", "--crate-name", "berth", "-D", "warnings", CRATE / "src" / "lib.rs",
                  folder=tmp_path)
    assert built.returncode == 0, built.stderr
    assert "std::" not in (CRATE / "src" / "raw.rs").read_text(encoding="utf-8")


# -- what does not compile ----------------------------------------------------------------------------

FRAME = """
use berth::{Buffer, Conn, Data, Listened, Listener, Session};
pub struct Wrong { @MEMBER@ }
impl Session for Wrong {
    type Service = ();
    fn listen(_: Listener<'_>) -> Listened<()> { Ok(()) }
    fn open(_: Conn<'_, Self>) -> Self { Wrong { @INITIAL@ } }
    fn received(&mut self, conn: Conn<'_, Self>, data: Data<'_>) -> usize {
        @BODY@
        data.len()
    }
}
pub fn uses(_: Option<Buffer>) {}
"""


@pytest.mark.parametrize(("member", "initial", "body", "error"), [
    ("", "", "conn.close(); let _ = conn.send(&data);", "E0382"),
    ("", "", "conn.abort(); conn.close();", "E0382"),
    ("", "", "let one = data.keep(0, 1); drop(one); let _ = conn.send_buffer(one);", "E0382"),
    ("", "", "let one = data.keep(0, 1); let _ = conn.send_buffer(one); let _ = conn.send_buffer(one);", "E0382"),
    ("", "", "std::thread::spawn(move || { let _ = conn.send(b\"late\"); });", "E0277|E0521"),
    ("pub kept: Option<&'static [u8]>", "kept: None", "self.kept = Some(&data); conn.close();", "E0597|E0521|lifetime"),
    ("pub kept: Option<Conn<'static, Wrong>>", "kept: None", "self.kept = Some(conn);", "E0521|lifetime"),
    ("", "", "conn.submit(|| (), move |_, _| { let _ = conn.send(&data); }).unwrap();", "E0505|E0521|lifetime"),
], ids=["send-after-close", "close-after-abort", "buffer-dropped-and-sent", "buffer-sent-twice", "other-thread",
        "bytes-kept", "connection-kept", "connection-in-a-work"])
def test_rust_sdk_misuse_does_not_compile(library, tmp_path, member, initial, body, error):
    def compiled(text):
        source = FRAME.replace("@MEMBER@", member).replace("@INITIAL@", initial).replace("@BODY@", text)
        (tmp_path / "wrong.rs").write_text(source, encoding="utf-8")
        return rustc("--crate-type", "lib", "--emit", "metadata", "--extern", f"berth={library}", "wrong.rs",
                     folder=tmp_path)

    assert compiled("conn.close();").returncode == 0
    wrong = compiled(body)
    assert wrong.returncode != 0 and re.search(error, wrong.stderr), wrong.stderr


# -- what runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("orders", "answer"), [
    ((b"count", b"count"), b"1\n2\n"),
    ((b"keep", b"kept"), b"keep\nkeep\n"),
    ((b"make",), b"made\n"),
    ((b"timer",), b"timer 7\n"),
    ((b"work",), b"work Ok(42)\n"),
    ((b"work panics",), b"work Err(Status(-1))\n"),
    ((b"post",), b"posted\n"),
    ((b"dance",), b"no such order\n"),
])
def test_rust_sdk_order_is_answered(host, orders, answer):
    with clients.connect(host.address("orders")) as sock:
        sock.sendall(b"".join(order + b"\n" for order in orders))
        assert clients.receive_exactly(sock, len(answer)) == answer


def test_rust_sdk_tells_whom_it_serves(host):
    with clients.connect(host.address("orders")) as sock:
        wanted = f"{sock.getsockname()[1]}\n".encode()
        sock.sendall(b"port\n")
        assert clients.receive_exactly(sock, len(wanted)) == wanted
        sock.shutdown(1)
        assert clients.receive_to_end(sock) == b"bye\n"


def test_rust_sdk_panic_ends_its_connection_alone(host):
    with clients.connect(host.address("orders")) as other:
        with clients.connect(host.address("orders")) as sock:
            sock.sendall(b"panic\n")
            with pytest.raises(ConnectionResetError):
                while sock.recv(100):
                    pass
        other.sendall(b"make\n")
        assert clients.receive_exactly(other, 5) == b"made\n"
    clients.wait_until(lambda: "panic: at a client" in host.log(), "the panic")


@pytest.mark.parametrize(("key", "words"), [("refuse", "/refuse: told to"), ("panic", "panic: in `listen`")])
def test_rust_sdk_failure_refuses_the_start(fail_to_start, plugins, key, words):
    manifest = manifests.one("orders", "connect")
    manifest["listeners"]["orders"]["config"] = {key: True}
    result = fail_to_start(manifest, plugins=plugins)
    assert result.code != 0 and words in result.errors, result


def test_rust_sdk_plugin_breaks_no_rule(berth, plugins):
    result = berth("plugin", "validate", "--json", plugins / "orders.so")
    assert result.code == 0, result
    assert all(check["outcome"] != "failed" for check in json.loads(result.output)["checks"]), result


@pytest.mark.linux("the crate is compiled for Linux")
@pytest.mark.parametrize("tool", ["cargo", "rustc"])
def test_rust_sdk_new_plugin_is_served_as_its_readme_tells(berth, system, tmp_path, tool):
    if not shutil.which(tool):
        pytest.skip(f"this machine has no {tool}")
    assert berth("plugin", "new", "my-first", "--lang", "rust").code == 0
    folder = tmp_path / "my-first"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for command in (line for line in readme.splitlines() if line.startswith(f"{tool} ")):
        subprocess.run(command, shell=True, cwd=folder, check=True, timeout=300)
    valid = berth("plugin", "validate", folder / "my-first.so")
    assert valid.code == 0, valid
    played = berth("plugin", "test", folder / "my-first.so", folder / "transcripts" / "first.txt")
    assert played.code == 0, played
