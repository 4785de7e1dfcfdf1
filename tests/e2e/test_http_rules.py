"""What RFC 9110 and RFC 9112 ask of the plugin `http` beside files: conditions, HEAD, who is asked,
what may be expected."""

import email.utils
import os
import time

import pytest
from support import clients, web

pytestmark = [
    pytest.mark.any_engine,
    pytest.mark.full("*san*", why="rules differ in their words; requests and the fuzzer's corpus run there"),
]

OLD = 1600000000


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "digits").write_bytes(b"0123456789")
    (folder / "empty").write_bytes(b"")
    os.utime(folder / "digits", (OLD, OLD))
    return folder


@pytest.fixture
def run_web(run_host, system, root):
    def run(config=None, **more):
        return run_host(web.manifest(system, root, config, **more))

    return run


def lines(*fields, method="GET"):
    """A request with the fields as they are, several of a name too."""
    return "\r\n".join([f"{method} /digits HTTP/1.1", "Host: test", *fields, "", ""]).encode("latin-1")


# -- conditions ------------------------------------------------------------------------------------


def test_http_conditions(run_web):
    host = run_web()
    with web.client(host) as client:
        first = client.ask("/digits")
        tag, date = first.fields["etag"], first.fields["last-modified"]
        old, future = "Thu, 01 Jan 1998 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
        for fields, status in [
            ({"If_None_Match": tag}, 304),
            ({"If_None_Match": f'"other", W/{tag}'}, 304),
            ({"If_None_Match": "*"}, 304),
            ({"If_None_Match": '"other"'}, 200),
            ({"If_None_Match": '"other"', "If_Modified_Since": date}, 200),
            ({"If_Modified_Since": date}, 304),
            ({"If_Modified_Since": future}, 304),
            ({"If_Modified_Since": old}, 200),
            ({"If_Modified_Since": "yesterday"}, 200),
            ({"If_Modified_Since": "Thursday, 01-Jan-98 00:00:00 GMT"}, 200),
            ({"If_Modified_Since": "Fri Jan  1 00:00:00 2100"}, 304),
            ({"If_Match": tag}, 200),
            ({"If_Match": '"other"'}, 412),
            ({"If_Match": f"W/{tag}"}, 412),
            ({"If_Unmodified_Since": date}, 200),
            ({"If_Unmodified_Since": old}, 412),
            ({"Range": "bytes=1-2", "If_Range": tag}, 206),
            ({"Range": "bytes=1-2", "If_Range": date}, 206),
            ({"Range": "bytes=1-2", "If_Range": '"other"'}, 200),
            ({"Range": "bytes=1-2", "If_Range": old}, 200),
            ({"Range": "bytes=1-2", "If_None_Match": tag}, 304),
        ]:
            answer = client.ask("/digits", **fields)
            assert answer.status == status, (fields, answer)
            if status == 304:
                assert answer.fields["etag"] == tag and answer.body == b""


def test_http_lists_of_tags(run_web):
    """Commas and stars within quotes are a part of the tag; a list may come in several fields; and what
    is no list names nothing."""
    with web.client(run_web()) as client:
        tag = client.ask("/digits").fields["etag"]
        for values, named in [
            ([tag], True), ([f'"a,b", {tag}'], True), ([f'{tag}, "a,b"'], True), ([f',, {tag} ,'], True),
            ([f'"x",{tag},"y"'], True), (["*"], True), (["  * "], True), (['"x"', tag], True),
            ([tag, '"x"'], True), (['"x"', '"y"', '"z"', tag, '""'], True),
            (['"a,*,b"'], False), (['"*"'], False), (['"x", *'], False), (["*, *"], False),
            (["*", "*"], False), (["*", tag], False), ([f"*, {tag}"], False), ([f'"a,{tag},b"'], False),
            ([tag[1:-1]], False), ([tag[:-1]], False), ([f"{tag} {tag}"], False), ([f"{tag}x"], False),
            ([f"x, {tag}"], False), ([tag, "x"], False), (["x", tag], False), ([f'"a b", {tag}'], False),
            ([""], False), ([","], False), (['"'], False), (["W/"], False), ([f"w/{tag}"], False),
            (["", tag], True), ([f'"a\\", {tag}'], True),
        ]:
            client.send(lines(*(f"If-None-Match: {value}" for value in values)))
            assert client.answer().status == (304 if named else 200), values
            client.send(lines("X: y", *(f"if-match: {value}\r\nZ: {tag}" for value in values)))
            assert client.answer().status == (200 if named else 412), values


