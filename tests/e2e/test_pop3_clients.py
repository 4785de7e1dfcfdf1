"""The plugin `pop3` with the programs that people read mail with: curl, Python's poplib, mpop and
fetchmail. They are this machine's own, whichever system the host is built for."""

import mailbox
import os
import poplib
import subprocess

import pytest
from support import clients, pop3

pytestmark = pytest.mark.any_engine

PASSWORD = "open sesame"


@pytest.fixture
def served(run_pop3, mail):
    """(host, port) of a server with five messages of "wendy", of different kinds."""
    mail.add_user("wendy", pop3.hashed(PASSWORD))
    for data in MESSAGES:
        mail.deliver("wendy", data)
    return run_pop3().address("pop3")


def _message(number, body):
    return b"From: ann@example.org\nTo: wendy@example.org\nMessage-ID: <%d@example.org>\n" % number + body


MESSAGES = [
    _message(1, b"Subject: plain\n\nHello\n"),
    _message(2, b"Subject: dots\n\n.\n..\n.a\n"),
    _message(3, b"Subject: crlf\n\nHello\n").replace(b"\n", b"\r\n"),
    _message(4, b"Subject: no end\n\nHello"),
    _message(5, b"Subject: large\n\n" + b"0123456789abcdef\n" * 20000),
]


def _lines(data):
    return data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")


def _run(command, folder, **options):
    """Runs a client whose home is the folder."""
    environment = dict(os.environ, HOME=str(folder), LC_ALL="C")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False,
                          timeout=clients.WAIT_S, stdin=subprocess.DEVNULL, **options)
    return done


def _is_delivered(found):
    """Whether these are the messages, each once; clients put headers of their own in front."""
    assert len(found) == len(MESSAGES)
    by_subject = {_subject(one): one for one in found}
    for data in MESSAGES:
        body = _lines(data.replace(b"\r\n", b"\n").partition(b"\n\n")[2])
        assert _lines(by_subject[_subject(data)].replace(b"\r\n", b"\n").partition(b"\n\n")[2]) == body
    return True


def _subject(data):
    return next(line for line in _lines(data) if line.startswith(b"Subject: "))


def test_pop3_with_poplib(served, mail):
    box = poplib.POP3(*served, timeout=clients.WAIT_S)
    assert set(box.capa()) >= {"TOP", "UIDL", "USER", "PIPELINING"}
    box.user("wendy")
    box.pass_(PASSWORD)
    count, size = box.stat()
    sizes = [int(line.split()[1]) for line in box.list()[1]]
    assert (count, size) == (len(MESSAGES), sum(sizes))
    uids = [line.split()[1].decode() for line in box.uidl()[1]]
    assert uids == mail.messages("wendy")
    for number, data in enumerate(MESSAGES, 1):
        _, lines, octets = box.retr(number)
        assert lines == _lines(data)
        assert box.list(number).split()[2] == b"%d" % sizes[number - 1]
        assert octets == sizes[number - 1]
        assert box.top(number, 0)[1] == _lines(data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]) + [b""]
    box.dele(1)
    box.rset()
    box.dele(2)
    box.noop()
    box.quit()
    assert mail.messages("wendy") == [uids[0], *uids[2:]]


def test_pop3_with_poplib_and_apop(run_pop3, mail):
    mail.add_user("carl", "{apop}a secret")
    mail.deliver("carl")
    box = poplib.POP3(*run_pop3({"apop": "always"}).address("pop3"), timeout=clients.WAIT_S)
    box.apop("carl", "a secret")
    assert box.stat()[0] == 1
    box.quit()


def test_pop3_with_curl(served, mail, tmp_path):
    def curl(path, *options):
        url = "pop3://{}:{}/{}".format(*served, path)
        done = _run(["curl", "-sS", "-u", f"wendy:{PASSWORD}", *options, url], tmp_path)
        assert done.returncode == 0, done
        return done.stdout

    assert len(curl("").splitlines()) == len(MESSAGES)
    for number, data in enumerate(MESSAGES, 1):
        assert curl(number) == b"\r\n".join(_lines(data)) + b"\r\n"
    assert curl("", "-X", "UIDL").split()[1::2] == [uid.encode() for uid in mail.messages("wendy")]
    curl(1, "-X", "DELE", "--head")
    assert len(mail.messages("wendy")) == len(MESSAGES) - 1
    refused = _run(["curl", "-sS", "-u", "wendy:no", "pop3://{}:{}/".format(*served)], tmp_path)
    assert refused.returncode == 67, refused  # "login denied"


def test_pop3_with_curl_and_apop(run_pop3, mail, tmp_path):
    mail.add_user("carl", "{apop}tanstaaf")
    mail.deliver("carl", b"Subject: x\n\nhello\n")
    url = "pop3://{}:{}/1".format(*run_pop3({"apop": "always"}).address("pop3"))
    done = _run(["curl", "-sS", "-u", "carl:tanstaaf", "--login-options", "AUTH=+APOP", url], tmp_path)
    assert done.stdout == b"Subject: x\r\n\r\nhello\r\n", done


def test_pop3_with_curl_where_another_user_has_apop(run_pop3, mail, tmp_path):
    """It takes APOP where that is offered, and nothing else."""
    mail.add_user("carl", "{apop}tanstaaf")
    for user in ("ann", "carl"):
        mail.deliver(user, b"Subject: x\n\nhello\n")
    url = "pop3://{}:{}/1".format(*run_pop3().address("pop3"))
    for user, password in (("ann", "secret"), ("carl", "tanstaaf")):
        done = _run(["curl", "-sS", "-u", f"{user}:{password}", url], tmp_path)
        assert done.stdout == b"Subject: x\r\n\r\nhello\r\n", done


def test_pop3_with_mpop(served, mail, tmp_path):
    config = tmp_path / "mpoprc"
    config.write_text(
        f"defaults\ntls off\naccount default\nhost {served[0]}\nport {served[1]}\nuser wendy\n"
        f'passwordeval "echo {PASSWORD}"\nauth user\nuidls_file {tmp_path}/uidls\n'
        f"received_header off\ndelivery mbox {tmp_path}/mbox\nkeep on\n", encoding="ascii")
    config.chmod(0o600)
    for _ in range(2):  # the second time it knows them all by their ids
        done = _run(["mpop", f"--file={config}"], tmp_path)
        assert done.returncode == 0, done
        assert _is_delivered([bytes(one) for one in mailbox.mbox(tmp_path / "mbox")])
    done = _run(["mpop", f"--file={config}", "--keep=off", "--only-new=off"], tmp_path)
    assert done.returncode == 0, done
    assert mail.messages("wendy") == []


def test_pop3_with_fetchmail(served, mail, tmp_path):
    config = tmp_path / "fetchmailrc"
    config.write_text(
        f'poll {served[0]} port {served[1]} protocol POP3 auth password uidl\n'
        f'user "wendy" password "{PASSWORD}" sslproto "" fetchall\n'
        f'mda "cat > {tmp_path}/got/$$"\n', encoding="ascii")
    config.chmod(0o600)
    (tmp_path / "got").mkdir()
    done = _run(["fetchmail", "-f", config, "--nodetach", "--nosyslog", "-i", tmp_path / "ids",
                 "--pidfile", tmp_path / "pid"], tmp_path)
    assert done.returncode == 0, done
    assert _is_delivered([path.read_bytes() for path in (tmp_path / "got").iterdir()])
    assert mail.messages("wendy") == [], "it removes what it has delivered"
