"""What a plugin does to buffers, slices and files that are not its own: named in the log, the end of
that connection, and nothing that another connection could see."""

import shutil
import socket

import pytest
from support import clients, manifests

FAULTS = [
    (["release-lent"], "buffer_release() of a buffer of which it holds no reference", None),
    (["release-twice"], "buffer_release() of a buffer of which it holds no reference", None),
    (["release-sent"], "buffer_release() of a buffer of which it holds no reference", "send returned 0"),
    (["keep", "drop", "drop"], "buffer_release() of a buffer of which it holds no reference", None),
    (["keep", "drop", "acquire-late"], "buffer_acquire() of a buffer that has been given back", None),
    (["keep", "drop", "send-late"], "of a buffer of which it holds no reference", "send returned -2"),
    (["send-unowned"], "of a buffer of which it holds no reference", "send returned -2"),
    (["send-twice"], "of a buffer of which it holds no reference", "send returned -2"),
    (["send-nothing"], "send() was given no bytes", "send returned -2"),
    (["slice-large"], "a slice that is not inside its buffer", "send returned -2"),
    (["slice-before"], "a slice that is not inside its buffer", "send returned -2"),
    (["slice-overflow"], "a slice that is not inside its buffer", "send returned -2"),
    (["slice-without-buffer"], "a slice without a buffer", "send returned -2"),
    (["piece-large"], "a piece that is not inside its buffer", "send_pieces returned -2"),
    (["run-far"], "a piece that no file can have", "send_pieces returned -2"),
    (["run-overflow"], "a piece that no file can have", "send_pieces returned -2"),
    (["connect-large"], "first data that is not inside its buffer", "connect returned -2"),
    (["connect-without-function"], "connect() was given no function", "connect returned -2"),
    (["post-nothing"], "post() was given no function", "post returned -2"),
    (["post-worker-nothing"], "post_worker() was given no function", "post_worker returned -2"),
    (["submit-nothing"], "submit() was given no function", "submit returned -2"),
    (["timer-nothing"], "a timer was given no function", "create_for_conn returned 0"),
    (["timer-destroy-twice"], "destroy() of a timer that has been destroyed", None),
    (["timer-start-late"], "start() of a timer that has been destroyed", None),
    (["timer-stop-late"], "stop() of a timer that has been destroyed", None),
    (["timer-start-none"], "start() of no timer", None),
    (["run-unowned"], "a piece of a file of which it holds no reference", "send_pieces returned -2"),
    (["file-drop"], "release() of a file of which it holds no reference", None),
    (["file-acquire"], "acquire() of a file of which it holds no reference", None),
    (["file-stat"], "stat() of a file of which it holds no reference", "stat returned -2"),
    (["file-read"], "read() of a file of which it holds no reference", "read returned -2"),
]
"""What the client asks for; what the log says is wrong; what the service returned."""

FILES = next(i for i, fault in enumerate(FAULTS) if fault[0] == ["run-unowned"])
"""From there on the one reference to the file that there was has been given away."""


@pytest.fixture
def run_misuse(run_host, system, tmp_path):
    """A host with the plugin that breaks the rules beside one that keeps them, on one worker, so
    that they share the pool of buffers."""

    plugins = shutil.copytree(system.dist / "plugins", tmp_path / "plugins")
    shutil.copy(system.fixtures / f"misuse{system.library_suffix}", plugins)

    def run():
        manifest = manifests.manifest(
            {"bad": manifests.listener("misuse", "connect"), "good": manifests.listener("echo", "data"),
             "packets": {"address": manifests.LOOPBACK, "plugin": "misuse", "transport": "udp"}},
            workers=1)
        host = run_host(manifest, plugins=plugins)
        host.expect_plugin_fault()
        return host

    return run


def _ask(sock, command):
    """The rest of a connection that ends, or a line."""
    sock.sendall(command.encode() + b"\n")
    answer = b""
    try:
        while not answer.endswith(b"\n"):
            data = sock.recv(65536)
            if not data:
                break
            answer += data
    except ConnectionError:
        return None
    return answer