def test_http_condition_by_date_is_not_looked_at_beside_one_by_tag(run_web):
    date = email.utils.formatdate(OLD, usegmt=True)
    old = email.utils.formatdate(OLD - 1, usegmt=True)
    with web.client(run_web()) as client:
        tag = client.ask("/digits").fields["etag"]
        for fields, status in [
            (["If-None-Match: x", f"If-Modified-Since: {date}"], 200),
            (["If-None-Match:", f"If-Modified-Since: {date}"], 200),
            ([f"If-Match: {tag}", f"If-Unmodified-Since: {old}"], 200),
            ([f"If-Modified-Since: {date}", f"If-Modified-Since: {date}"], 200),
            ([f"If-Unmodified-Since: {old}", f"If-Unmodified-Since: {old}"], 200),
            (["If-Modified-Since: Fri, 31 Feb 2100 00:00:00 GMT"], 200),
        ]:
            client.send(lines(*fields))
            assert client.answer().status == status, fields


def test_http_if_range_is_one_validator(run_web):
    date = email.utils.formatdate(OLD, usegmt=True)
    with web.client(run_web()) as client:
        tag = client.ask("/digits").fields["etag"]
        for validators, status in [
            ([tag], 206), ([date], 206), ([f"W/{tag}"], 200), ([f"{tag}, {tag}"], 200), (["*"], 200),
            ([f'{tag}, "x"'], 200), ([tag, tag], 200), ([date, date], 200), ([f"{tag},"], 200),
            ([""], 200), ([email.utils.formatdate(OLD + 1, usegmt=True)], 200),
        ]:
            client.send(lines("Range: bytes=1-2", *(f"If-Range: {value}" for value in validators)))
            assert client.answer().status == status, validators


def test_http_if_range_by_the_date_of_this_second_is_none(run_web, root):
    """Within it the file may change again, and keep its date."""
    host = run_web({"cache_ms": 0})
    with web.client(host) as client:

        def asked_at_once():
            now = int(time.time())
            os.utime(root / "digits", (now, now))
            date = email.utils.formatdate(now, usegmt=True)
            answer = client.ask("/digits", Range="bytes=1-2", If_Range=date)
            return answer.fields["date"] == date and answer

        assert clients.wait_until(asked_at_once, "an answer in the same second").status == 200


def test_http_date_of_a_file_is_never_in_the_future(run_web, root):
    ahead = time.time() + 86400
    os.utime(root / "digits", (ahead, ahead))
    with web.client(run_web({"cache_ms": 0})) as client:
        answer = client.ask("/digits")
        modified, now = (email.utils.parsedate_to_datetime(answer.fields[name])
                         for name in ("last-modified", "date"))
        assert modified <= now
        assert client.ask("/digits", If_Modified_Since=email.utils.formatdate(
            ahead, usegmt=True)).status == 304
        assert client.ask("/digits", If_Unmodified_Since=email.utils.formatdate(
            ahead + 86400, usegmt=True)).status == 200


def test_http_the_last_bytes_of_an_empty_file_are_all_of_it(run_web):
    with web.client(run_web()) as client:
        assert client.ask("/empty", Range="bytes=-5").status == 200
        assert client.ask("/empty", Range="bytes=-0").status == 416
        assert client.ask("/empty", Range="bytes=0-").status == 416


