"""The plugin `http`: files, ranges, conditions, and what a connection may do."""

import contextlib
import email.parser
import email.policy
import email.utils
import hashlib
import os
import random
import socket
import time

import pytest
from support import clients, manifests, web

pytestmark = pytest.mark.any_engine

PAGE = b"<h1>Hello</h1>\n"
GIB = 1024 * 1024 * 1024


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "www"
    (folder / "docs" / "empty folder").mkdir(parents=True)
    (folder / "index.html").write_bytes(PAGE)
    (folder / "docs" / "index.html").write_bytes(b"the docs")
    (folder / "docs" / "a b+c.txt").write_bytes(b"blank")
    (folder / "größe.txt").write_bytes(b"umlaut")
    (folder / "empty.css").write_bytes(b"")
    (folder / "digits").write_bytes(b"0123456789")
    (folder / "large.bin").write_bytes(random.Random(61).randbytes(1500000))
    (folder / ".hidden").write_bytes(b"no")
    (folder / ".well-known").mkdir()
    (folder / ".well-known" / "security.txt").write_bytes(b"yes")
    return folder


@pytest.fixture
def run_web(run_host, system, root):
    def run(config=None, powerless=False, **more):
        return run_host(web.manifest(system, root, config, **more), powerless=powerless)

    return run


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target, body, kind", [
    ("/", PAGE, "text/html; charset=utf-8"),
    ("/index.html?a=b&c", PAGE, "text/html; charset=utf-8"),
    ("http://test/index.html", PAGE, "text/html; charset=utf-8"),
    ("http://test", PAGE, "text/html; charset=utf-8"),
    ("/docs/", b"the docs", "text/html; charset=utf-8"),
    ("/docs//a%20b+c.txt", b"blank", "text/plain; charset=utf-8"),
    ("/docs/./../docs/a%20b%2Bc.txt", b"blank", "text/plain; charset=utf-8"),
    ("/gr%C3%B6%C3%9Fe.txt", b"umlaut", "text/plain; charset=utf-8"),
    ("/empty.css", b"", "text/css; charset=utf-8"),
    ("/digits", b"0123456789", "application/octet-stream"),
    ("/.well-known/security.txt", b"yes", "text/plain; charset=utf-8"),
])
def test_http_serves_files(run_web, target, body, kind):
    host = run_web()
    with web.client(host) as client:
        for _ in range(2):  # looked up, then out of the cache
            answer = client.ask(target)
            assert (answer.status, answer.body, answer.fields["content-type"]) == (200, body, kind)
        head = client.ask(target, method="HEAD")
        assert head.status == 200 and head.fields["content-length"] == str(len(body))
        assert client.ask("/digits").body == b"0123456789", "the connection goes on behind HEAD"


@pytest.mark.quick
def test_http_names_type_date_and_tag(run_web, root):
    answer = web.ask(run_web(), "/large.bin")
    modified = email.utils.parsedate_to_datetime(answer.fields["last-modified"]).timestamp()
    now = email.utils.parsedate_to_datetime(answer.fields["date"]).timestamp()
    assert int(modified) == int((root / "large.bin").stat().st_mtime)
    assert abs(now - time.time()) < 60
    assert answer.fields["etag"].startswith('"') and answer.fields["accept-ranges"] == "bytes"
    assert answer.body == (root / "large.bin").read_bytes()