def _others_are_served(host, seed):
    """Several at a time, each with bytes of its own, of which each gets exactly those back."""
    socks = [clients.connect(host.address("good")) for _ in range(4)]
    for turn in range(3):
        words = [clients.random_bytes(3000, seed=seed + 10 * turn + i) for i in range(len(socks))]
        for sock, data in zip(socks, words):
            sock.sendall(data)
        for sock, data in zip(socks, words):
            assert clients.receive_exactly(sock, len(data)) == data
    for sock in socks:
        sock.close()


GROUP = 6
"""So many on one host: the log thins out what comes too often."""


@pytest.mark.parametrize("first", [*range(0, FILES, GROUP), FILES])
def test_misuse_ends_the_connection_and_nobody_else_sees_it(run_misuse, first):
    host = run_misuse()
    neighbour = clients.connect(host.address("good"))
    group = FAULTS[first:first + GROUP] if first < FILES else FAULTS[FILES:]
    for number, (commands, words, returned) in enumerate(group):
        before = host.log().count("fault of the plugin")
        sock = clients.connect(host.address("bad"))
        for command in commands[:-1]:
            assert _ask(sock, command) in (b"kept\n", b"dropped\n")
        _others_are_served(host, seed=number)
        answer = _ask(sock, commands[-1])
        assert not answer, (commands, answer)
        clients.wait_until(lambda: host.log().count("fault of the plugin") > before,
                           lambda: f"{commands} in {host.log()}")
        lines = [line for line in host.log().splitlines() if "fault of the plugin" in line][before:]
        assert words in lines[0] and "listener=bad plugin=misuse" in lines[0], lines
        assert "in callback received; connection" in lines[0] and "is cut" in lines[0], lines
        if returned:
            host.wait_for_log(returned)
        assert clients.echo(neighbour, b"still mine") == b"still mine"
        _others_are_served(host, seed=number)
        sock.close()


def test_misuse_on_another_thread_is_named_and_does_no_harm(run_misuse):
    host = run_misuse()
    with clients.connect(host.address("bad")) as sock:
        assert _ask(sock, "keep") == b"kept\n"
        assert _ask(sock, "drop") == b"dropped\n"
        assert _ask(sock, "drop-in-work") == b"worked\n"  # it is no callback of the connection
        host.wait_for_log("in callback work")
        _others_are_served(host, seed=1)


def test_misuse_of_a_connection_on_another_thread_is_refused_and_named(run_misuse):
    host = run_misuse()
    with clients.connect(host.address("bad")) as sock:
        assert _ask(sock, "keep") == b"kept\n"
        assert _ask(sock, "all-in-work") == b"worked\n", "and not a byte else"
        host.wait_for_log("send() of a connection, on a thread that is not the connection's, in callback work")
        for service in ("send", "send_slices", "send_pieces", "want_at_least", "shutdown_send",
                        "submit", "connect"):
            host.wait_for_log(f"{service} returned -2")
        host.wait_for_log("create_for_conn returned 0")
        assert _ask(sock, "drop") == b"dropped\n", "the references that were handed over came back"
        assert _ask(sock, "timer-in-work") == b"worked\n"
        host.wait_for_log("start() of a timer of a connection, on a thread that is not the connection's")
        _others_are_served(host, seed=1)


@pytest.mark.parametrize("command, words", [
    ("slice-large", "a slice that is not inside its buffer"),
    ("slice-before", "a slice that is not inside its buffer"),
    ("slice-without-buffer", "a slice without a buffer"),
    ("send-unowned", "a slice of a buffer of which it holds no reference"),
    ("release-lent", "buffer_release() of a buffer of which it holds no reference"),
    ("release-sent", "buffer_release() of a buffer of which it holds no reference"),
])
def test_misuse_of_datagrams_is_refused_and_named(run_misuse, command, words):
    host = run_misuse()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        for _ in range(10):
            sock.sendto(command.encode() + b"\n", host.address("packets"))
            try:
                clients.wait_until(lambda: words in host.log(), "the line of the fault", timeout=2)
                break
            except AssertionError:
                continue
        host.wait_for_log(words)
        host.wait_for_log("in callback datagram")
        sock.settimeout(0.2)
        try:
            assert sock.recv(200000) == command.encode() + b"\n"  # release-sent: it was sent
        except socket.timeout:
            if command == "release-sent":
                host.wait_for_log("send returned 0")
    _others_are_served(host, seed=3)
