"""The plugin `pop3`: who gets in, how fast one may guess, and the file that says so."""

import contextlib
import hashlib
import itertools
import socket
import subprocess
import time

import pytest
from support import clients, pop3

pytestmark = [
    pytest.mark.threads,
    pytest.mark.any_engine,
    pytest.mark.full("linux-tsan", why="logins differ in their words; sessions run there"),
]

WRONG = "[AUTH] wrong user name or password"


# -- passwords -----------------------------------------------------------------------------------------


def test_pop3_says_the_same_about_wrong_users_and_wrong_passwords(run_pop3):
    with pop3.session(run_pop3({"login_delay_ms": 0, "login_failures_max": 10})) as session:
        for user, password in [("ann", "Secret"), ("nobody", "secret"), ("ann", ""), ("ann", "secret "),
                               ("ann", "x" * 240), ("ANN", "secret")]:
            session.ok("USER", user)
            assert session.refused("PASS", password) == WRONG
            assert session.refused("PASS", "secret") == "USER comes first"
        session.log_in()


@pytest.mark.parametrize("password", ["two words", " spaces ", "pässwörd €", "a:b$c", "x" * 248],
                         ids=["words", "spaces", "utf-8", "punctuation", "long"])
def test_pop3_takes_any_password_that_fits_into_a_line(run_pop3, mail, password):
    mail.add_user("eve", pop3.hashed(password, rounds=1, salt=b"\xfb\xff\xbe\0"))
    with pop3.session(run_pop3()) as session:
        session.log_in("eve", password)


def test_pop3_closes_after_some_failures(run_pop3):
    with pop3.session(run_pop3({"login_delay_ms": 1, "login_failures_max": 2})) as session:
        for _ in range(2):
            session.ok("USER ann")
            assert session.refused("PASS wrong") == WRONG
        session.wait_closed()


def digest(stamp, secret):
    return hashlib.md5((stamp + secret).encode()).hexdigest()


def test_pop3_takes_apop_only_from_users_whose_secret_it_has(run_pop3, mail):
    mail.add_user("carl", "{apop}tanstaaf")
    host = run_pop3({"apop": "always", "login_delay_ms": 0, "login_failures_max": 10})
    stamps = []
    for word in ("lower", "upper"):
        with pop3.session(host) as session:
            stamp = session.greeting.split()[-1]
            assert stamp.startswith("<") and stamp.endswith("@berth>")
            stamps.append(stamp)
            for name, secret in [("carl", "wrong"), ("ann", "secret"), ("nobody", ""), ("nobody", "\0"),
                                 ("ann", "")]:
                assert session.refused("APOP", name, digest(stamp, secret)) == WRONG
            assert session.refused("APOP carl", "0" * 31) == WRONG
            assert session.refused("APOP carl") == "wrong arguments"
            answer = digest(stamp, "tanstaaf")
            session.ok("APOP carl", answer if word == "lower" else answer.upper())
            session.ok("QUIT")
    assert stamps[0] != stamps[1]
    with pop3.session(host) as session:
        session.log_in("carl", "tanstaaf")


def test_pop3_has_no_apop_where_nobody_could_use_it(run_pop3):
    with pop3.session(run_pop3()) as session:
        assert session.greeting == "+OK POP3 ready"
        assert session.refused("APOP ann", digest("", "secret")) == "there is no APOP here"
        session.log_in()


@pytest.mark.parametrize("apop, offered, says", [
    (None, False, "APOP is not offered, as 1 of 2 users have hashed passwords"),
    ("never", False, None),
    ("always", True, "clients that prefer it cannot log in as 1 of 2 users"),
])
def test_pop3_offers_apop_only_where_it_keeps_nobody_out(run_pop3, mail, apop, offered, says):
    mail.add_user("carl", "{apop}tanstaaf")
    host = run_pop3({"apop": apop} if apop else {})
    with pop3.session(host) as session:
        assert ("@berth>" in session.greeting) == offered
        session.log_in("carl", "tanstaaf")
    if says:
        host.wait_for_log(says)
    assert bool(says) == ("APOP" in host.log())


