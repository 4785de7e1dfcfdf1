"""The plugin `pop3` as root: what the owner of a mailbox puts there leads to nothing outside of it."""

import os
import stat
import time

import pytest
from support import pop3

pytestmark = [
    pytest.mark.any_engine,
    pytest.mark.linux("Wine follows Linux's links, and knows no owners"),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root reads what belongs to others"),
]

OWNER = 12345
SECRET = b"Subject: not yours\n\nsecret of another\n"


@pytest.fixture
def box(mail):
    """The mailbox of ann, who is another user than the host's, with two messages; and one of bob's."""
    mail.add_user("bob")
    mail.deliver("bob", SECRET, unique="1600000000.bob.here")
    for number in (1, 2):
        mail.deliver("ann", unique=f"160000000{number}.ann.here", flags="")
    give("ann", mail.folder)
    return mail.folder / "ann"


def give(name, folder, owner=OWNER):
    for path in [folder / name, *(folder / name).rglob("*")]:
        os.lchown(path, owner, owner)


def _link(victim, path):
    path.symlink_to(victim)


def _pipe(victim, path):
    os.mkfifo(path)


def _device(victim, path):
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))


def _second_name(victim, path):
    path.hardlink_to(victim)


def _folder(victim, path):
    path.mkdir()


kinds = pytest.mark.parametrize("put", [_link, _pipe, _device, _second_name, _folder],
                                ids=["link", "pipe", "device", "second-name", "folder"])


def first_of(mail, name):
    return next(path for path in mail.files(name))


@kinds
def test_pop3_sees_no_message_in_what_is_none(run_pop3, mail, box, put):
    victim = first_of(mail, "bob")
    put(victim, box / "cur" / "1600000003.bad.here:2,S")
    host = run_pop3()
    with pop3.logged_in(host) as session:
        assert session.ok("STAT").split()[0] == "2"
        assert len(session.listing("UIDL")) == 2
    if put in (_second_name,):  # the others are no files to begin with
        host.wait_for_log('1 files in the mailbox of user "ann" are no messages')


@kinds
def test_pop3_reads_and_removes_nothing_that_takes_the_place_of_a_message(run_pop3, mail, box, put):
    victim = first_of(mail, "bob")
    host = run_pop3(host={"work": {"threads_max": 1}})  # which a pipe must not hold
    with pop3.logged_in(host) as session:
        path = first_of(mail, "ann")
        path.unlink()
        put(victim, path)
        assert session.refused("RETR 1") == "the message is not there any more"
        assert session.refused("TOP 1 1") == "the message is not there any more"
        session.ok("RETR 2")
        assert b"Hello" in session.body()
        session.ok("DELE 1")
        session.send(b"QUIT\r\n")
        session.line()
    assert victim.read_bytes() == SECRET
    with pop3.logged_in(host, "bob") as session:
        session.ok("RETR 1")
        assert session.body() == pop3.as_sent(SECRET)


def test_pop3_stays_in_the_mailbox_when_its_folders_are_exchanged(run_pop3, mail, box):
    """For links to another's, which has messages of the same names."""
    host = run_pop3(host={"work": {"threads_max": 1}})
    mine = first_of(mail, "ann")
    theirs = mail.folder / "bob" / "cur" / mine.name
    theirs.write_bytes(SECRET)
    with pop3.logged_in(host) as session:
        (box / "cur").rename(box / "elsewhere")
        (box / "cur").symlink_to(mail.folder / "bob" / "cur")
        session.refused("RETR 1")
        session.ok("DELE 1")
        session.refused("QUIT")
    assert theirs.read_bytes() == SECRET
    with pop3.session(host) as session:
        session.ok("USER ann")
        assert session.refused("PASS secret") == "[SYS/PERM] the mailbox cannot be opened"
    host.wait_for_log("not a folder of the mailbox's owner, but a link or another's: cur")


def _itself(folder, box):
    box.rename(folder / "moved")
    box.symlink_to(folder / "bob")


def _above(folder, box):
    """A folder on the way, by a link of the user's."""
    (folder / "home").mkdir()
    for name in ("ann", "bob"):
        (folder / "home" / name).mkdir()
        (folder / name).rename(folder / "home" / name / "Maildir")
    (folder / "home" / "ann").rename(folder / "home" / "away")
    (folder / "home" / "ann").symlink_to(folder / "home" / "bob")
    os.lchown(folder / "home" / "ann", OWNER, OWNER)


@pytest.mark.parametrize("exchange", [_itself, _above], ids=["itself", "above"])
def test_pop3_opens_no_mailbox_by_a_link(run_pop3, mail, box, exchange):
    exchange(mail.folder, box)
    if exchange is _above:
        text = mail.users.read_text(encoding="utf-8").replace("/ann\n", "/home/ann/Maildir\n")
        mail.users.write_text(text, encoding="utf-8")
    host = run_pop3()
    with pop3.session(host) as session:
        session.ok("USER ann")
        assert session.refused("PASS secret") == "[SYS/PERM] the mailbox cannot be opened"
    host.wait_for_log("the users file needs its own path")


def test_pop3_follows_the_operators_links_to_a_mailbox(run_pop3, mail, box):
    """Those above it that are root's."""
    (mail.folder / "data").mkdir()
    box.rename(mail.folder / "data" / "ann")
    (mail.folder / "link").symlink_to("data")
    text = mail.users.read_text(encoding="utf-8").replace("/ann\n", "/link/../link/ann\n")
    mail.users.write_text(text, encoding="utf-8")
    with pop3.session(run_pop3()) as session:
        session.log_in()
        assert session.ok("STAT").split()[0] == "2"


@pytest.mark.parametrize("put", [_link, _pipe, _second_name], ids=["link", "pipe", "second-name"])
def test_pop3_locks_nothing_but_its_lock(run_pop3, mail, box, put):
    lock = mail.folder / "bob" / ".berth-pop3.lock"
    lock.touch()
    put(lock, box / ".berth-pop3.lock")
    host = run_pop3()
    with pop3.session(host) as session:
        session.ok("USER ann")
        assert session.refused("PASS secret") == "[SYS/PERM] the mailbox cannot be opened"


def test_pop3_gives_what_it_makes_in_a_mailbox_to_its_owner(run_pop3, mail, box):
    for part in ("new", "tmp"):
        (box / part).rmdir()
    host = run_pop3()
    with pop3.logged_in(host) as session:
        session.ok("STAT")
        mail.deliver("ann")
        give("ann", mail.folder)
        session.ok("QUIT")
    assert {path.stat().st_uid for path in box.rglob("*")} == {OWNER}
    with pop3.logged_in(host) as session:
        assert session.ok("STAT").split()[0] == "3"


def test_pop3_users_file_that_is_no_file_is_refused_at_once(fail_to_start, mail):
    mail.users.unlink()
    os.mkfifo(mail.users)
    begun = time.monotonic()
    assert "cannot be read" in fail_to_start(mail.manifest()).errors
    assert time.monotonic() - begun < 60
