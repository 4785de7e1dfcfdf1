"""The plugin `chat` among clients that mean it ill, or do not read."""

import contextlib
import socket
import time

import pytest
from support import chat, clients

pytestmark = pytest.mark.any_engine


@pytest.fixture
def run_chat(run_host):
    def run(config=None, host=None, **more):
        return run_host(chat.manifest(config, {"workers": 2, **(host or {})}, **more))

    return run


@pytest.mark.parametrize("line, answer", [
    ("hello", "error no-nick"),
    ("/join tea", "error no-nick"),
    ("/leave", "error no-nick"),
    ("/msg ann hello", "error no-nick"),
    ("/who", "error no-room"),
    ("/nick", "error missing-word"),
    ("/join", "error missing-word"),
    ("/msg", "error missing-word"),
    ("/msg ann", "error missing-word"),
    ("/nick Ann", "error bad-name"),
    ("/nick ann\u00e9", "error bad-name"),
    ("/nick " + "a" * 25, "error bad-name 1 to 24"),
    ("/nick ann ben", "error surplus-word"),
    ("/ping ann", "error surplus-word"),
    ("/", "error unknown-command"),
    ("/NICK ann", "error unknown-command"),
    ("/nickname ann", "error unknown-command"),
    ("/nic ann", "error unknown-command"),
    (b"nul \0 byte", "error not-text"),
    (b"\x1b[31mred", "error not-text"),
    (b"a\ttab", "error not-text"),
    (b"a\rcarriage return", "error not-text"),
    (b"\xff\xfe", "error not-text"),
    (b"\xc0\x80", "error not-text"),
    (b"\xed\xa0\x80", "error not-text"),
    (b"\xc2\x9b31m", "error not-text"),
    ("next\u0085line", "error not-text"),
    ("line\u2028separator", "error not-text"),
    ("paragraph\u2029separator", "error not-text"),
    ("\u202eoverride", "error not-text"),
    ("\u202aembedding\u202c", "error not-text"),
    ("\u2066isolate\u2069", "error not-text"),
    (b"cut off \xe2\x82", "error not-text"),
])
def test_chat_answers_a_mistake_and_forgets_it(run_chat, line, answer):
    host = run_chat()
    with chat.members(host, None) as (member,):
        assert member.ask(line).startswith(answer)
        assert member.ask("/nick ann") == "ok nick ann"


def test_chat_commands_in_a_wrong_state_are_errors(run_chat):
    host = run_chat()
    with chat.members(host, "ann") as (ann,):
        assert ann.ask("hello").startswith("error no-room")
        assert ann.ask("/leave").startswith("error no-room")
        assert ann.ask("/join tea") == "ok join tea 1"
        assert ann.ask("/join tea", "ok join") == "ok join tea 1", "again is no harm"
        assert ann.until_pong() in ([], ["joined tea ann"]), "and no news"
        assert ann.ask("/leave", "ok leave") == "ok leave tea"
        assert ann.ask("/leave", "error").startswith("error no-room")


@pytest.mark.parametrize("data", [
    b"x" * 1025 + b"\n",
    b"x" * 1026 + b"\r\n",
    b"x" * 100000,
    b"/nick ann\n" + b"y" * 5000 + b"\n/ping\n",
    b"\0" * 5000,
], ids=["a byte", "a byte and CR LF", "endless", "after a good one", "zeros"])
def test_chat_ends_after_an_oversized_line(run_chat, data):
    host = run_chat()
    with chat.members(host, None) as (member,):
        with contextlib.suppress(ConnectionError):
            member.sock.sendall(data)
        assert member.rest()[-1] == "error line-too-long at most 1024 bytes"
    assert "message is longer" not in host.log()


def test_chat_takes_the_longest_line(run_chat):
    host = run_chat()
    with chat.members(host, "ann", room="tea") as (ann,):
        for end in (b"\n", b"\r\n"):
            ann.sock.sendall(b"x" * 1024 + end)
            assert ann.line_with("say") == "say tea ann " + "x" * 1024