def test_pop3_offers_apop_where_everybody_can_use_it(run_pop3, mail):
    mail.users.write_text("", encoding="utf-8")
    mail.add_user("carl", "{apop}tanstaaf")
    host = run_pop3()
    with pop3.session(host) as session:
        session.ok("APOP carl", digest(session.greeting.split()[-1], "tanstaaf"))
    assert "APOP" not in host.log()


# -- where a password is -------------------------------------------------------------------------------


def _memory(pid):
    """The writable memory of a process, part by part."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            begin, end = (int(number, 16) for number in line.split()[0].split("-"))
            if line.split()[1].startswith("rw") and "[v" not in line:
                memory.seek(begin)
                with contextlib.suppress(OSError):  # a guard page, or memory of a device
                    yield memory.read(end - begin)


def _is_in_memory(pid, secrets):
    return [secret for secret in secrets if any(secret in part for part in _memory(pid))]


@pytest.mark.linux("Wine and sanitizers have memory of their own, where copies of all bytes may lie")
@pytest.mark.plain("Wine and sanitizers have memory of their own, where copies of all bytes may lie")
def test_pop3_keeps_no_copy_of_a_password(run_pop3, mail):
    """Whole or in parts, right or wrong, for a session or none, sent ahead or never finished."""
    secrets = [f"{word}-horse-battery-staple".encode()
               for word in ("correct", "incorrect", "ahead", "half", "early", "later", "long")]
    right, wrong, ahead, half, early, later, long = secrets
    mail.add_user("eve", password=right.decode())
    host = run_pop3({"login_delay_ms": 1, "login_failures_max": 9})
    with contextlib.ExitStack() as held:
        def session():
            return held.enter_context(pop3.session(host))

        for parts in ([right], [right[:5], right[5:]], [right[i:i + 1] for i in range(len(right))]):
            one = session()
            one.send(b"USER eve\r\nPASS " + wrong + b"\r\nUSER eve\r\nNOOP\r\nPASS ")
            assert [one.line()[:4] for _ in range(4)] == ["+OK ", "-ERR", "+OK ", "-ERR"]
            for part in parts:
                one.send(part)
                time.sleep(0.01)
            one.send(b"\r\nSTAT\r\n")
            assert one.line().startswith("+OK") and one.line().startswith("+OK")
            one.ok("QUIT")
        one = session()
        one.send(b"PASS " + early + b"\r\nPASS " + early + b"\r\nXPASS " + early + b"\r\n")
        assert [one.line()[:4] for _ in range(3)] == ["-ERR"] * 3
        one.send(b"USER ann\r\nPASS wrong\r\nUSER ann\r\nPASS " + ahead + b"\r\n" + b"PASS " + ahead)
        assert [one.line()[:4] for _ in range(4)] == ["+OK ", "-ERR", "+OK ", "-ERR"]
        one.send(b"x" * 300 + long)
        assert one.line() == "-ERR the line is too long"
        for last in (b"PASS " + half, b"USER ann\r\nPASS " + later):
            one = session()
            one.send(last)
            time.sleep(0.05)
            one.sock.shutdown(socket.SHUT_WR)
            while one.line():
                pass
        clients.wait_until(lambda: not _is_in_memory(host.process.pid, secrets),
                           lambda: f"in memory: {_is_in_memory(host.process.pid, secrets)}", timeout=10)


# -- how fast one may guess ----------------------------------------------------------------------------


def test_pop3_slows_a_client_down_over_all_its_connections(run_pop3):
    """One has failed. Of two further attempts one waits a minute, so the other would wait longer than
    the maximum, and is turned away. Other clients notice nothing."""
    host = run_pop3({"login_delay_ms": 60000, "login_delay_max_ms": 60000})
    with pop3.session(host) as session:
        session.ok("USER ann")
        assert session.refused("PASS wrong") == WRONG
    with pop3.session(host) as one, pop3.session(host) as two, pop3.session(host, "127.0.0.2") as other:
        for session in (one, two):
            session.ok("USER ann")
            session.send(b"PASS secret\r\n")
        lines = _first_line_of_either(one, two)
        assert lines == "-ERR [SYS/TEMP] too many attempts to log in, try again later"
        other.log_in()
        other.ok("QUIT")
    host.wait_for_log("log-in turned away: too many attempts")


def _first_line_of_either(one, two):
    for session in (one, two):
        session.sock.setblocking(False)

    def read():
        for session in (one, two):
            try:
                return session.sock.recv(4096).decode().rstrip()
            except BlockingIOError:
                pass
        return None

    return clients.wait_until(read, "an answer")


def test_pop3_lets_a_slowed_client_in_after_its_wait(run_pop3):
    with pop3.session(run_pop3({"login_delay_ms": 50, "login_delay_max_ms": 200})) as session:
        for _ in range(2):
            session.ok("USER ann")
            session.refused("PASS wrong")
        session.send(b"USER ann\r\nPASS secret\r\nSTAT\r\n")  # what is sent ahead waits, too
        for _ in range(3):
            assert session.line().startswith("+OK")


def _ask_all_at_once(host, users, password, count):
    """The answers of so many sessions whose passwords come together."""
    with contextlib.ExitStack() as held:
        sessions = [held.enter_context(pop3.session(host)) for _ in range(count)]
        for session, user in zip(sessions, itertools.cycle(users)):
            session.ok("USER", user)
        for session in sessions:
            session.send(f"PASS {password}\r\n".encode())
        return [session.line() for session in sessions]


def test_pop3_counts_attempts_that_come_together_as_one_after_the_other(run_pop3, mail):
    """Delays of half a second and one second fit into the longest there is; the next would not."""
    host = run_pop3({"login_delay_ms": 500, "login_delay_max_ms": 1500})
    answers = _ask_all_at_once(host, ["ann", "nobody"], "wrong", 60)
    tried = [answer for answer in answers if "[AUTH]" in answer]
    assert 1 <= len(tried) <= 4, answers
    assert all("[SYS/TEMP] too many attempts" in answer for answer in answers if answer not in tried)


def test_pop3_lets_in_all_who_are_right_however_many_come_together(run_pop3, mail):
    users = [f"user{number}" for number in range(40)]
    for user in users:
        mail.add_user(user)
    host = run_pop3({"login_delay_ms": 60000, "login_delay_max_ms": 60000})
    for _ in range(2):
        answers = _ask_all_at_once(host, users, "secret", len(users))
        assert all(answer.startswith("+OK") for answer in answers), answers


def test_pop3_gives_an_attempt_back_that_was_right_or_never_looked_at(run_pop3, mail):
    host = run_pop3({"login_delay_ms": 200, "login_delay_max_ms": 800, "login_failures_max": 9})
    with pop3.session(host) as session:
        session.ok("USER ann")
        session.refused("PASS wrong")
    for _ in range(12):  # more than the longest delay has room for, if each one counted
        with pop3.session(host) as session:
            session.log_in()
            session.ok("QUIT")
    for _ in range(12):
        with pop3.session(host) as session:
            session.ok("USER ann")
            session.send(b"PASS secret\r\n")
    clients.wait_until(lambda: _is_let_in(host), "a log-in")


def _is_let_in(host):
    with pop3.session(host) as session:
        session.ok("USER ann")
        return session.ask("PASS secret").startswith("+OK")


def test_pop3_forgets_the_oldest_clients_first(run_pop3):
    """With room for two, a third that fails makes the first one a stranger again."""
    host = run_pop3({"login_delay_ms": 86400000, "login_delay_max_ms": 86400000, "login_clients_max": 2,
                     "login_failures_max": 1})
    for last in (2, 3, 4):
        with pop3.session(host, f"127.0.0.{last}") as session:
            session.ok("USER ann")
            session.refused("PASS wrong")
    with pop3.session(host, "127.0.0.2") as session:
        session.log_in()


def test_pop3_slows_and_logs_the_clients_behind_a_proxy(run_pop3):
    """Of an IPv6 /64 all are one client; the next network is another."""
    host = run_pop3({"login_delay_ms": 86400000, "login_delay_max_ms": 86400000, "login_failures_max": 1},
                    proxy_protocol={"from": ["127.0.0.1/32"], "timeout_ms": 5000})
    header = "PROXY TCP6 2001:db8:0:{}::{} ::1 {} 110\r\n"
    with pop3.session(host, first=header.format(1, 1, 4001).encode()) as session:
        session.ok("USER ann")
        assert session.refused("PASS wrong") == WRONG
    with pop3.session(host, first=header.format(2, 1, 4002).encode()) as session:
        session.log_in()
        session.ok("QUIT")
    with (pop3.session(host, first=header.format(1, 2, 4003).encode()) as one,
          pop3.session(host, first=header.format(1, 3, 4004).encode()) as two):
        for session in (one, two):
            session.ok("USER ann")
            session.send(b"PASS secret\r\n")
        assert _first_line_of_either(one, two).startswith("-ERR [SYS/TEMP]")
    for port, event in [(":1::1]:4001", "log-in failed"), (":2::1]:4002", "logged in")]:
        host.wait_for_log(event)
        assert any(port in line for line in host.log().splitlines() if event in line)


# -- the users file ------------------------------------------------------------------------------------


def test_pop3_reads_the_users_file_with_all_that_it_may_hold(run_pop3, mail, system):
    for name in ("bob", "böb", "cleo"):
        mail.add_user(name)
    mail.users.write_bytes(
        f"\ufeffcleo:{pop3.hashed('c')}:cleo\r\n"
        f"# who may come\r\n\r\nbob:{pop3.hashed('b')}:bob\r\n"
        f"böb:{pop3.hashed('ö')}:{system.path(mail.folder / 'böb')}".encode())
    for name in ("bob", "böb", "cleo"):
        mail.deliver(name)
    host = run_pop3()
    for name, password in (("bob", "b"), ("böb", "ö"), ("cleo", "c")):
        with pop3.session(host) as session:
            session.log_in(name, password)
            assert session.ok("STAT").startswith("1 ")


def test_pop3_says_when_a_mailbox_is_not_there(run_pop3, mail, system):
    with mail.users.open("a", encoding="utf-8") as file:
        file.write(f"gone:{pop3.hashed('secret')}:{system.path(mail.folder / 'nowhere')}\n")
    host = run_pop3()
    with pop3.session(host) as session:
        session.ok("USER gone")
        assert session.refused("PASS secret") == "[SYS/PERM] the mailbox cannot be opened"
        session.log_in()
    host.wait_for_log('the mailbox of user "gone" cannot be opened: there is no')


GOOD = pop3.hashed("x")


@pytest.mark.parametrize("text, message", [
    ("ann\n", "users:1: expected NAME:ENTRY:MAILDIR"),
    ("ann:{apop}x\n", "users:1: expected NAME:ENTRY:MAILDIR"),
    ("ann:{apop}x:\n", "users:1: expected NAME:ENTRY:MAILDIR"),
    (f"# one\na b:{GOOD}:box\n", "users:2: the name must have 1 to 128 bytes"),
    (f":{GOOD}:box\n", "users:1: the name must have 1 to 128 bytes"),
    ("a:secret:box\n", "users:1: the password's entry is no good: it begins neither with"),
    ("a:{apop}:box\n", "its secret must have 1 to 128 bytes"),
    ("a:$pbkdf2-sha256$0$YQ$YQ:box\n", "its number of rounds must be 1 to 10000000"),
    ("a:$pbkdf2-sha256$99999999999$YQ$YQ:box\n", "its number of rounds must be 1 to 10000000"),
    ("a:$pbkdf2-sha256$1000$YQ:box\n", "its salt or its hash is missing"),
    ("a:$pbkdf2-sha256$1000$Y+$YQ:box\n", "its salt is not base64 of at most 64 bytes"),
    ("a:$pbkdf2-sha256$1000$YQ$YQ:box\n", "its hash is not base64 of 32 bytes"),
    (f"a:{GOOD[:-1]}:box\n", "its hash is not base64 of 32 bytes"),
    (f"a:{GOOD}:box\nb:{GOOD}:box\na:{GOOD}:box\n", 'users: "a" is there twice'),
    ("#" * 4097 + "\n", "users:1: a line is longer than 4096 bytes"),
    (f"a:{GOOD}:" + "x" * 5000, "users:1: a line is longer than 4096 bytes"),
    (f"a:{GOOD}:b\0x\n", "users:1: there is a zero byte in it"),
    (f"a:{GOOD}:b\0x", "users:1: there is a zero byte in it"),
    (f"# one\na:{GOOD}:b\0", "users:2: there is a zero byte in it"),
    (f"a\0:{GOOD}:b", "users:1: there is a zero byte in it"),
    (None, "/config/users: "),
], ids=map(str, itertools.count()))
def test_pop3_tells_what_is_wrong_with_the_users_file(fail_to_start, mail, text, message):
    mail.users.unlink()
    if text is not None:
        mail.users.write_bytes(text.encode())
    result = fail_to_start(mail.manifest())
    assert result.code == (78 if text is None else 1) and message in result.errors, result
    assert text is not None or "users is not there" in result.errors


@pytest.mark.parametrize("config, message", [
    ({"users": 1}, "/users: expected a string, found 1"),
    ({"users": ""}, "/users: expected a string of 1 to 1024 characters"),
    ({"autologout_ms": 0}, "/autologout_ms: expected a whole number from 1 to"),
    ({"apop": True}, '/apop: expected "auto" or "always" or "never", found true'),
    ({"login_delay_ms": -1}, "/login_delay_ms: expected a whole number from 0 to"),
    ({"login_clients_max": 0}, "/login_clients_max: expected a whole number from 1 to"),
    ({"login_failures_max": 0}, "/login_failures_max: expected a whole number from 1 to"),
    ({"autologout": 1}, '/autologout: unknown key (did you mean "autologout_ms"?)'),
])
def test_pop3_tells_what_is_wrong_with_its_configuration(fail_to_start, mail, config, message):
    result = fail_to_start(mail.manifest(config))
    assert result.code == 78 and message in result.errors, result


def test_pop3_is_refused_where_the_client_must_speak_first(fail_to_start, mail):
    result = fail_to_start({**mail.manifest(), "listeners": {"pop3": {
        **mail.manifest()["listeners"]["pop3"], "accept": {"when": "data"}}}})
    assert result.code != 0 and "data" in result.errors, result


# -- the program that writes its lines -----------------------------------------------------------------


@pytest.fixture
def pop3_user(system, tmp_path):
    """pop3_user(words, …) runs it with the words on its standard input."""

    def run(words, *arguments):
        program = system.dist / f"berth-pop3-user{'.exe' if system.is_windows else ''}"
        system.hold()
        return subprocess.run([*system.runner(), str(program), *arguments], cwd=tmp_path,
                              env=system.environment(), input=words, capture_output=True,
                              timeout=clients.START_S, check=False)

    return run


@pytest.mark.parametrize("options, begins", [
    ([], "$pbkdf2-sha256$100000$"),
    (["--rounds", "1000"], "$pbkdf2-sha256$1000$"),
    (["--apop"], "{apop}"),
])
def test_pop3_user_writes_lines_that_let_its_users_in(run_pop3, mail, pop3_user, options, begins):
    mail.add_user("dörte")
    made = pop3_user("pä55 wörd\n".encode(), *options, "dörte", "dörte")
    assert made.returncode == 0 and made.stdout.count(b"\n") == 1, made
    assert made.stdout.decode().split(":")[1].startswith(begins)
    assert b"\r" not in made.stdout
    mail.users.write_bytes(made.stdout)
    with pop3.session(run_pop3()) as session:
        session.log_in("dörte", "pä55 wörd")


def test_pop3_user_salts(pop3_user):
    lines = {pop3_user(b"secret", "--rounds", "1000", "ann", "box").stdout for _ in range(3)}
    assert len(lines) == 3


@pytest.mark.parametrize("words, arguments, code", [
    (b"secret\n", [], 2),
    (b"secret\n", ["ann"], 2),
    (b"secret\n", ["a:b", "box"], 2),
    (b"secret\n", ["--rounds", "10", "ann", "box"], 2),
    (b"secret\n", ["--rounds"], 2),
    (b"", ["ann", "box"], 1),
    (b"\n", ["ann", "box"], 1),
    (b"x" * 249 + b"\n", ["ann", "box"], 1),
    (b"a:b\n", ["--apop", "ann", "box"], 1),
], ids=[
    "nothing", "no-folder", "colon", "few-rounds", "no-rounds", "no-password", "empty", "long", "secret",
])
def test_pop3_user_says_what_is_wrong(pop3_user, words, arguments, code):
    made = pop3_user(words, *arguments)
    assert made.returncode == code and made.stdout == b"", made
    assert made.stderr.startswith(b"berth-pop3-user: "), made