@pytest.mark.parametrize("target, status", [
    ("/nothing", 404),
    ("/docs/nothing/", 404),
    ("/digits/", 404),
    ("/digits/index.html", 404),
    ("/docs/empty%20folder/", 403),
    ("/docs/..%2findex.html", 400),
    ("/.hidden", 404),
    ("/.well-known/../.hidden", 404),
    # nothing above the root, in whatever spelling
    ("/..", 400),
    ("/../www/index.html", 400),
    ("/%2e%2e/www/index.html", 400),
    ("/docs/%2E%2e/../../www/index.html", 400),
    ("/docs/..\\..\\index.html", 400),
    ("/docs/..%5cindex.html", 400),
    ("/%c0%ae%c0%ae/index.html", 400),
    # what is no path at all
    ("/%", 400),
    ("/%4", 400),
    ("/%zz", 400),
    ("/a%00b", 400),
    ("/a%0ab", 400),
    ("/%ff", 400),
    ("/a#b", 400),
    # what Windows takes for something else
    ("/C:/index.html", 404),
    ("/c:index.html", 404),
    ("/index.html::$DATA", 404),
    ("/index.html:stream", 404),
    ("/index.html.", 404),
    ("/index.html%20", 404),
    ("/docs./index.html", 404),
    ("/CON", 404),
    ("/con.txt", 404),
    ("/nul", 404),
    ("/docs/AUX.html", 404),
    ("/com1", 404),
    ("/LPT9.x", 404),
    ("/com%C2%B9", 404),
    ("/INDE~P2W.HTM", 404),
    ("/inde~p2w.htm", 404),
    ("/A~~~~P2W", 404),
    ("/HIDDEN~1", 404),
    ("/DOCS~1/index.html", 404),
    ("/conin$", 404),
    ("/index.htm%3f", 404),
    ("/index.*", 404),
    ("/%22index.html%22", 404),
    ("/" + "x" * 300, 404),
    ("/" + "x/" * 600, 414),
    ("/" + "x" * 9000, 414),
])
def test_http_refuses_names(run_web, target, status):
    host = run_web()
    answer = web.ask(host, target)
    assert answer.status == status, answer
    assert str(status).encode() in answer.body
    assert web.ask(host, "/").body == PAGE


def test_http_names_that_look_like_aliases_and_are_none(run_web, root):
    names = ["~ann", "notes.txt~", "notes~", "a~1.html", "averylongname~1", "x.y~1", "a~b~"]
    for name in names:
        (root / name).write_bytes(b"here")
    (root / "alias~1").write_bytes(b"as such names are taken for others, no file has one")
    with web.client(run_web()) as client:
        assert [client.ask(f"/{name}").status for name in names] == [200] * len(names)
        assert client.ask("/alias~1").status == 404


def test_http_sends_folders_to_their_slash(run_web):
    host = run_web()
    answer = web.ask(host, "/docs")
    assert (answer.status, answer.fields["location"]) == (301, "/docs/")
    assert web.ask(host, "/docs/empty%20folder").fields["location"] == "/docs/empty%20folder/"
    for target in ("//docs", "///docs", "//evil/../docs", "/.//docs", "/docs/..//docs",
                   "http://evil/docs"):
        assert web.ask(host, target).fields["location"] == "/docs/", "not to a host of that name"
    for query in ("", "q=1", "a=b&c=/d?e%2f", "x" * 7000):
        assert web.ask(host, f"/docs?{query}").fields["location"] == f"/docs/?{query}"
    assert web.ask(host, "/docs?a\"<|").fields["location"] == "/docs/?a%22%3C%7C"
    assert web.ask(host, "/docs?q", method="HEAD").fields["location"] == "/docs/?q"


@pytest.mark.linux("permissions of Linux mean nothing to Wine")
def test_http_denies_what_the_system_denies(run_web, root):
    (root / "digits").chmod(0)
    (root / "locked").mkdir()
    (root / "locked").chmod(0)
    host = run_web(powerless=True)
    assert web.ask(host, "/digits").status == 403
    assert web.ask(host, "/locked/").status == 403
    assert web.ask(host, "/").body == PAGE


@pytest.mark.linux("Windows has no pipes in the file system")
def test_http_does_not_wait_for_a_pipe(run_web, root):
    os.mkfifo(root / "pipe")
    os.symlink("/dev/null", root / "device")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        folder = os.open(root, os.O_PATH)  # a socket's path has a limit
        sock.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        with web.client(run_web()) as client:
            for name in ("pipe", "device", "socket"):
                assert client.ask(f"/{name}").status == 403
                assert client.ask(f"/{name}/").status == 404


def test_http_shows_a_changed_file(run_web, root):
    host = run_web({"cache_ms": 50})
    with web.client(host) as client:
        first = client.ask("/digits")
        (root / "new").write_bytes(b"changed!")
        os.replace(root / "new", root / "digits")

        def changed():
            answer = client.ask("/digits")
            return answer.body == b"changed!" and answer

        answer = clients.wait_until(changed, "the new file")
        assert answer.fields["etag"] != first.fields["etag"]
        (root / "digits").unlink()
        clients.wait_until(lambda: client.ask("/digits").status == 404, "its end")