def test_chat_survives_pipelined_garbage(run_chat):
    host = run_chat()
    noise = clients.random_bytes(300000, seed=61).replace(b"\n", b"").replace(b"\r", b"")
    lines = [noise[at : at + 97] for at in range(0, len(noise), 97)]
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        with clients.Writer(ann.sock, [b"\n".join(lines) + b"\n/ping\n"]):
            answers = []
            while (line := ann.line()) != "pong":
                answers.append(line)
        errors = [line for line in answers if line.startswith("error not-text")]
        assert len(errors) == len(lines)
        assert ben.ask("still there", "say") == "say tea ben still there"


@pytest.mark.parametrize("pieces", [[b"/nick ann"], [b"/nick", b" ", b"a", b"n"]])
def test_chat_cuts_a_line_that_is_not_finished(run_chat, pieces):
    """However often a byte of it comes, which keeps the connection itself from being idle."""
    host = run_chat({"line_timeout_ms": 1500})
    with chat.members(host, None) as (member,):
        assert member.ask("/ping") == "pong"
        for piece in pieces:
            member.sock.sendall(piece)
            time.sleep(0.2)
        assert member.rest() == ["error slow-line it was not finished in time"]


def test_chat_byte_by_byte_is_a_line_like_any_other(run_chat):
    host = run_chat()
    with chat.members(host, None) as (member,):
        for byte in b"/nick ann\r\n":
            member.sock.sendall(bytes([byte]))
            time.sleep(0.01)
        assert member.line() == "ok nick ann"


def test_chat_cuts_one_byte_a_second_by_the_limits(run_chat):
    host = run_chat({"line_timeout_ms": 3000})
    with chat.members(host, None) as (member,):
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                member.sock.sendall(b"x")
                member.sock.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    if member.sock.recv(100):
                        return
        raise AssertionError("it was not cut")


def test_chat_cuts_the_idle(run_chat):
    host = run_chat(idle_timeout_ms=300)
    with chat.members(host, None) as (silent,):
        assert silent.rest() == ["bye idle for too long"]


def test_chat_half_open_sessions_cost_nobody_anything(run_chat, system):
    """Thousands that connect and say nothing, or half a line, or leave at once."""
    count = 2000 if not (system.is_sanitized or system.is_windows) else 300
    host = run_chat(limits={"connections": 10000, "per_client": 10000})
    with contextlib.ExitStack() as stack:
        for number in range(count):
            sock = stack.enter_context(clients.connect(host.address("chat")))
            if number % 3 == 1:
                sock.sendall(b"/nick nobody-")
            if number % 3 == 2:
                clients.reset(sock)
        with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
            ann.send("x")
            assert ben.line_with("say") == "say tea ann x"


def flood(member, count, size, ahead=8):
    """Says so much in the room and hears it, never more than a few lines ahead of that: it is none
    of the slow ones."""
    for number in range(count + ahead):
        if number < count:
            member.send(b"%06d " % number + b"x" * size)
        if number >= ahead:
            words = member.line_with("say").split()
            assert int(words[3]) == number - ahead


def test_chat_drops_messages_of_a_slow_receiver_and_tells_how_many(run_chat):
    host = run_chat(limits={"send_queue_bytes": 16384}, socket={"send_buffer_bytes": 16384})
    count, size = 4000, 1000
    with chat.members(host, "ann", "slow", room="tea") as (ann, slow):
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        flood(ann, count, size)  # and hears all of it: the slow one holds up nobody
        heard, missed = 0, 0
        slow.send("/ping")
        while heard + missed < count:
            words = slow.line_with("say", "missed").split()
            if words[0] == "say":
                assert int(words[3]) == heard + missed, "in order, and what is missing is told"
                heard += 1
            else:
                missed += int(words[1])
        assert heard > 0 and missed > 0
        assert ann.ask("and on", "say") == slow.line_with("say") == "say tea ann and on"
    host.stop()
    assert f"slow receivers have missed {missed} messages" in host.log()


def test_chat_disconnects_a_slow_receiver_where_that_is_wanted(run_chat):
    host = run_chat({"slow": "disconnect"}, limits={"send_queue_bytes": 16384},
                    socket={"send_buffer_bytes": 16384})
    with chat.members(host, "ann", "slow", room="tea") as (ann, slow):
        flood(ann, 4000, 1000)
        with contextlib.suppress(ConnectionError):
            slow.rest()
        clients.wait_until(lambda: ann.ask("/who", "who") == "who tea 1 ann", "its end")
    assert host.log().count("slow receiver: disconnected") == 1


