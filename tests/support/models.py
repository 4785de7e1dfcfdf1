"""The reference servers, as processes."""

import contextlib
import subprocess
import time

from support import clients
from support.host import parse_address

NAMES = {
    "linux": ("epoll", "poll", "select", "threads", "uring"),
    "windows": ("async-select", "event-select", "iocp", "overlapped-events", "select", "threads"),
}





class Model:
    """A running reference server. `stop` it in the end."""

    def __init__(self, system, name, folder, *arguments):
        suffix = ".exe" if system.is_windows else ""
        program = system.fixtures.parent / "bench" / f"model-{name}{suffix}"
        self._output = folder / f"model-{name}.out"
        system.hold()
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [*system.runner(), str(program), *map(str, arguments)], cwd=folder,
                env=system.environment(), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )

    def output(self):
        return self._output.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")

    @property
    def address(self):
        """Waits until it serves."""
        deadline = time.monotonic() + clients.START_S
        while "listening on " not in self.output() or not self.output().endswith("\n"):
            assert self.process.poll() is None, f"it ended:\n{self.output()}"
            assert time.monotonic() < deadline, "it does not say where it listens"
            time.sleep(0.02)
        return parse_address(self.output().split("listening on ")[1].splitlines()[0])

    def stop(self):
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(clients.WAIT_S)