# -- HEAD ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest, status", [
    (b" /digits HTTP/1.1\r\nHost: x\r\nExpect: the unexpected\r\n\r\n", 417),
    (b" /digits HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", 413),
    (b" /digits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9999999\r\n", 413),
    (b" /digits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
    (b" /digits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b" /digits HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000, 431),
    (b" /digits HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    (b" /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b" /" + b"x" * 20000, 414),
    (b" /digits HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b" /digits HTTP/1.1\r\n\r\n", 400),
    (b" /digits HTTP/1.1\nHost: x\n\n", 400),
    (b"  /digits HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b" /digits HTTP/1.1\r\nHo", 408),
    (b" /digits HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 408),
], ids=lambda value: str(value)[-30:])
def test_http_head_has_no_body_when_it_is_refused(run_web, rest, status):
    limits = {"head_timeout_ms": 500, "body_timeout_ms": 500} if status == 408 else {}
    host = run_web(limits)
    for method in ("HEAD", "GET"):
        with web.client(host) as client:
            client.send(b"GET /digits HTTP/1.1\r\nHost: x\r\n\r\n" + method.encode() + rest)
            assert client.answer().body == b"0123456789"
            answer = client.answer(head=method == "HEAD")
            assert answer.status == status and answer.fields["connection"] == "close"
            assert client.ended(), "there is a body"


# -- hosts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [
    "", "x", "example.org", "example.org:80", "x:", "x:65535", "x:0080", "127.0.0.1:5080", "a_b", "x%41",
    "[::1]", "[::1]:80", "[::]", "[1:2:3:4:5:6:7:8]", "[1::8]", "[1:2:3:4:5:6:7::]", "[::ffff:192.0.2.1]",
    "[v1.a:b]", "[FE80::1]:",
])
def test_http_hosts(run_web, host):
    with web.client(run_web()) as client:
        assert client.ask("/digits", Host=host).body == b"0123456789"
        if host:
            assert client.ask(f"http://{host}/digits", Host="other").body == b"0123456789"
            assert client.ask(f"HTTP://{host}?q", Host="", method="OPTIONS").status == 204


# -- expectations ----------------------------------------------------------------------------------


def test_http_expectations_of_http_1_0_are_not_looked_at(run_web):
    host = run_web()
    for expected in ("100-continue", "the unexpected"):
        with web.client(host) as client:
            client.send(web.request("/digits", version="HTTP/1.0", Expect=expected, Content_Length="3")
                        + b"abc")
            assert client.answer().body == b"0123456789", "and not 100"
            assert client.ended()


def test_http_expectations_are_a_list(run_web):
    with web.client(run_web()) as client:
        client.send(lines("Expect: 100-Continue,, 100-continue", "Content-Length: 3"))
        assert client.answer().status == 100
        client.send(b"abc" + lines("Expect: 100-continue", "Expect: other"))
        assert [client.answer().status for _ in range(2)] == [200, 417]
        assert client.ended()


# -- chunks ----------------------------------------------------------------------------------------


CHUNKS = [
    b"1;a\r\nx\r\n0\r\n\r\n",
    b"1;a;b=c;d=\"e;\\\"f\\\\\";g\r\nx\r\n0;h=\"\"\r\n\r\n",
    b"1 ; a = b\t;c ;d=\t\"e\" ;f\r\nx\r\n0\r\n\r\n",
    b"0\r\nA:\r\nb-c: d:e \xe4\r\n\r\n",
    b"0000000000000000000000001\r\nx\r\n000\r\n\r\n",
    b"1\r\nx\r\n" * 50000 + b"0\r\n\r\n",
]


def test_http_takes_chunks_as_they_may_be(run_web):
    with web.client(run_web()) as client:
        for body in CHUNKS:
            client.send(lines("Transfer-Encoding: chunked") + body + lines())
            assert [client.answer().body for _ in range(2)] == [b"0123456789"] * 2, body[:80]
