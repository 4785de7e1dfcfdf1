"""The work pool's turns: many works of one listener keep another one's client waiting for few of them."""

import contextlib
import select

import pytest
from support import clients, manifests, pop3, web

pytestmark = [pytest.mark.threads, pytest.mark.any_engine]

GUESSES = 200
ROUNDS = 100000
"""So many that all guesses together take the one thread some seconds."""


def _answered(sessions):
    return len(select.select([session.sock for session in sessions], [], [], 0)[0])


def test_guesses_at_passwords_leave_the_pool_to_a_file_of_another_listener(run_host, operate, system, mail, tmp_path):
    mail.add_user("slow", pop3.hashed("secret", rounds=ROUNDS))
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "file").write_bytes(b"hello")
    host = run_host(manifests.manifest({
        "pop3": mail.manifest({"login_delay_ms": 0})["listeners"]["pop3"],
        "http": web.manifest(system, tmp_path / "www", {"cache_ms": 0})["listeners"]["http"],
    }, work={"threads_max": 1}, **system.host_options))
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(contextlib.closing(pop3.Session(host.address("pop3"))))
                    for _ in range(GUESSES)]
        browser = stack.enter_context(web.client(host))
        for session in sessions:
            session.send(b"USER slow\r\n")
        for session in sessions:
            assert session.line().startswith("+OK")
            session.send(b"PASS wrong\r\n")
        clients.wait_until(lambda: operate().serving("pop3")["works_waiting"] > GUESSES / 2, "guesses that wait")
        before = _answered(sessions)
        assert browser.ask("/file").body == b"hello"
        assert _answered(sessions) - before < GUESSES / 4, "the file waited for the guesses"
