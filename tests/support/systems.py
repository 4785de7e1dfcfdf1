"""The builds under test: where each one lies and how a program of it is started here.

A system is a build of the host for an operating system, or an instrumented one: `linux`, `windows`
(under Wine), `linux-asan`, `linux-tsan`; on Linux each also with `-epoll` behind it, which is the same
build on its other engine. `linux-direct` is the build `linux` with its sockets in the tables of its rings.
`windows-ucrt` is the Windows build on the other C runtime, which runs the tests in C and the quick ones.
`windows-native` is a Windows build on Windows itself: it runs the tests of NATIVE alone.
"""

import atexit
import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

SYSTEMS = (
    "linux", "windows", "linux-asan", "linux-tsan", "linux-epoll", "linux-asan-epoll", "linux-tsan-epoll",
    "linux-direct", "windows-ucrt", "windows-native",
)

NATIVE = (
    "test_c", "test_accept", "test_accepting", "test_active_io", "test_broken_plugins", "test_chat",
    "test_closing", "test_command_line", "test_connect", "test_datagrams", "test_echo", "test_ends",
    "test_flow", "test_half_close", "test_limits", "test_packet_echo", "test_proxy", "test_proxy_streams",
    "test_ready_file", "test_reset", "test_sending", "test_timers", "test_work", "test_workers",
)
"""The modules that need sockets and the command line only. The others look into /proc, send signals,
run clients of Debian's packages, or compile for Windows on Linux."""

DIRECT_SLOTS = 200
"""Few enough for some tests to fill the table."""

SANITIZER_EXIT = 99
"""So that a report is never taken for an exit code of the host's own."""

_SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:abort_on_error=0:detect_leaks=1",
    "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:second_deadlock_stack=1",
}


RUNTIME = pathlib.Path(tempfile.mkdtemp(prefix="berth-run-"))
"""Where the hosts of this process of pytest can be spoken to."""
atexit.register(shutil.rmtree, RUNTIME, ignore_errors=True)


class System:
    """One build: `dist` is its self-contained folder, `fixtures` has the test plugins."""

    def __init__(self, name, dist, fixtures, wine=None):
        self.name = name
        self.dist = pathlib.Path(dist)
        self.fixtures = pathlib.Path(fixtures)
        self._wine = wine

    def __repr__(self):
        return self.name

    @property
    def is_windows(self):
        return self.name.startswith("windows")

    @property
    def is_wine(self):
        """Whether Windows is Wine's, on this Linux machine."""
        return self.name in ("windows", "windows-ucrt")

    @property
    def is_sanitized(self):
        return "san" in self.name

    @property
    def measures_memory(self):
        """Whether a process's size says something about the host: a sanitizer keeps freed memory,
        and under Wine much of it is Wine's."""
        return self.name in ("linux", "linux-epoll")

    @property
    def wanted_engine(self):
        """What manifests have to ask for; None where the host's own choice is tested."""
        return "epoll" if self.name.endswith("-epoll") else None

    @property
    def host_options(self):
        """Members of "host" in the manifests, where those have nothing else there."""
        if self.name.endswith("-direct"):
            return {"direct_descriptors": DIRECT_SLOTS}
        return {"engine": self.wanted_engine} if self.wanted_engine else {}

    @property
    def engine(self):
        return self.wanted_engine or ("iocp" if self.is_windows else "io_uring")

    @property
    def library_suffix(self):
        return ".dll" if self.is_windows else ".so"

    def shipped(self, plugin):
        """The library of a plugin that comes with the host: of those that serve, or of the examples."""
        name = f"{plugin}{self.library_suffix}"
        example = self.dist / "examples" / name
        return example if example.is_file() else self.dist / "plugins" / name

    def executable(self, dist=None):
        return (dist or self.dist) / ("berth.exe" if self.is_windows else "berth")

    def path(self, path):
        """A path of this machine in the words of the system under test."""
        return "Z:" + str(path).replace("/", "\\") if self.is_wine else str(path)

    def runner(self):
        """What a program of the system is started with."""
        return [self._wine.program] if self.is_wine else []

    def command(self, arguments, dist=None):
        return [*self.runner(), str(self.executable(dist)), *map(str, arguments)]

    def environment(self):
        environment = dict(os.environ, **_SANITIZER_ENVIRONMENT)
        # Hosts of tests that run beside have the same name. Short: a socket's path has a limit.
        environment["BERTH_RUNTIME_DIR"] = str(RUNTIME)
        if self.wanted_engine:
            environment["TEST_ENGINE"] = self.wanted_engine  # for the tests in C
        if self.is_wine:
            environment.update(self._wine.environment())
        return environment

    def helpers(self):
        """The processes that keep a program's handles for it."""
        return self._wine.servers() if self.is_wine else []

    def hold(self):
        """Gets ready to start programs; called before each."""
        if self.is_wine:
            self._wine.start()


class Wine:
    """A Wine of our own: nothing is shared with the user's, nor with a test that runs beside."""

    def __init__(self, prefix):
        self._prefix = pathlib.Path(prefix)
        self._started = False
        self.program = shutil.which("wine64") or shutil.which("wine")

    def environment(self):
        return {
            "WINEPREFIX": str(self._prefix),
            "WINEDEBUG": "-all",
            "WINEARCH": "win64",
            # Else the first start asks to install the two, and a crash starts a debugger.
            "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe=",
            "DISPLAY": "",
        }

    def _run(self, *command):
        environment = dict(os.environ, **self.environment())
        subprocess.run(command, env=environment, timeout=300, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        if not self._started:
            self._prefix.mkdir(parents=True)
            # Else the server ends soon after the last program, and one that starts just then fails.
            self._run("wineserver", "--persistent")
            self._started = True
            self._boot()

    def _boot(self):
        """Any first program makes Wine start its services; "--init" would start them twice, and
        their drivers then crash now and then. That first one fails now and then, too."""
        for more in (2, 1, 0):
            try:
                self._run(self.program, "wineboot")
                return
            except subprocess.CalledProcessError:
                if more == 0:
                    raise

    def servers(self):
        """The process ids of this prefix's wineserver."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    name = (entry / "comm").read_text(encoding="utf-8")
                    if (name.startswith("wineserver")
                            and f"WINEPREFIX={self._prefix}".encode() in environment):
                        found.append(int(entry.name))
        return found

    def stop(self):
        """Ends every process of this prefix, and only those."""
        if self._started:
            subprocess.run(["wineserver", "-k"], env=dict(os.environ, **self.environment()),
                           timeout=60, check=False)
            self._started = False


def build_of(text):
    """The build that a --system argument names: its name and its two folders."""
    name, _, folders = text.partition("=")
    dist, _, fixtures = folders.partition(":")
    if name not in SYSTEMS or not dist or not fixtures:
        names = ", ".join(SYSTEMS)
        raise pytest.UsageError(f"--system {text}: expected NAME=DIST:FIXTURES with {names}")
    build = (name, pathlib.Path(dist).resolve(), pathlib.Path(fixtures).resolve())
    if not System(*build).executable().is_file():
        raise pytest.UsageError(f"--system {text}: no {System(*build).executable()}")
    return build
