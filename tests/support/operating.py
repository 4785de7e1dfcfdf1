"""What an operator does to a host that runs: the verbs of its control channel, and a client of its own."""

import json
import socket
import subprocess

from support import clients
from support.host import run_berth
from support.systems import RUNTIME


class Operator:
    """Speaks to the host of that name by the command line."""

    def __init__(self, system, folder, name="berth"):
        self._system = system
        self._folder = folder
        self.name = name

    def run(self, verb, *words):
        """The command as it ends."""
        return run_berth(self._system, [verb, *words, "--name", self.name], self._folder)

    def beside(self, verb, *words):
        """The command as a process, for those that take their time."""
        command = self._system.command([verb, *words, "--name", self.name])
        return subprocess.Popen(command, env=self._system.environment(), cwd=self._folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def ask(self, verb, *words):
        """What comes of it, which must be good."""
        done = self.run(verb, *words, "--json")
        answer = json.loads(done.output)
        assert done.code == 0 and answer["ok"] and answer["berth"] == 1, done
        return answer["result"]

    def status(self):
        return self.ask("status")

    def listeners(self, name=None):
        return [one for one in self.status()["listeners"] if name in (None, one["name"])]

    def serving(self, name):
        """The generation of a listener that serves."""
        return next(one for one in self.listeners(name) if one["state"] != "draining")

    def wait_for(self, condition, what):
        """The first status for which condition(status) holds."""

        def look():
            status = self.status()
            return status if condition(status) else None

        return clients.wait_until(look, what)

    def wait_level(self, plugins):
        """Until nothing drains any more, and so many plugins are mapped."""
        return self.wait_for(
            lambda status: len(status["plugins"]) == plugins
            and all(one["state"] != "draining" for one in status["listeners"]),
            "the end of the old generations")


def connect_raw(name, timeout=clients.WAIT_S):
    """A connection to the channel itself. Linux only."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    sock.connect(str(RUNTIME / f"{name}.sock"))
    return sock


def raw(name, text, finish=False):
    """A line to the channel, and the line that comes back; `finish`: the client says no more. Linux only."""
    with connect_raw(name) as sock:
        sock.sendall(text)
        if finish:
            sock.shutdown(socket.SHUT_WR)
        reader = sock.makefile("rb")
        line = reader.readline()
        return json.loads(line) if line else None
