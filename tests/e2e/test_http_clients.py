"""The plugin `http` with the programs that people use."""

import random
import re
import shutil
import subprocess

import pytest
from support import clients, web

pytestmark = pytest.mark.any_engine

LARGE = 3000000


@pytest.fixture
def served(run_host, system, tmp_path):
    """The host, its URL, and what it serves."""
    root = tmp_path / "www"
    root.mkdir()
    large = random.Random(62).randbytes(LARGE)
    (root / "large.bin").write_bytes(large)
    (root / "small.html").write_bytes(b"x" * 1024)
    (root / "index.html").write_bytes(
        b'<html><title>Berth</title><body><h1>Berth at work</h1><a href="second%20page.html">on</a></body></html>')
    (root / "second page.html").write_bytes(b"<html><body><p>The second page</p></body></html>")
    host = run_host(web.manifest(system, root))
    address, port = host.address("http")
    return host, f"http://{address}:{port}", large


@pytest.fixture
def run(tmp_path):
    def run(*command, code=0):
        assert shutil.which(command[0]), f"{command[0]} is not installed"
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=clients.TRANSFER_S,
                              stdin=subprocess.DEVNULL, check=False)
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    return run


def test_http_with_curl(served, run, tmp_path):
    _, url, large = served
    assert run("curl", "-sS", f"{url}/large.bin").stdout == large
    assert run("curl", "-sS", "--http1.0", f"{url}/large.bin").stdout == large
    assert run("curl", "-sS", "-r", "1000-1999", f"{url}/large.bin").stdout == large[1000:2000]
    assert run("curl", "-sSL", "--path-as-is", f"{url}/../../large.bin", "-w", "%{http_code}", "-o",
               "none").stdout == b"400"
    (tmp_path / "part").write_bytes(large[:1234567])
    run("curl", "-sS", "-C", "-", "-o", "part", f"{url}/large.bin")
    assert (tmp_path / "part").read_bytes() == large
    run("curl", "-sS", "--etag-save", "tag", "-o", "first", f"{url}/small.html")
    again = run("curl", "-sS", "--etag-compare", "tag", "-w", "%{http_code}", f"{url}/small.html")
    assert again.stdout == b"304"
    upload = run("curl", "-sS", "-H", "Transfer-Encoding: chunked", "--data-binary", "@part", "-w",
                 "%{http_code}", "-o", "none", f"{url}/small.html")
    assert upload.stdout == b"405", "said before the body is sent"
    posted = run("curl", "-sS", "-d", "a=b", "-w", "%{http_code} %{num_connects}\n", "-o", "none",
                 f"{url}/small.html", "-o", "none2", f"{url}/small.html")
    assert posted.stdout == b"405 1\n405 0\n", "the connection goes on"
    parallel = run("curl", "-sS", "-Z", "--parallel-max", "8", "-w", "%{http_code}\n",
                   *[word for i in range(20) for word in ("-o", f"p{i}", f"{url}/large.bin")])
    assert parallel.stdout == b"200\n" * 20
    assert all((tmp_path / f"p{i}").read_bytes() == large for i in range(20))


def test_http_with_wget(served, run, tmp_path):
    _, url, large = served
    run("wget", "-q", "-O", "all", f"{url}/large.bin")
    assert (tmp_path / "all").read_bytes() == large
    (tmp_path / "large.bin").write_bytes(large[:777777])
    run("wget", "-q", "-c", f"{url}/large.bin")
    assert (tmp_path / "large.bin").read_bytes() == large
    run("wget", "-q", "-r", "-nH", "-P", "mirror", f"{url}/")
    assert (tmp_path / "mirror" / "second page.html").read_bytes().startswith(b"<html>")
    stamped = run("wget", "-nv", "-N", "-P", "mirror", f"{url}/index.html")
    assert b"200" not in stamped.stderr, "not modified: not sent again"
    assert run("wget", "-q", "--spider", f"{url}/nothing", code=8)


def test_http_with_a_browser(served, run):
    _, url, _ = served
    assert "Berth at work" in run("w3m", "-dump", f"{url}/").stdout.decode()
    page = run("w3m", "-dump", f"{url}/second page.html").stdout.decode()
    assert "The second page" in page


def test_http_with_wrk(served, run, system):
    _, url, _ = served
    for path in ("small.html", "large.bin"):
        connections = "-c20" if system.is_windows else "-c50"
        out = run("wrk", "-t1", connections, "-d1", "--timeout", "60s", f"{url}/{path}").stdout.decode()
        assert re.search(r"[1-9]\d* requests in", out), out
        assert "Socket errors" not in out and "Non-2xx" not in out, out


def test_http_with_ab(served, run, system):
    _, url, _ = served
    count = 200 if system.is_windows or system.is_sanitized else 2000
    for keep_alive in (["-k"], []):
        out = run("ab", "-q", *keep_alive, "-n", str(count), "-c", "20", f"{url}/small.html").stdout.decode()
        assert re.search(rf"Complete requests:\s+{count}\n", out), out
        assert re.search(r"Failed requests:\s+0\n", out) and "Non-2xx" not in out, out
        kept = re.search(r"Keep-Alive requests:\s+(\d+)", out)
        assert (int(kept[1]) if kept else 0) == (count if keep_alive else 0)


def test_http_with_h2load(served, run, system):
    _, url, _ = served
    count = 400 if system.is_windows or system.is_sanitized else 4000
    out = run("h2load", "--h1", "-n", str(count), "-c", "20", "-m", "8", f"{url}/small.html").stdout.decode()
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    assert f"status codes: {count} 2xx" in out, out
