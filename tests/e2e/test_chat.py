"""The plugin `chat`: what its clients say, and what they hear."""

import socket

import pytest
from support import chat, clients

pytestmark = [
    pytest.mark.threads,
    pytest.mark.full("linux-*san-epoll", why="both engines serve it alike; the tests of connections run there"),
]


@pytest.fixture
def run_chat(run_host):
    """run_chat(…) serves the plugin `chat`, on three workers where the test does not say."""

    def run(config=None, host=None, **more):
        return run_host(chat.manifest(config, {"workers": 3, **(host or {})}, **more))

    return run


@pytest.mark.quick
def test_chat_says_to_all_in_the_room_and_to_nobody_else(run_chat):
    host = run_chat()
    with (chat.members(host, "ann", "ben", "cleo", "dave", room="tea") as inside,
          chat.members(host, "eve", room="coffee") as (outside,)):
        inside[0].send("hello, all")
        for member in inside:
            assert member.line_with("say") == "say tea ann hello, all"
        inside[3].send("//me waves")
        for member in inside:
            assert member.line_with("say") == "say tea dave /me waves"
        assert not [line for line in outside.until_pong() if line.startswith("say")]


def test_chat_carries_any_text_and_either_line_end(run_chat):
    host = run_chat()
    with chat.members(host, "ann", room="tea") as (one,):
        for text in ("grüße, κόσμε, 世界 🙂", " spaces  stay ", "/" * 30, "x" * 1000):
            one.sock.sendall(("/" if text[0] == "/" else "").encode() + text.encode() + b"\r\n")
            assert one.line_with("say") == f"say tea ann {text}"


def test_chat_keeps_the_order_of_each_sender(run_chat):
    host = run_chat()
    nicks = [f"m{number}" for number in range(6)]
    count = 300
    with chat.members(host, *nicks, room="tea") as all_of_them:
        def talk(member):
            member.send(*(str(number) for number in range(count)))
            heard = {nick: [] for nick in nicks}
            for _ in range(count * len(nicks)):
                _, _, nick, text = member.line_with("say").split()
                heard[nick].append(int(text))
            return heard

        for heard in clients.in_threads([lambda m=member: talk(m) for member in all_of_them]):
            assert heard == {nick: list(range(count)) for nick in nicks}


def test_chat_passes_private_messages(run_chat):
    host = run_chat()
    with chat.members(host, "ann", "ben", "cleo") as (ann, ben, cleo):
        assert ann.ask("/msg ben  for you") == "ok msg ben"
        assert ben.line() == "msg ann for you"
        assert ben.ask("/msg ben note to self", "msg") == "msg ben note to self"
        assert ann.ask("/msg nobody x") == "error no-such-nick nobody"
        ben.close()
        clients.wait_until(lambda: ann.ask("/msg ben x").startswith("error no-such-nick"), "its end")
        assert cleo.until_pong() == []


def test_chat_names_are_unique_and_free_again(run_chat):
    host = run_chat()
    with chat.members(host, "ann") as (ann,), chat.members(host, None) as (other,):
        assert other.ask("/nick ann") == "error nick-taken ann"
        assert ann.ask("/nick anna") == "ok nick anna"
        assert other.ask("/nick ann") == "ok nick ann"
        ann.close()
        clients.wait_until(lambda: other.ask("/nick anna") == "ok nick anna", "the name")


def test_chat_same_name_again_is_no_news(run_chat):
    host = run_chat()
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        assert ann.ask("/nick ann", "ok nick") == "ok nick ann"
        ann.until_pong()
        assert not [line for line in ben.until_pong() if line.startswith("renamed")]


LEAVING = {"quit": (b"/quit\n", "bye"), "too long": (b"x" * 2000, "error line-too-long"),
           "unfinished": (b"half a li", "error slow-line"), "idle": (b"", "bye idle for too long")}


@pytest.mark.parametrize("said, answer", LEAVING.values(), ids=LEAVING)
def test_chat_who_goes_is_gone_though_the_client_keeps_its_connection(run_chat, said, answer):
    """The room is told, and the name is free, before the socket's end."""
    limits = {"idle_timeout_ms": 2500} if not said else {}
    host = run_chat({"line_timeout_ms": 300}, close_timeout_ms=60000, **limits)
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        clients.send_quietly(ann.sock, said)
        clients.wait_until(lambda: "left tea ann" in ben.until_pong(), "the news")
        assert ann.line_with("bye", "error").startswith(answer)
        assert ben.ask("/who", "who") == "who tea 1 ben"
        assert ben.ask("/msg ann x", "error", "ok msg") == "error no-such-nick ann"
        assert ben.ask("/nick ann", "ok nick", "error") == "ok nick ann"


def test_chat_tells_small_rooms_who_comes_and_goes(run_chat):
    host = run_chat()
    with chat.members(host, "ann", room="tea") as (ann,):
        assert ann.line() == "joined tea ann"
        with chat.members(host, "ben", room="tea") as (ben,):
            assert ann.line() == "joined tea ben"
            ben.send("/nick benno")
            assert ann.line() == "renamed tea ben benno"
            assert ben.ask("/leave", "ok leave") == "ok leave tea"
            assert ann.line() == "left tea benno"
            ben.send("/join tea")
            assert ann.line() == "joined tea benno"
            ben.send("/join coffee")
            assert ann.line() == "left tea benno"
            ben.send("/join tea")
            assert ann.line() == "joined tea benno"
        assert ann.line() == "left tea benno"