def test_chat_flooding_sender_is_held_back_and_others_are_served(run_chat, system):
    """More than can be delivered at once: nothing of it is lost, and memory stays bounded."""
    host = run_chat(limits={"send_queue_bytes": 8388608, "send_queue_pieces": 100000})
    with chat.members(host, "flood", "ann", "ben", room="tea") as (sender, ann, ben):
        before = host.memory_bytes()
        count = 20000 if not (system.is_sanitized or system.is_windows) else 2000

        def listen(member):
            for number in range(count):
                assert int(member.line_with("say tea flood").split()[3]) == number

        def talk():
            with chat.members(host, "cleo") as (cleo,):
                for number in range(20):
                    assert cleo.ask(f"/msg cleo {number}", "msg") == f"msg cleo {number}"

        lines = b"".join(b"%06d\n" % number for number in range(count))
        with clients.Writer(sender.sock, [lines]):
            clients.in_threads([*(lambda m=member: listen(m) for member in (sender, ann, ben)), talk])
        if system.measures_memory:
            assert host.memory_bytes() - before < 32 * 1024 * 1024


def test_chat_answers_to_one_who_does_not_read_are_bounded(run_chat, system):
    """Long answers to short questions: it is read from no more until it reads."""
    host = run_chat({"announce_max": 0})
    with chat.members(host, *(f"a-name-of-24-bytes-{n:05}" for n in range(150)), room="tea") as (one, *_):
        before = host.memory_bytes()
        questions = b"/who\n" * 8000
        sent = clients.fill(one.sock, questions)
        if system.measures_memory:
            assert host.memory_bytes() - before < 32 * 1024 * 1024
        assert chat.Member(host).ask("/ping") == "pong"
        one.sock.settimeout(clients.WAIT_S)
        for _ in range(sent // 5):
            assert one.line().startswith("who tea 150 ")


def test_chat_refuses_what_the_posts_have_no_room_for(run_chat):
    host = run_chat(host={"workers": 1, "limits": {"posts": 4}})
    with chat.members(host, "ann", room="tea") as (ann,):
        ann.send(*(["x"] * 40))
        lines = ann.until_pong()
        said = lines.count("say tea ann x")
        refused = sum(line.startswith("error busy") for line in lines)
        assert said + refused <= 40 and refused > 0
        assert ann.ask("after", "say tea ann after", "error busy")


def lines_to(member, *beginnings):
    """The lines up to the first that begins so, with it."""
    lines = [member.line()]
    while not lines[-1].startswith(beginnings):
        lines.append(member.line())
    return lines


def test_chat_is_heard_once_by_those_who_hear_it_and_its_sender_knows(run_chat):
    """One worker has room for a post and another has none: who is told that nobody has heard a line
    may say it again."""
    host = run_chat(host={"workers": 2, "limits": {"posts": 1}})
    nicks = [f"m{number}" for number in range(6)]  # on both workers
    count = 40
    with chat.members(host, *nicks) as all_of_them:
        for member in all_of_them:
            member.ask("/join tea", "ok join")
        for sender, nick in zip(all_of_them, nicks, strict=True):
            sender.send(*(f"line {number}" for number in range(count)))
            errors = [line for line in sender.until_pong() if line.startswith("error")]
            unheard = sum(line.startswith("error busy") for line in errors)
            partly = sum(line.startswith("error partly-said") for line in errors)
            turn = 0
            sender.send("end 0")
            while lines_to(sender, f"say tea {nick} end {turn}", "error")[-1].startswith("error"):
                turn += 1
                sender.send(f"end {turn}")
            for member in all_of_them:
                if member is not sender:
                    lines = lines_to(member, f"say tea {nick} end {turn}")
                    said = [line for line in lines if line.startswith(f"say tea {nick} line")]
                    assert len(said) == len(set(said))
                    assert count - unheard - partly <= len(said) <= count - unheard


def test_chat_tells_those_it_has_no_room_for(run_chat):
    host = run_chat(limits={"connections": 1}, accept={"at_limit": "refuse"})
    with chat.members(host, "ann"), chat.members(host, None) as (other,):
        assert other.rest() == ["error busy too many connections"]