def test_http_without_a_cache(run_web):
    host = run_web({"cache_ms": 0})
    with web.client(host) as client:
        for _ in range(20):
            assert client.ask("/digits").body == b"0123456789"


def test_http_cache_of_one_file(run_web):
    host = run_web({"cache_files_max": 1, "cache_file_bytes": 0})
    with web.client(host) as client:
        for _ in range(20):
            assert client.ask("/digits").body == b"0123456789"
            assert client.ask("/").body == PAGE


def test_http_file_that_shrinks_while_it_is_sent_ends_the_connection(run_web, root, system):
    size = 64 * 1024 * 1024
    with open(root / "shrinking", "wb") as file:
        file.truncate(size)
    host = run_web({"cache_ms": 0})
    with web.client(host) as client:
        client.send(web.request("/shrinking"))
        client.reader.read(1000)
        os.truncate(root / "shrinking", 1000000)
        rest = b"x"
        total = 1000
        while rest:
            rest = client.reader.read(65536)
            total += len(rest)
        assert total < size


def test_http_types_are_found_by_the_longest_end_in_any_case(run_web, root):
    host = run_web({"types": {"GZ": "application/x-one", "tar.gz": "application/x-two", "Own": "a/b"}})
    with web.client(host) as client:
        for name, kind in [("a.gz", "application/x-one"), ("a.tar.gz", "application/x-two"),
                           ("a.Tar.GZ", "application/x-two"), ("tar.gz", "application/x-one"),
                           ("a.OWN", "a/b"), ("own", "application/octet-stream"),
                           ("a.PNG", "image/png")]:
            (root / name).write_bytes(b"x")
            assert client.ask(f"/{name}").fields["content-type"] == kind, name


def test_http_configured(run_web):
    host = run_web({"index": ["start.txt", "digits"], "types": {"html": "text/x-own"},
                    "headers": {"Cache-Control": "max-age=60", "X-Frame-Options": "DENY"},
                    "dot_files": True})
    with web.client(host) as client:
        answer = client.ask("/")
        assert answer.body == b"0123456789" and answer.fields["cache-control"] == "max-age=60"
        assert client.ask("/index.html").fields["content-type"] == "text/x-own"
        assert client.ask("/.hidden").body == b"no"
        assert client.ask("/nothing").fields["x-frame-options"] == "DENY"


# -- ranges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header, body, content_range", [
    ("bytes=0-0", b"0", "bytes 0-0/10"),
    ("bytes=2-4", b"234", "bytes 2-4/10"),
    ("bytes=7-", b"789", "bytes 7-9/10"),
    ("bytes=-3", b"789", "bytes 7-9/10"),
    ("bytes=-300", b"0123456789", "bytes 0-9/10"),
    ("bytes=8-1000", b"89", "bytes 8-9/10"),
    ("bytes=8-99999999999999999999", b"89", "bytes 8-9/10"),
    ("bytes=-99999999999999999999", b"0123456789", "bytes 0-9/10"),
    ("bytes= 1-2 ", b"12", "bytes 1-2/10"),
    ("bytes=1-2,100-200", b"12", "bytes 1-2/10"),
    ("BYTES=1-2", b"12", "bytes 1-2/10"),
])
def test_http_range(run_web, header, body, content_range):
    answer = web.ask(run_web(), "/digits", Range=header)
    assert (answer.status, answer.body) == (206, body)
    assert answer.fields["content-range"] == content_range


@pytest.mark.parametrize("header", [
    "bytes=10-", "bytes=99-100", "bytes=-0", "bytes=20-30,40-50", "bytes=99999999999999999999-",
    "bytes=18446744073709551616-18446744073709551617",
])
def test_http_range_outside_the_file(run_web, header):
    answer = web.ask(run_web(), "/digits", Range=header)
    assert answer.status == 416 and answer.fields["content-range"] == "bytes */10"


