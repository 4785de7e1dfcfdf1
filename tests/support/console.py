"""Console blocks of a document, run in a folder of their own and compared with what they show.

A block ```console has commands after "$ " (with continuation lines after "> ") and the output of each. "…" in
an output stands for anything in the line; a line that is only "…" for any number of lines. Numbers of
processes, times, paths and the like differ from run to run and are compared as such.

A command that serves (`berth run`, `./dev run`) goes on, and what follows is typed into another terminal. It is
ended by Ctrl-C after the last block, unless it ended before.

A comment in front of a block of another language says what the reader does with it:
    <!-- file: PATH -->          writes it
    <!-- before: PATH: TEXT -->  inserts it before the first line that contains TEXT

The ports of a document are replaced by free ones, so that runs do not disturb each other.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

WAIT_S = 60.0
LOOKS = re.compile(r"(^|/)berth (listeners|status|plugins)\b")
LOOKS_MAX = 50
"""A command that only looks is repeated until the host has come so far, as a reader would."""

SERVES = re.compile(r"(^|\s|/)(berth|dev) run\b[^&]*$")
PORT = re.compile(r"(127\.0\.0\.1[: ])(\d{4,5})\b")
HOME = "/home/ann/berth"

VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\bprocess \d+"), "process N"),
    (re.compile(r"\bengine (io_uring|epoll)\b"), "engine ENGINE"),
    (re.compile(r"\b\d+ workers\b"), "N workers"),
    (re.compile(r"\b(draining|serving for) \d+ s\b"), r"\1 N s"),
    (re.compile(r"\bstopping: \d+ connections"), "stopping: N connections"),
    (re.compile(r"[ \t]+"), " "),
]

NETCAT = """#!/usr/bin/python3 -ESs
import socket, sys, threading
host, port = sys.argv[-2:]
peer = socket.create_connection((host, int(port)), 30)
def send():
    for line in iter(lambda: sys.stdin.buffer.raw.read(65536), b""):
        peer.sendall(line)
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := peer.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
"""
"""As much of netcat as documents use: nc -N HOST PORT."""

DEV = '#!/bin/sh\n[ "$*" = run ] && exec dist/linux/berth run\n'
"""What is left of `./dev run` when all is built."""


class Block:
    """A fenced block: its language, its lines, the comment in front of it, and where it begins."""

    def __init__(self, language, comment, line):
        self.language = language
        self.comment = comment
        self.line = line
        self.lines = []

    @property
    def text(self):
        return "".join(line + "\n" for line in self.lines)

    def commands(self):
        """(command, lines of its output)…"""
        found = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> ") and found and not found[-1][1]:
                found[-1] = (found[-1][0] + "\n" + line[2:], [])
            else:
                found[-1][1].append(line)
        return found


def blocks(text):
    """All fenced blocks of a document, in order."""
    found, open_block, before = [], None, ""
    for number, line in enumerate(text.splitlines(), 1):
        if open_block is None and line.startswith("```"):
            comment = re.fullmatch(r"<!-- (.*) -->", before)
            open_block = Block(line[3:].strip(), comment[1] if comment else "", number)
        elif open_block is not None and line == "```":
            found.append(open_block)
            open_block = None
        elif open_block is not None:
            open_block.lines.append(line)
        before = line
    assert open_block is None, "a block is not closed"
    return found


def _varying(text):
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return text


def matches(expected, actual):
    """Whether the lines of an output are those that a document shows."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            parts = _varying(line.rstrip()).split("…")
            pattern += ".*?".join(re.escape(part) for part in parts) + r" ?\n"
    return re.fullmatch(pattern, _varying(actual)) is not None


def _free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in held]
    for sock in held:
        sock.close()
    return ports


class Terminal:
    """A shell whose commands are given one after the other."""

    MARK = "== a command has ended with "

    def __init__(self, folder, environment):
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=folder, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self._changed = threading.Condition()
        self._output = ""
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := os.read(self._process.stdout.fileno(), 65536):
            with self._changed:
                self._output += data.decode("utf-8", "replace")
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def begin(self, command):
        """Gives a command, which reads nothing."""
        self._output = ""
        text = f"{{ {command}\n}} </dev/null\nprintf '\\n{self.MARK}%d\\n' $?\n"
        self._process.stdin.write(text.encode("utf-8"))
        self._process.stdin.flush()

    def wait(self, condition, what):
        """Waits until condition(output) holds; the output."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._ended or condition(self._output), WAIT_S)
            assert done and condition(self._output), f"{what}:\n{self._output}"
            return self._output

    def finish(self, command):
        """Waits for the end of the command; its exit code and its output."""
        text = self.wait(lambda output: re.search(rf"\n{self.MARK}\d+\n", output), f"{command}: does not end")
        output, code = re.fullmatch(rf"(.*)\n{self.MARK}(\d+)\n", text, re.DOTALL).groups()
        return int(code), output

    def interrupt(self):
        """Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def close(self):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(WAIT_S)


