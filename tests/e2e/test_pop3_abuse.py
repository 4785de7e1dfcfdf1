"""The plugin `pop3` under those who mean no good: whatever they send, others are served."""

import contextlib
import time

import pytest
from support import clients, pop3

pytestmark = pytest.mark.any_engine


@pytest.mark.parametrize("state", ["new", "user", "logged in"])
@pytest.mark.parametrize("line", [b"x" * 255, b"NOOP" + b" " * 252 + b"\r\n", b"PASS " + b"y" * 100000],
                         ids=["without-end", "with-end", "huge"])
def test_pop3_closes_on_a_line_that_is_too_long(run_pop3, state, line):
    host = run_pop3()
    with pop3.session(host) as session:
        if state == "user":
            session.ok("USER ann")
        elif state == "logged in":
            session.log_in()
        clients.send_quietly(session.sock, line)
        assert session.line() == "-ERR the line is too long"
        clients.wait_ended(session.sock)
    with pop3.logged_in(host) as session:
        session.ok("STAT")


def test_pop3_takes_the_longest_line_there_may_be(run_pop3):
    with pop3.session(run_pop3()) as session:
        session.send(b"x" * 253 + b"\r\n" + b"y" * 254 + b"\n")
        assert [session.line(), session.line()] == ["-ERR unknown command"] * 2
        session.ok("CAPA")


@pytest.mark.parametrize("line", [b"\0", b"NO\0OP", b"USER a\0nn", b"USER ann\0", b"\x80\xff", b"NOOP\r",
                                  b"\t", b"", b" ", b" NOOP", b"NOOPS", b"NOO", b"\x1b[2J"], ids=repr)
def test_pop3_refuses_lines_that_no_command_is(run_pop3, line):
    with pop3.session(run_pop3()) as session:
        for _ in range(2):
            session.send(line + b"\r\n")
            assert session.line() == "-ERR unknown command"
            if session.ask("STAT").startswith("-ERR"):
                session.log_in()


BEFORE = ["STAT", "LIST", "LIST 1", "UIDL", "RETR 1", "TOP 1 0", "DELE 1", "RSET", "NOOP"]
AFTER = ["USER ann", "PASS secret", "APOP ann 0123456789abcdef0123456789abcdef"]
NUMBERS = ["", " 0", " 2", " 4294967295", " 4294967296", " 18446744073709551617", " -1", " +1", " 1 1",
           " 0x1", "  1", " a"]


def test_pop3_refuses_commands_in_every_wrong_state(run_pop3, mail):
    mail.deliver("ann")
    with pop3.session(run_pop3()) as session:
        for command in [*BEFORE, "PASS secret", *AFTER[2:]]:
            session.refused(command)
        session.ok("USER ann")
        for command in BEFORE:
            session.refused(command)
        session.ok("PASS secret")
        for command in AFTER:
            assert session.refused(command) == "already logged in"
        for command in ("RETR", "DELE", "LIST", "UIDL"):
            for number in NUMBERS:
                if number or command not in ("LIST", "UIDL"):
                    session.refused(command + number)
        for arguments in ("", " 1", " 1 -1", " 2 0", " 1 0 0", " 0 0", " a b"):
            session.refused("TOP" + arguments)
        for command in ("STAT 1", "NOOP x", "RSET 1", "QUIT now", "CAPA x", "RETR 1 "):
            answer = session.ask(command)
            assert answer.startswith("+OK" if command == "RETR 1 " else "-ERR"), (command, answer)
        session.body()
        session.ok("DELE 1")
        for command in ("RETR 1", "DELE 1", "LIST 1", "UIDL 1", "TOP 1 0"):
            session.refused(command)
        session.ok("RSET")
        session.ok("QUIT")
        session.wait_closed()
    assert len(mail.messages("ann")) == 1


def test_pop3_survives_garbage_sent_ahead(run_pop3, mail):
    uid = mail.deliver("ann")
    host = run_pop3()
    for seed in range(8):
        garbage = clients.random_bytes(64 * 1024, seed).replace(b"\0", b"\n")
        with (pop3.logged_in if seed % 2 else pop3.session)(host) as session:
            with contextlib.suppress(ConnectionError), clients.Writer(session.sock, [garbage, b"\n\n"]):
                clients.wait_ended(session.sock)
    with pop3.logged_in(host) as session:
        assert session.ok("UIDL 1") == f"1 {uid}"


def test_pop3_is_not_flooded_by_one_that_never_reads(run_pop3, mail, system):
    """Empty lines, each of which has an answer of twenty bytes; whole messages, asked for without end."""
    mail.deliver("ann", b"Subject: x\n\n" + b"0123456789abcdef\n" * 10000)
    host = run_pop3(limits={"send_queue_bytes": 65536})
    before = host.memory_bytes()
    with pop3.session(host) as one, pop3.session(host) as two:
        one.log_in()
        clients.fill(one.sock, b"RETR 1\r\n" * 100000)
        clients.fill(two.sock, b"\n" * 4000000)
        with pop3.session(host) as session:
            session.ok("CAPA")
        if system.measures_memory:
            assert host.memory_bytes() - before < 16 * 1024 * 1024


def test_pop3_cuts_slow_senders(run_pop3, mail):
    """One byte a second is never idle for the listener; only whole commands count here."""
    uid = mail.deliver("ann")
    host = run_pop3({"login_timeout_ms": 12000, "autologout_ms": 6000}, idle_timeout_ms=10000)
    with pop3.session(host) as before, pop3.session(host) as after:
        after.log_in()
        after.ok("DELE 1")
        deadline = time.monotonic() + clients.WAIT_S
        open_now = [before.sock, after.sock]
        while open_now:
            assert time.monotonic() < deadline, "it is still served"
            for sock in open_now[:]:
                if clients.has_ended(sock) or not clients.send_quietly(sock, b"x"):
                    open_now.remove(sock)
            time.sleep(1)
    assert mail.messages("ann") == [uid]
    host.wait_for_log("logged out: silent for too long")
    host.wait_for_log("cut: not logged in for too long")


def test_pop3_serves_others_beside_thousands_of_half_open_sessions(run_pop3, mail, system):
    mail.deliver("ann")
    count = 300 if system.is_windows or system.is_sanitized else 2000
    host = run_pop3({"login_timeout_ms": 5000}, idle_timeout_ms=60000)
    with contextlib.ExitStack() as held:
        socks = []
        for number in range(count):
            sock = held.enter_context(clients.connect(host.address("pop3")))
            clients.send_quietly(sock, (b"", b"USE", b"USER ann\r\nPASS sec", b"CAPA")[number % 4])
            socks.append(sock)
        with pop3.session(host) as session:
            session.log_in()
            session.ok("RETR 1")
            session.body()
            session.ok("QUIT")
        for sock in socks:
            clients.wait_ended(sock)