@pytest.mark.parametrize("header", [
    "bytes=4-2", "bytes=a-b", "bytes=1", "bytes=", "bytes=--1", "lines=1-2", "bytes 1-2",
    "bytes=1-2;3", "bytes=0-9,0-9", "bytes=0-,1-2",
    "bytes=" + ",".join(["0-0"] * 40),
])
def test_http_range_that_is_none_is_ignored(run_web, header):
    answer = web.ask(run_web(), "/digits", Range=header)
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_http_several_ranges(run_web, root):
    data = (root / "large.bin").read_bytes()
    host = run_web()
    with web.client(host) as client:
        for _ in range(2):
            answer = client.ask("/large.bin", Range="bytes=0-9,100000-499999,-5")
            assert answer.status == 206
            text = f"Content-Type: {answer.fields['content-type']}\r\n\r\n".encode() + answer.body
            parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text)
            found = [(part["Content-Range"], part.get_payload(decode=True))
                     for part in parts.iter_parts()]
            assert found == [
                ("bytes 0-9/1500000", data[:10]),
                ("bytes 100000-499999/1500000", data[100000:500000]),
                ("bytes 1499995-1499999/1500000", data[-5:]),
            ]
        assert client.ask("/digits", Range="bytes=1-1,3-3").status == 206
        assert client.ask("/digits").status == 200, "the length of the parts was right"


PLACES = {0: b"begin", 2 * GIB - 3: b"two gib", 4 * GIB - 3: b"four gib", 5 * GIB - 3: b"end"}


@pytest.fixture
def huge(run_host, system, tmp_path):
    """A host that serves a sparse file of 5 GiB, with something at its places."""
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(5 * GIB)
        for place, text in PLACES.items():
            file.seek(place)
            file.write(text)
    return run_host(web.manifest(system, tmp_path))


def test_http_ranges_beyond_4_gib(huge):
    with web.client(huge) as client:
        head = client.ask("/huge", method="HEAD")
        assert head.fields["content-length"] == str(5 * GIB)
        for place, text in PLACES.items():
            last = place + len(text) - 1
            answer = client.ask("/huge", Range=f"bytes={place}-{last}")
            assert (answer.status, answer.body) == (206, text)
            assert answer.fields["content-range"] == f"bytes {place}-{last}/{5 * GIB}"
        assert client.ask("/huge", Range="bytes=-3").body == b"end"
        large = client.ask("/huge", Range=f"bytes={4 * GIB - 100000}-{4 * GIB + 99999}").body
        assert large == bytes(99997) + b"four gib" + bytes(99995)
        assert client.ask("/huge", Range=f"bytes={5 * GIB}-").status == 416


@pytest.mark.full(why="the ranges around each limit of 32 bits are asked for above, and test_files has such a file whole")
@pytest.mark.only("linux", why="five gibibytes take long, and how they are counted is the same everywhere")
def test_http_range_of_a_file_of_5_gib(huge):
    """Put together again from ranges."""
    size = 5 * GIB
    digest = hashlib.sha256()
    received = 0
    ranges = [(first, min(first + GIB, size) - 1) for first in range(0, size, GIB)]
    for first, last in ranges:
        with web.client(huge) as client:
            client.send(web.request("/huge", Range=f"bytes={first}-{last}"))
            while (line := client.reader.readline()) != b"\r\n":
                assert b"HTTP" not in line or b" 206 " in line
            left = last - first + 1
            block = bytearray(4 * 1024 * 1024)
            while left > 0:
                count = client.reader.readinto(memoryview(block)[: min(left, len(block))])
                assert count > 0
                digest.update(memoryview(block)[:count])
                left -= count
                received += count
    assert received == size and digest.digest() == _digest_of_sparse(size, PLACES)


def _digest_of_sparse(size, places):
    digest = hashlib.sha256()
    zeros = bytes(4 * 1024 * 1024)
    at = 0
    for place, text in sorted(places.items()):
        while at < place:
            count = min(len(zeros), place - at)
            digest.update(memoryview(zeros)[:count])
            at += count
        digest.update(text)
        at += len(text)
    assert at == size
    return digest.digest()


# -- connections -----------------------------------------------------------------------------------


def test_http_keeps_connections_alive_as_asked(run_web):
    host = run_web()
    for version, connection, kept in [
        ("HTTP/1.1", None, True), ("HTTP/1.1", "close", False), ("HTTP/1.1", "x, Close", False),
        ("HTTP/1.1", "keep-alive", True), ("HTTP/1.0", None, False),
        ("HTTP/1.0", "Keep-Alive", True), ("HTTP/1.0", "keep-alive, close", False),
        ("HTTP/1.3", None, True),
    ]:
        with web.client(host) as client:
            fields = {"Connection": connection} if connection else {}
            answer = client.ask("/digits", version=version, **fields)
            assert answer.body == b"0123456789"
            assert (answer.fields.get("connection") == "close") == (not kept)
            if kept:
                assert client.ask("/digits", version=version, **fields).status == 200
            else:
                assert client.ended()


