"""A plugin's file before it is loaded: how large it may be, who may have written it, and where its
private copies lie."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from support import clients, manifests, operating

STRANGER = 1234
"""The number of a user that nobody is."""


class Plugins:
    """A folder with the plugin `versioned`, to be spoilt."""

    def __init__(self, system, folder):
        self.system = system
        self.folder = folder / "plugins"
        self.folder.mkdir()
        self.file = self.folder / f"versioned{system.library_suffix}"
        self.install(1)

    def install(self, version):
        name = f"versioned-{version}{self.system.library_suffix}"
        shutil.copy(self.system.fixtures / "versions" / name, self.folder / "new")
        os.replace(self.folder / "new", self.file)


@pytest.fixture
def plugins(system, tmp_path):
    return Plugins(system, tmp_path)


def manifest(name, **host):
    return manifests.one("versioned", "connect", host={"name": name, **host})


def copies_in(folder):
    return sorted(folder.glob("berth-*/*"))


def version(host):
    with clients.connect(host.address("versioned")) as sock:
        sock.sendall(b"v\n")
        return int(sock.recv(100).split()[0])


# -- size ------------------------------------------------------------------------------------------


def test_plugin_file_that_is_too_large_is_refused_before_it_is_copied(
    plugins, fail_to_start, run_host, system, tmp_path
):
    """A sparse file: it takes no room, and its copy would."""
    copies = tmp_path / "copies"
    copies.mkdir()
    files = {"copies": system.path(copies)}
    os.truncate(plugins.file, 300 << 20)
    result = fail_to_start(manifest("large", plugin_files=files), plugins=plugins.folder)
    assert result.code == 1 and "host.plugin_files.bytes_max" in result.errors, result
    assert str(300 << 20) in result.errors and str(256 << 20) in result.errors, result
    assert not list(copies.iterdir())
    plugins.install(1)
    host = run_host(manifest("large", plugin_files={**files, "bytes_max": 4 << 20}),
                    plugins=plugins.folder)
    assert version(host) == 1 and len(copies_in(copies)) == 1
    os.truncate(plugins.file, (4 << 20) + 1)
    done = operating.Operator(system, tmp_path, "large").run("restart", "versioned")
    assert done.code == 1 and "host.plugin_files.bytes_max" in done.errors, done
    assert version(host) == 1 and len(copies_in(copies)) == 1


# -- where copies lie ------------------------------------------------------------------------------


def children_of(process):
    path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text(encoding="ascii").split()]


def kill_all(host):
    """The supervisor, too, which stands still meanwhile: nobody can put anything in order."""
    children = children_of(host.process)
    host.send_signal(signal.SIGSTOP)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    host.process.kill()
    host.process.wait(clients.WAIT_S)
    clients.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "the end")
    host.failed_to_start = True  # it has no good end to examine


@pytest.mark.parametrize("arguments", [[], ["--supervise"]], ids=["plain", "supervised"])
def test_copies_of_a_killed_host_are_removed_at_the_next_start(
    plugins, run_host, system, tmp_path, arguments
):
    copies = tmp_path / "copies"
    copies.mkdir()
    made = manifest("killed", plugin_files={"copies": system.path(copies)})
    host = run_host(made, plugins=plugins.folder, arguments=arguments)
    left = copies_in(copies)
    assert len(left) == 1
    if system.is_windows:
        host.process.kill()
        host.process.wait(clients.WAIT_S)
        host.failed_to_start = True
    else:
        kill_all(host)
    if not (system.is_windows and arguments):  # there the host sees its supervisor's end, and tidies up
        assert copies_in(copies) == left, "what a killed host leaves"
    host = run_host(made, plugins=plugins.folder, arguments=arguments)
    assert len(copies_in(copies)) == 1 and copies_in(copies) != left, "the next one removes"
    assert version(host) == 1


def test_copies_of_a_host_that_lives_stay_when_another_starts(plugins, run_host, system, tmp_path):
    """Also those of one in another PID namespace, whose number says nothing here."""
    copies = tmp_path / "copies"
    copies.mkdir()
    shared = {"copies": system.path(copies)}
    wrap = [] if system.is_windows else ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    first = run_host(manifest("inner", plugin_files=shared), plugins=plugins.folder, wrap=wrap)
    inner = copies_in(copies)
    assert len(inner) == 1
    second = run_host(manifest("outer", plugin_files=shared), plugins=plugins.folder)
    assert len(copies_in(copies)) == 2 and set(inner) < set(copies_in(copies))
    assert version(first) == 1 and version(second) == 1
    if wrap:  # which passes no signal on
        os.kill(children_of(first.process)[0], signal.SIGINT)


def no_place(folder, how):
    """A temporary folder as `how` says, and the command that makes it so for its own children."""
    if how == "missing":
        return folder / "none", []
    if how == "open":  # everybody may replace what lies in it
        folder.chmod(0o777)
        return folder, []
    options = {"noexec": "noexec", "full": "size=4k,nr_inodes=4", "read-only": "ro"}[how]
    mount = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    return folder, ["unshare", "--mount", "sh", "-c", mount, str(folder)]


@pytest.mark.linux("Windows loads no library from memory; its folders know no noexec")
@pytest.mark.parametrize("how", ["noexec", "full", "read-only", "missing", "open"])
def test_copy_is_kept_in_memory_where_the_temporary_folder_does_not_do(
    plugins, run_host, system, tmp_path, how
):
    """A restart tries the library in a process of its own, and the old one is really unmapped."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    place, wrap = no_place(folder, how)
    host = run_host(manifest("in-memory"), plugins=plugins.folder, wrap=wrap,
                    environment={"TMPDIR": str(place)})
    assert version(host) == 1
    host.wait_for_log("its private copy is kept in memory: ")
    assert how != "noexec" or f"{folder} is mounted noexec" in host.log()
    operator = operating.Operator(system, tmp_path, "in-memory")
    before = len(list(pathlib.Path(f"/proc/{host.process.pid}/fd").iterdir()))
    for number in (2, 1, 2):
        plugins.install(number)
        operator.ask("restart", "versioned")
        assert version(host) == number
    host.wait_for_log("generation 3 is gone")
    clients.wait_until(
        lambda: len(list(pathlib.Path(f"/proc/{host.process.pid}/fd").iterdir())) <= before + 2,
        "the descriptors of the copies to be closed",
    )
    assert version(host) == 2


