"""Every example of config/examples serves its clients as it stands, but for its ports."""

import contextlib
import json
import pathlib
import shutil
import socket
import urllib.request

import pytest
from support import chat, clients, pop3
from support.upstreams import echo, upstream

pytestmark = pytest.mark.any_engine

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "config" / "examples"
EXAMPLES = sorted(FOLDER.glob("*.json"))


@pytest.fixture
def run_example(run_host, tmp_path):
    """run_example("http") serves that one, from a copy of the folder: what an example names beside
    itself, it names from there. Only its addresses are others: free ones, and for the proxy those of
    the upstreams that are given."""

    def run(name, upstreams=None):
        shutil.copytree(FOLDER, tmp_path / "host-0")
        manifest = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        for listener in manifest["listeners"].values():
            listener["address"] = listener["address"].rsplit(":", 1)[0] + ":0"
            if upstreams:
                assert len(listener["config"]["upstreams"]) == len(upstreams)
                listener["config"]["upstreams"] = upstreams
        host = run_host(manifest)
        assert set(host.ready["listeners"]) == set(manifest["listeners"])
        host.folder = tmp_path / "host-0"
        return host

    return run


def test_example_of_http_serves_its_page(run_example):
    host = run_example("http")
    url = "http://{}:{}/".format(*host.address("http"))
    with urllib.request.urlopen(url, timeout=clients.WAIT_S) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.read() == (FOLDER / "www" / "index.html").read_bytes()


def test_example_of_pop3_serves_its_mail(run_example):
    host = run_example("pop3")
    box = host.folder / "pop3-mail" / "demo"
    texts = [path.read_bytes() for part in ("new", "cur") for path in (box / part).glob("[!.]*")]
    with pop3.logged_in(host, "demo", "demo") as session:
        numbers = [line.split()[0] for line in session.listing("LIST")]
        assert len(numbers) == len(texts) > 0
        for number in numbers:
            session.ok("RETR", number)
            assert session.body() in map(pop3.as_sent, texts)
        session.ok("QUIT")


def test_example_of_chat_lets_two_talk(run_example):
    host = run_example("chat")
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        ann.send("hello")
        for member in (ann, ben):
            assert member.line_with("say") == "say tea ann hello"
        assert ben.ask("/quit", "bye") == "bye"
        assert ann.line_with("left") == "left tea ben"


def test_example_of_the_proxy_passes_bytes_to_its_upstreams(run_example):
    reached = []

    def serve(number):
        def echo_as(connection):
            reached.append(number)
            echo(connection)

        return echo_as

    with upstream(serve(0)) as one, upstream(serve(1)) as two:
        host = run_example("proxy", [f"127.0.0.1:{port}" for port in (one, two)])
        with clients.connect(host.address("proxy")) as a, clients.connect(host.address("proxy")) as b:
            for sock in (a, b):
                data = clients.random_bytes(100000, seed=sock.fileno())
                assert clients.echo(sock, data) == data
        assert sorted(reached) == [0, 1], "one connection each"


def test_example_of_datagrams_echoes_and_writes_a_line(run_example):
    host = run_example("datagram")
    log = host.folder / "syslog.log"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)

        def comes_back(data):
            sock.sendto(data, host.address("echo"))
            with contextlib.suppress(TimeoutError):
                return sock.recv(65536) == data
            return False

        clients.wait_until(lambda: comes_back(b"hello"), "an echo")
        clients.wait_until(lambda: comes_back(bytes(65507)), "the echo of the longest there is")
        sock.sendto(b"<165>1 - host app - - - hello", host.address("syslog"))
        clients.wait_until(log.read_text, "the line")
        assert log.read_text(encoding="utf-8").endswith(" local4.notice - host app - - - hello\n")


def test_example_there_is_a_test_of_each():
    tested = {"chat", "datagram", "http", "pop3", "proxy"}
    assert tested == {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_a_manifest_as_it_stands(path, berth, system):
    result = berth("check", system.path(path))
    assert result.code == 0, result