def test_chat_tells_large_rooms_nothing_of_that(run_chat):
    host = run_chat({"announce_max": 1})
    with chat.members(host, "ann", room="tea") as (ann,):
        assert ann.line() == "joined tea ann"
        with chat.members(host, "ben", "cleo", room="tea") as (ben, _):
            ben.send("x")
            assert ann.line() == "say tea ben x"


def test_chat_lists_members_and_rooms(run_chat):
    host = run_chat()
    with (chat.members(host, "ann", "ben", room="tea") as (ann, _),
          chat.members(host, "cleo") as (cleo,)):
        assert sorted(ann.ask("/who", "who").split()) == ["2", "ann", "ben", "tea", "who"]
        assert cleo.ask("/who").startswith("error no-room")
        assert cleo.ask("/who tea").startswith("who tea 2 ")
        assert cleo.ask("/who coffee") == "error no-such-room coffee"
        assert cleo.ask("/rooms") == "rooms 1 tea"
        cleo.ask("/join coffee")
        assert sorted(ann.ask("/rooms", "rooms").split()) == ["2", "coffee", "rooms", "tea"]
        cleo.ask("/leave", "ok leave")
        clients.wait_until(lambda: ann.ask("/rooms", "rooms") == "rooms 1 tea", "the empty room's end")


def test_chat_lists_are_bounded(run_chat, system):
    count = 300
    host = run_chat({"announce_max": 0})
    nicks = [f"a-name-of-24-bytes-{number:05}" for number in range(count)]
    with chat.members(host, *nicks, room="tea") as all_of_them:
        line = all_of_them[0].ask("/who")
        words = line.split()
        assert words[:3] == ["who", "tea", str(count)]
        assert len(line) <= 4096 + 8 and 100 < len(words) - 3 < count
        assert set(words[3:]) <= set(nicks)


def test_chat_answers_the_small_commands(run_chat):
    host = run_chat()
    with chat.members(host, "ann") as (ann,):
        assert ann.ask("/ping") == "pong"
        assert ann.ask("/help").startswith("help /nick NAME, ")
        ann.send("", "   ", "/quit", "/ping")
        assert ann.rest() == ["bye"], "empty lines are none, and nothing follows the end"


def test_chat_limits_members_and_rooms(run_chat):
    host = run_chat({"members_max": 2, "rooms_max": 2})
    with (chat.members(host, "ann", "ben", room="tea"),
          chat.members(host, "cleo", "dave") as (cleo, dave)):
        assert cleo.ask("/join tea") == "error room-full tea"
        assert cleo.ask("/join coffee") == "ok join coffee 1"
        assert dave.ask("/join milk") == "error rooms-full"
        assert cleo.line_with("joined") == "joined coffee cleo"
        assert cleo.ask("/join milk") == "error rooms-full", "its own is given back after that"


def test_chat_served_to_those_who_speak_first(run_chat):
    """Accepted on data, as in the example."""
    host = run_chat(when="data")
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        ann.send("x")
        assert ben.line_with("say") == "say tea ann x"


def test_chat_half_closed_client_gets_its_answers(run_chat):
    host = run_chat()
    with chat.members(host, "ann") as (ann,):
        ann.send("/ping", "/ping")
        ann.sock.shutdown(socket.SHUT_WR)
        assert ann.rest() == ["pong", "pong"]


def test_chat_says_goodbye_when_the_host_stops(run_chat):
    host = run_chat(close_timeout_ms=500)
    with chat.members(host, "ann", "ben", room="tea") as (ann, ben):
        host.interrupt()
        assert ann.rest()[-1] == ben.rest()[-1] == "bye the server stops"
        assert host.wait() == 0


def test_chat_stops_while_all_talk(run_chat):
    host = run_chat(close_timeout_ms=500)
    nicks = [f"m{number}" for number in range(8)]
    with chat.members(host, *nicks, room="tea") as all_of_them:
        for member in all_of_them:
            member.send(*(["more and more"] * 200))
        all_of_them[0].line_with("say")
        host.interrupt()
        for member in all_of_them:
            clients.wait_ended(member.sock)
        assert host.wait() == 0


def test_chat_longest_line_fits_into_what_the_host_keeps(run_chat):
    host = run_chat({"line_bytes": 511}, limits={"message_bytes": 512})
    with chat.members(host, "ann", room="tea") as (ann,):
        ann.sock.sendall(b"x" * 511 + b"\r")
        ann.sock.sendall(b"\n")
        assert ann.line_with("say") == f"say tea ann {'x' * 511}"
        ann.sock.sendall(b"x" * 513)
        assert ann.rest()[-1] == "error line-too-long at most 511 bytes"


@pytest.mark.parametrize("config, code, message", [
    ({"line_bytes": 63}, 78, "/line_bytes: expected a whole number from 64 to 16384"),
    ({"name_bytes": 33}, 78, "/name_bytes: expected a whole number from 1 to 32"),
    ({"slow": "wait"}, 78, '/slow: expected "drop-message" or "disconnect"'),
    ({"room_max": 1}, 78, '/room_max: unknown key (did you mean "rooms_max"?)'),
    ({"line_bytes": 512}, 1, '/line_bytes: 512 must be less than the listener\'s "limits.message_bytes" '
     "(512): lower the one or raise the other"),
])
def test_chat_tells_what_is_wrong_with_its_configuration(fail_to_start, config, code, message):
    config = {"line_bytes": 256, **config}
    result = fail_to_start(chat.manifest(config, limits={"message_bytes": 512}))
    assert result.code == code and message in result.errors, result
