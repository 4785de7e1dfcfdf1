"""The plugin `pop3` and messages: whatever ends a session, wherever, none is lost, and none is there
twice. Only what was deleted goes, and only by QUIT."""

import pytest
from support import clients, pop3

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]

SCRIPT = ["CAPA", "USER ann", "PASS secret", "STAT", "LIST", "UIDL", "RETR 1", "DELE 1", "RETR 2",
          "TOP 3 1", "DELE 3", "RSET", "DELE 2", "DELE 4", "NOOP", "QUIT"]
LONG_ANSWERS = ("CAPA", "LIST", "UIDL", "RETR", "TOP")
LOGGED_IN = SCRIPT.index("PASS secret") + 1


@pytest.fixture
def messages(mail):
    """Four of them, in new/ and cur/."""
    return [mail.deliver("ann", flags=flags) for flags in (None, "S", None, "")]


def contents(mail):
    return {path.name: path.read_bytes() for path in mail.files("ann")}


def follow(session, count):
    """Speaks so many commands of the script, each answered to its end; says whether QUIT was."""
    for command in SCRIPT[:count]:
        session.ok(command)
        if command.split()[0] in LONG_ANSWERS:
            session.body()
    return count == len(SCRIPT)


def is_right(mail, messages, before, quit_was_answered):
    """Each message is there once and whole, but for those that QUIT has removed."""
    left = [messages[0], messages[2]] if quit_was_answered else messages
    assert mail.messages("ann") == sorted(left)
    after = contents(mail)
    assert after.items() <= before.items(), "files are removed, never changed"
    return True


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_pop3_session_that_ends_at_any_command_loses_nothing(run_pop3, mail, messages, how):
    host = run_pop3()
    before = contents(mail)
    for count in range(len(SCRIPT) + 1):
        if count >= LOGGED_IN:  # the mailbox of the one before
            with pop3.logged_in(host) as session:
                session.ok("QUIT")
        session = pop3.Session(host.address("pop3"))
        answered = follow(session, count)
        if how == "reset":
            session.reset()
        else:
            session.close()
        assert is_right(mail, messages, before, answered)
    with pop3.logged_in(host) as session:
        assert session.ok("STAT").startswith("2 ")
        session.ok("QUIT")


def test_pop3_session_that_ends_in_the_middle_of_a_command_loses_nothing(run_pop3, mail, messages):
    """The next command has been sent but for its end, or altogether, and nobody waits for the answer."""
    host = run_pop3()
    before = contents(mail)
    for count in range(LOGGED_IN, len(SCRIPT) - 1):
        for command in (SCRIPT[count] + "\r\n", "QUI", "QUIT\r"):
            with pop3.logged_in(host) as session:
                for line in SCRIPT[LOGGED_IN:count]:
                    session.ok(line)
                    if line.split()[0] in LONG_ANSWERS:
                        session.body()
                session.send(command.encode())
                session.reset()
            assert is_right(mail, messages, before, False)


def test_pop3_session_that_ends_right_behind_its_quit_loses_no_other(run_pop3, mail, messages):
    """Whether it is carried out then, nobody can know: what was not deleted stays in any case."""
    host = run_pop3()
    for _ in range(5):
        with pop3.logged_in(host) as session:
            if mail.messages("ann") == sorted(messages):
                session.ok("DELE 2")
                session.ok("DELE 4")
            session.send(b"QUIT\r\n")
            session.reset()
    with pop3.logged_in(host) as session:
        session.ok("QUIT")
    assert set(mail.messages("ann")) in ({messages[0], messages[2]},
                                         {messages[0], messages[2], messages[1]},
                                         {messages[0], messages[2], messages[3]}, set(messages))


HOSTS = 4


@pytest.mark.parametrize("first", range(HOSTS))
def test_pop3_host_that_is_killed_at_any_command_loses_nothing(run_pop3, mail, messages, first):
    """Each boundary of the script has a host of its own, which finds what the one before has left;
    every fourth of them is here."""
    before = contents(mail)
    answered = False
    for count in range(first, len(SCRIPT) + 1, HOSTS):
        host = run_pop3()
        with pop3.session(host) as session:
            answered = follow(session, count)
            host.process.kill()
            host.process.wait(clients.WAIT_S)
            host.stop = lambda: None  # it has not come to a good end
        assert is_right(mail, messages, before, answered)
    with pop3.logged_in(run_pop3()) as session:
        assert session.ok("STAT").startswith("2 " if answered else "4 ")
        session.ok("QUIT")


def test_pop3_client_that_keeps_its_mail_sees_each_message_once(run_pop3, mail):
    """Fetch, be cut, fetch again, with new mail coming in: by their ids, each comes exactly once."""
    host = run_pop3()
    seen = {}
    for turn in range(6):
        for _ in range(3):
            mail.deliver("ann", flags="S" if turn % 2 else None)
        with pop3.logged_in(host) as session:
            for line in session.listing("UIDL"):
                number, uid = line.split(" ")
                if uid not in seen:
                    session.ok("RETR", number)
                    seen[uid] = session.body()
                    session.ok("DELE", number)
            if turn % 3 == 2:
                session.ok("QUIT")
            else:
                session.reset()
    assert len(seen) == 18 and len(set(seen.values())) == 18
