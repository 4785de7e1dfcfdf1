"""The plugin `chat` for very many who are mostly silent."""

import contextlib
import selectors

import pytest
from support import chat, clients

pytestmark = pytest.mark.threads

MEMBERS = {"linux": 10000, "windows": 500}
"""The sanitizers and the other engine get 1000."""


def each_receives(socks, beginning):
    """Reads from all of them until each has had a line that begins so; how often a line did."""
    selector = selectors.DefaultSelector()
    waiting = {}
    count = 0
    for sock in socks:
        waiting[sock] = b""
        selector.register(sock, selectors.EVENT_READ)
    while waiting:
        ready = selector.select(clients.TRANSFER_S)
        assert ready, f"{len(waiting)} of {len(socks)} have not heard {beginning!r}"
        for key, _ in ready:
            sock = key.fileobj
            data = sock.recv(65536)
            assert data, "a member was cut"
            *lines, waiting[sock] = (waiting[sock] + data).split(b"\n")
            found = sum(line.startswith(beginning) for line in lines)
            count += found
            if found:
                selector.unregister(sock)
                del waiting[sock]
    selector.close()
    return count


def test_chat_idle_members_are_cheap_and_all_hear_one_message(run_host, system, record_property):
    count = MEMBERS.get(system.name, 1000)
    host = run_host(chat.manifest(
        {"members_max": count + 1}, {"workers": 2, "limits": {"connections": 20000}},
        limits={"connections": 20000, "per_client": 20000},
    ))
    with contextlib.ExitStack() as stack:
        (speaker,) = stack.enter_context(chat.members(host, "speaker", room="hall"))
        before = host.memory_bytes()
        socks = []
        for number in range(count):
            sock = stack.enter_context(clients.connect(host.address("chat")))
            sock.sendall(b"/nick m%d\n/join hall\n" % number)
            socks.append(sock)
        assert each_receives(socks, b"ok join hall ") == count
        each = (host.memory_bytes() - before) / count
        record_property("bytes_per_idle_member", round(each))
        print(f"{count} idle members: {each:.0f} bytes of the host's memory each")
        if system.measures_memory:
            assert each < 4096

        speaker.send("to everybody")
        assert each_receives(socks, b"say hall speaker to everybody") == count
        assert speaker.line_with("say") == "say hall speaker to everybody"
        if system.is_windows or system.is_sanitized:
            return
        assert host.idles(), "nothing is done for those who are silent"