def test_http_pipelining_answers_in_order(run_web, root):
    host = run_web(limits={"send_queue_bytes": 16384})
    targets = ["/", "/digits", "/nothing", "/docs/", "/large.bin"] * 60
    with web.client(host) as client:
        with clients.Writer(client.sock, [b"".join(map(web.request, targets))]):
            answers = [client.answer() for _ in targets]
    bodies = {"/": PAGE, "/digits": b"0123456789", "/nothing": b"404 Not Found\n",
              "/docs/": b"the docs", "/large.bin": (root / "large.bin").read_bytes()}
    assert [answer.body for answer in answers] == [bodies[target] for target in targets]


def test_http_pipelined_by_one_who_finishes_at_once(run_web):
    """All of them are answered, though the client's end comes with them."""
    host = run_web({"cache_ms": 0})
    with web.client(host) as client:
        client.send(b"".join(web.request("/digits") for _ in range(100)))
        client.sock.shutdown(socket.SHUT_WR)
        for _ in range(100):
            assert client.answer().body == b"0123456789"
        assert client.ended()


def test_http_byte_by_byte(run_web):
    host = run_web()
    with web.client(host) as client:
        for byte in b"\r\n" + web.request("/digits", Range="bytes=1-3"):
            client.send(bytes([byte]))
        assert client.answer().body == b"123"