class Console:
    """A reader who does what a document says, in a folder with the build `dist` as dist/linux."""

    def __init__(self, folder, dist, text):
        self._folder = pathlib.Path(folder)
        self._blocks = blocks(text)
        wanted = sorted({port for _, port in PORT.findall(text)})
        self._ports = dict(zip(wanted, map(str, _free_ports(len(wanted)))))
        self._documented = {own: port for port, own in self._ports.items()}
        self._runtime = tempfile.mkdtemp(prefix="berth-run-")  # a socket's path has a limit
        self._settings = []
        self._servers = []
        self._terminals = []
        self._terminal = None
        shutil.copytree(dist, self._folder / "dist" / "linux")
        manifest = self._folder / "dist" / "linux" / "config" / "berth.json"
        manifest.write_text(self._own(manifest.read_text(encoding="utf-8")), encoding="utf-8")
        self._program("dev", DEV)
        (self._folder / "bin").mkdir()
        self._program("bin/nc", NETCAT)

    def _program(self, name, text):
        (self._folder / name).write_text(text, encoding="utf-8")
        (self._folder / name).chmod(0o755)

    def _own(self, text):
        """With the ports of this run."""
        return PORT.sub(lambda found: found[1] + self._ports.get(found[2], found[2]), text)

    def _as_documented(self, text):
        text = PORT.sub(lambda found: found[1] + self._documented.get(found[2], found[2]), text)
        return text.replace(str(self._folder), HOME)

    def _open(self):
        environment = {
            "PATH": f"{self._folder / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": str(self._folder),
            "LC_ALL": "C.UTF-8", "BERTH_RUNTIME_DIR": self._runtime, "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        }
        terminal = Terminal(self._folder, environment)
        self._terminals.append(terminal)
        for command in self._settings:
            terminal.begin(command)
            terminal.finish(command)
        return terminal

    def _serve(self, terminal, command, shown, line):
        """A command that goes on: all lines that are shown must come, in whatever order."""
        self._terminal = None
        terminal.begin(self._own(command))
        for one in shown:
            if one.strip() != "…":
                terminal.wait(
                    lambda output, one=one: any(matches([one], f"{text}\n") for text
                                                in self._as_documented(output).splitlines()),
                    f"line {line}: {command}: does not say {one!r}")
        self._servers.append((terminal, command))

    def _result(self, terminal, command):
        """The exit code of a command, and its output in the words of the document."""
        terminal.begin(self._own(command))
        code, output = terminal.finish(command)
        return code, self._as_documented(output)

    def _run_console(self, block):
        for command, shown in block.commands():
            terminal = self._terminal = self._terminal or self._open()
            if SERVES.search(command):
                self._serve(terminal, command, shown, block.line)
                continue
            code, output = self._result(terminal, command)
            for _ in range(LOOKS_MAX if LOOKS.search(command) else 0):
                if matches(shown, output):
                    break
                time.sleep(0.1)
                code, output = self._result(terminal, command)
            told = "\n".join(shown)
            assert code == 0 or shown, f"line {block.line}: {command} ended with {code}\n{output}"
            assert matches(shown, output), f"line {block.line}: {command}\n-- shown\n{told}\n-- is\n{output}"
            if re.match(r"(cd|export) ", command):
                self._settings.append(command)

    def _edit(self, block):
        verb, _, rest = block.comment.partition(": ")
        if verb == "file":
            path = self._folder / rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._own(block.text), encoding="utf-8")
        elif verb == "before":
            name, _, mark = rest.partition(": ")
            lines = (self._folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
            at = next(i for i, line in enumerate(lines) if mark in line)
            (self._folder / name).write_text("".join([*lines[:at], block.text, *lines[at:]]), encoding="utf-8")

    def run(self):
        """Every block in order, then Ctrl-C for what still serves."""
        for block in self._blocks:
            if block.language == "console":
                self._run_console(block)
            elif block.comment:
                self._edit(block)
        for terminal, command in self._servers:
            terminal.interrupt()
            code, output = terminal.finish(command)
            assert code == 0, f"{command} ended with {code}\n{output}"

    def close(self):
        for terminal in self._terminals:
            terminal.close()
        shutil.rmtree(self._runtime, ignore_errors=True)