@pytest.mark.linux("Windows loads no library from memory; a sanitizer has its own last words")
@pytest.mark.plain("Windows loads no library from memory; a sanitizer has its own last words")
def test_crash_of_a_copy_in_memory_is_told_by_its_name(run_host, system, tmp_path):
    host = run_host(manifests.one("faulty", "connect", host={"name": "in-memory-crash"}),
                    plugins=system.fixtures, environment={"TMPDIR": str(tmp_path / "none")})
    host.expect_crash()
    with clients.connect(host.address("faulty")) as sock:
        sock.sendall(b"\x800")
        host.wait()
    assert "plugin=faulty crash: " in host.log(), host.log()
    assert "faulty.1.so(" in host.log(), host.log()


def test_copies_folder_that_does_not_do_is_named(plugins, fail_to_start, system, tmp_path):
    """It was asked for, so nothing takes its place."""
    missing = tmp_path / "none"
    files = {"copies": system.path(missing)}
    result = fail_to_start(manifest("no-copies", plugin_files=files), plugins=plugins.folder)
    assert result.code == 1 and "host.plugin_files.copies" in result.errors, result
    assert system.path(missing) in result.errors, result
    if not system.is_windows:
        missing.mkdir()
        result = fail_to_start(manifest("no-copies", plugin_files=files), plugins=plugins.folder,
                               wrap=no_place(missing, "noexec")[1])
        assert result.code == 1 and f"{missing} is mounted noexec" in result.errors, result


# -- trust -----------------------------------------------------------------------------------------


def spoil_file_mode(plugins):
    plugins.file.chmod(0o666)
    return f"{plugins.file} can be written by every user (mode 0666): chmod o-w it"


def spoil_file_group(plugins):
    os.chown(plugins.file, 0, STRANGER)
    plugins.file.chmod(0o664)
    return f"{plugins.file} can be written by group {STRANGER} (mode 0664): chmod g-w it"


def spoil_file_owner(plugins):
    os.chown(plugins.file, STRANGER, 0)
    return f"{plugins.file} belongs to user {STRANGER}, who is not root: chown it to root"


def spoil_folder_mode(plugins):
    plugins.folder.chmod(0o777)
    return f"{plugins.folder} can be written by every user and is not sticky (mode 0777): chmod o-w it"