@pytest.mark.parametrize("body, fields", [
    (b"x" * 70000, {"Content_Length": "70000"}),
    (b"", {"Content_Length": "0"}),
    (b"5\r\nhello\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}),
    (b"00a;x=\"y\"\r\n0123456789\r\n1\r\n\n\r\n0;last\r\nTrailer: 1\r\nOther: 2\r\n\r\n",
     {"Transfer_Encoding": "Chunked"}),
    (b"11170\r\n" + b"y" * 70000 + b"\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}),
])
def test_http_reads_over_bodies(run_web, body, fields):
    host = run_web()
    with web.client(host) as client:
        for method, status in (("GET", 200), ("POST", 405), ("HEAD", 200)):
            client.send(web.request("/digits", method, **fields) + body)
            assert client.answer(head=method == "HEAD").status == status
        client.send(web.request("/digits", "PUT", **fields) + body[: len(body) // 2])
        client.send(body[len(body) // 2 :] + web.request("/digits"))
        assert client.answer().status == 405
        assert client.answer().body == b"0123456789"


def test_http_chunks_byte_by_byte(run_web):
    host = run_web()
    with web.client(host) as client:
        for byte in (web.request("/digits", "POST", Transfer_Encoding="chunked")
                     + b"3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n" + web.request("/digits")):
            client.send(bytes([byte]))
        assert client.answer().status == 405
        assert client.answer().body == b"0123456789"


def test_http_expectations(run_web):
    host = run_web({"body_bytes_max": 10})
    with web.client(host) as client:
        client.send(web.request("/digits", Expect="100-continue", Content_Length="3"))
        assert client.answer().status == 100
        client.send(b"abc")
        assert client.answer().body == b"0123456789"
    for fields, status in [
        ({"method": "POST", "Expect": "100-continue", "Content_Length": "3"}, 405),
        ({"Expect": "100-continue", "Content_Length": "11"}, 413),
        ({"Expect": "the unexpected"}, 417),
    ]:
        with web.client(host) as client:
            assert client.ask("/digits", **fields).status == status
            assert client.ended(), "whether the body still comes cannot be known"


@pytest.mark.parametrize("method, status", [
    ("POST", 405), ("PUT", 405), ("DELETE", 405), ("PATCH", 405), ("TRACE", 405),
    ("BREW", 501), ("get", 501), ("OPTIONS", 204),
])
def test_http_methods(run_web, method, status):
    answer = web.ask(run_web(), "/digits", method=method)
    assert answer.status == status
    assert ("allow" in answer.fields) == (status in (204, 405))


def test_http_options_of_the_server(run_web):
    assert web.ask(run_web(), "*", method="OPTIONS").status == 204


def test_http_stop_lets_the_last_answer_out(run_web, root):
    host = run_web(host={"workers": 1})
    with web.client(host) as idle, web.client(host) as busy:
        assert idle.ask("/digits").status == 200
        busy.send(web.request("/large.bin") + b"GET / HTTP/1.1\r\nHo")
        clients.wait_until(lambda: busy.sock.recv(1, socket.MSG_PEEK), "the answer to begin")
        host.interrupt()
        assert idle.ended()
        assert busy.answer().body == (root / "large.bin").read_bytes()
        busy.send(b"st: x\r\n\r\n")
        last = busy.answer()
        assert last.body == PAGE and last.fields["connection"] == "close"
    host.stop()


def test_http_logs_who_asked_for_what(run_web):
    host = run_web({"access_log": True})
    web.ask(host, "/digits?x")
    web.ask(host, "/nothing", method="HEAD")
    host.wait_for_log("GET /digits?x 200 10")
    host.wait_for_log("HEAD /nothing 404 0")
    assert "127.0.0.1:" in host.log()


def test_http_busy(run_web):
    host = run_web(limits={"connections": 1}, accept={"at_limit": "refuse"}, when="connect")
    with web.client(host) as one:
        assert one.ask("/digits").status == 200
        with web.client(host) as other:
            assert other.answer().status == 503
        assert one.ask("/digits").status == 200


def test_http_head_that_fits_exactly_into_what_the_host_keeps(run_web):
    host = run_web({"head_bytes_max": 512}, limits={"message_bytes": 512})
    for size in (512, 513, 5000):
        with web.client(host) as client:
            head = web.request("/digits", X="").removesuffix(b"\r\n\r\n")
            data = head + b"y" * (size - len(head) - 4) + b"\r\n\r\n"
            for at in range(0, size, 100):
                if not clients.send_quietly(client.sock, data[at : at + 100]):
                    break
            assert client.answer().status == (200 if size == 512 else 431)


OWN_FIELDS = (
    "Content-Type", "server", "Last-Modified", "ETAG", "Accept-Ranges", "Content-Range", "Location", "Allow",
    "Retry-After", "Date", "Content-Length", "Transfer-Encoding", "Trailer", "Keep-Alive", "Upgrade", "Connection")
"""Which no schema lists, in all their spellings: the plugin itself is asked."""


@pytest.mark.parametrize("config, message", [
    ({}, '/config: the key "root" is missing'),
    ({"root": 1}, "/root: expected a string, found 1"),
    ({"root": ""}, "/root: expected a string of 1 to 4095 characters, found 0"),
    ({"root": "nowhere"}, "nowhere is not there"),
    ({"root": "x", "index": "a"}, "/index: expected an array"),
    ({"root": "x", "index": ["a/b"]}, "/index/0: expected the name of a file"),
    ({"root": "x", "types": {"a": "text"}}, "/types/a: expected a media type"),
    ({"root": "x", "types": {".a": "a/b"}}, "/types/.a: expected the end of names behind a dot"),
    *(({"root": "x", "headers": {name: "x"}}, f"/headers/{name}: expected the name of a field")
      for name in (*OWN_FIELDS, "X Y", "X:", "")),
    ({"root": "x", "headers": {"X": "a\tb\x7f"}}, "/headers/X: expected a value on one line"),
    ({"root": "x", "head_bytes_max": 65537}, '/head_bytes_max: 65537 is more than the listener\'s '
     '"limits.message_bytes" (65536): lower the one or raise the other'),
    ({"root": "x", "headers": {"X": "a\r\nB: c"}}, "/headers/X: expected a value on one line"),
    ({"root": "x", "access_log": 1}, "/access_log: expected true or false"),
    ({"root": "x", "cache_ms": 1.5}, "/cache_ms: expected a whole number from 0 to 3600000"),
    ({"root": "x", "roots": 1}, '/roots: unknown key (did you mean "root"?)'),
])
def test_http_tells_what_is_wrong_with_its_configuration(fail_to_start, config, message, system, root):
    if config.get("root") == "x":
        config = {**config, "root": system.path(root)}
    result = fail_to_start(manifests.one("http", config=config))
    by_listener = '"limits.message_bytes"' in message  # which no config alone can be wrong about
    assert result.code == (1 if by_listener else 78) and message in result.errors, result
