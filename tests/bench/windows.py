"""The servers that are built for Windows, under Wine.

Under Wine a wineserver, a process beside the server's, keeps its handles, sockets and ports, and does
much of the work of Windows' kernel: nearly every call is a request to it. So every server has a Wine of
its own, whose wineserver's processor time counts as the server's, and the number of requests an echo
takes is a measure of the calls it makes."""

import collections
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time

import processes
from servers import START_S, Berth, NotHere, Program

REQUEST = re.compile(rb"^[0-9a-f]{4}: (\w+)\((?!\) = )", re.M)
"""A line of the wineserver's trace that is a request; its answer has `() = ` behind the name."""

QUIET_S = 0.3
"""So long without a tick of processor time, and Wine has finished what it does at a start."""

THREADS_RUN_S = 40.0
"""Thousands of threads of one wineserver come to no end."""

Build = collections.namedtuple("Build", "dist fixtures bench")


def program():
    return shutil.which("wine64") or shutil.which("wine")


def environment(prefix, debug="-all"):
    return {
        "WINEPREFIX": str(prefix), "WINEDEBUG": debug, "WINEARCH": "win64", "DISPLAY": "",
        # Else the first start asks to install the two, and a crash starts a debugger.
        "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe=",
    }


def run(prefix, *command):
    """To its end. Its output is not waited for: what Windows starts in the background keeps it."""
    subprocess.run(command, env=os.environ | environment(prefix), timeout=120, check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end_wine(prefix):
    with contextlib.suppress(subprocess.SubprocessError):
        run(prefix, "wineserver", "-k")


def wineserver_of(prefix):
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if ((entry / "comm").read_text(encoding="utf-8").startswith("wineserver")
                        and f"WINEPREFIX={prefix}".encode()
                        in (entry / "environ").read_bytes().split(b"\0")):
                    return int(entry.name)
    raise RuntimeError(f"the wineserver of {prefix} is not there")


def make_template(folder):
    """A Wine that others are copied from: to make one takes ten seconds."""
    if (folder / "system.reg").is_file():
        return
    folder.mkdir(parents=True)
    run(folder, program(), "wineboot")
    # The registry is written when the last of its processes has ended.
    end_wine(folder)
    run(folder, "wineserver", "-w")


def copy_template(template, folder):
    """All but its files, which nobody changes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("system.reg", "user.reg", "userdef.reg", ".update-timestamp"):
        shutil.copy2(template / name, folder / name)
    (folder / "drive_c").symlink_to(template / "drive_c")
    (folder / "dosdevices").mkdir()
    (folder / "dosdevices" / "c:").symlink_to("../drive_c")
    (folder / "dosdevices" / "z:").symlink_to("/")


def ticks(pid):
    """Of processor time that it has taken."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


class UnderWine:
    """Of a server: it is built for Windows. Its Wine is started before it and ended after it."""

    def __init__(self, *arguments, template):
        super().__init__(*arguments)
        self.template = template
        self.prefix = None
        self.wineserver = None
        self.debug = "-all"

    def check(self):
        if not program():
            raise NotHere("Wine is not installed")
        super().check()

    def environment(self, folder):
        return environment(self.prefix, self.debug)

    def command(self, folder, case):
        return [program(), *super().command(folder, case)]

    def start(self, folder, cpus, case):
        make_template(self.template)
        self.prefix = folder.parent / "wine"
        self.debug = "+server" if "requests" in case else "-all"
        copy_template(self.template, self.prefix)
        with open(self.trace(), "wb") as trace:  # returns when it serves
            subprocess.run(["wineserver", "--persistent"], stdin=subprocess.DEVNULL, stdout=trace,
                           stderr=trace, env=os.environ | environment(self.prefix), check=True,
                           timeout=60, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        self.wineserver = wineserver_of(self.prefix)
        # Windows boots with the first program.
        run(self.prefix, program(), "wineboot")
        address = super().start(folder, cpus, case)
        self.wait_quiet()
        return address

    def wait_quiet(self):
        began = changed = time.monotonic()
        before = None
        while changed + QUIET_S > time.monotonic() < began + START_S:
            now = sum(map(ticks, self.pids()))
            if now != before:
                before, changed = now, time.monotonic()
            processes.end_if_asked()
            time.sleep(QUIET_S / 10)

    def trace(self):
        return self.prefix / "trace"

    def pids(self):
        return [*super().pids(), self.wineserver]

    def requests_made(self):
        """How often each was made since the start."""
        return collections.Counter(name.decode() for name in REQUEST.findall(self.trace().read_bytes()))

    def stop(self):
        super().stop()
        if self.prefix:  # also where its start was cut short
            end_wine(self.prefix)
            self.prefix = self.wineserver = None


class WindowsProgram(UnderWine, Program):
    pass


class WindowsBerth(UnderWine, Berth):
    executable = "berth.exe"

    def path(self, path):
        return windows_path(path)


def windows_servers(places):
    build, template = places.windows, places.work / "template"
    hosts = [WindowsBerth(build.dist, build.fixtures, when, template=template)
             for when in ("connect", "data")]
    models = [WindowsProgram(f"model {name}", build.bench / f"model-{name}.exe", "model",
                             template=template)
              for name in ("iocp", "overlapped-events", "event-select", "async-select", "select",
                           "threads")]
    models[-1].run_s = THREADS_RUN_S
    libuv = WindowsProgram("libuv", build.bench / "peer-libuv.exe", "peer", template=template)
    return [*hosts, *models, libuv]