def spoil_folder_owner(plugins):
    os.chown(plugins.folder, STRANGER, 0)
    return f"{plugins.folder} belongs to user {STRANGER}"


def spoil_folder_above(plugins):
    inner = plugins.folder / "inner"
    inner.mkdir()
    os.replace(plugins.file, inner / plugins.file.name)
    plugins.folder.chmod(0o777)
    above, plugins.folder = plugins.folder, inner
    return f"{above} can be written by every user and is not sticky"


def spoil_way_of_a_link(plugins):
    """The file is fine, and the link to it lies where others can exchange it."""
    loose = plugins.folder.parent / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    (loose / "plugins").symlink_to(plugins.folder)
    (plugins.folder.parent / "way").symlink_to("loose/plugins")
    plugins.folder = plugins.folder.parent / "way"
    return f"{loose} can be written by every user and is not sticky"


def spoil_link_owner(plugins):
    """In a sticky folder: nobody else can exchange it, but its owner can."""
    sticky = plugins.folder.parent / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "plugins").symlink_to(plugins.folder)
    os.chown(sticky / "plugins", STRANGER, 0, follow_symlinks=False)
    plugins.folder = sticky / "plugins"
    return f"{sticky}/plugins belongs to user {STRANGER}"


SPOILT = [spoil_file_mode, spoil_file_group, spoil_file_owner, spoil_folder_mode, spoil_folder_owner,
          spoil_folder_above, spoil_way_of_a_link, spoil_link_owner]


@pytest.fixture
def as_root():
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")


@pytest.mark.linux("owners and modes are Linux's")
@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__.removeprefix("spoil_"))
def test_plugin_that_others_can_change_is_refused_and_said_how(
    plugins, berth, system, as_root, spoil
):
    expected = spoil(plugins)
    result = berth("plugins", "--plugins", system.path(plugins.folder))
    assert expected in result.output, result
    assert '"plugin_files": {"untrusted": "load"}' in result.output, result


@pytest.mark.linux("owners and modes are Linux's")
def test_plugin_in_a_sticky_folder_of_all_is_loaded(plugins, berth, as_root):
    plugins.folder.chmod(0o1777)
    assert "  loadable" in berth("plugins", "--plugins", plugins.folder).output


def is_elevated(system):
    program = system.fixtures.parent / "tests" / "test_os_windows.exe"
    done = subprocess.run([*system.runner(), program, "--elevated"], env=system.environment(), check=False)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


def test_plugin_that_others_can_change_is_loaded_where_the_manifest_says_so(
    plugins, fail_to_start, run_host, system, tmp_path
):
    plugins.file.chmod(0o666)
    if system.is_windows and not is_elevated(system):
        host = run_host(manifest("untrusted"), plugins=plugins.folder)
        assert version(host) == 1 and "can be written by " not in host.log()
        return  # who has no more rights than the others is not held up
    result = fail_to_start(manifest("untrusted"), plugins=plugins.folder)
    assert result.code == 1 and "can be written by " in result.errors, result
    host = run_host(manifest("untrusted", plugin_files={"untrusted": "load"}), plugins=plugins.folder)
    assert version(host) == 1
    assert "it is loaded all the same (host.plugin_files.untrusted)" in host.log()
    plugins.file.chmod(0o644)
    plugins.install(2)
    assert operating.Operator(system, tmp_path, "untrusted").ask("restart", "versioned")["replaced"] == 1
    assert version(host) == 2 and host.log().count("it is loaded all the same") == 1


@pytest.mark.linux("owners and modes are Linux's")
def test_plugin_of_a_host_that_is_not_root_belongs_to_its_user_or_root(plugins, system, as_root):
    """Any user can be told from the two; the own group may write."""
    for folder in plugins.folder.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    command = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups",
               *system.command(["plugins", "--plugins", plugins.folder])]

    def listed():
        environment = {**system.environment(), "HOME": "/"}
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True,
                              check=False, timeout=clients.START_S).stdout

    assert "  loadable" in listed(), "root's"
    os.chown(plugins.file, STRANGER, STRANGER)
    plugins.file.chmod(0o664)
    assert "  loadable" in listed(), "its own"
    os.chown(plugins.file, STRANGER + 1, STRANGER)
    assert f"belongs to user {STRANGER + 1}, who is neither root nor the user of this host" in listed()
