"""Linux: a debugger in few lines, which keeps a process that crashes from its end, as a system does
that writes a large dump of it."""

import contextlib
import ctypes
import os
import pathlib
import signal

_SEIZE = 0x4206
_CONTINUE = 7
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Tracer:
    """Passes on what happens to the process's threads, but for the second SIGSEGV of one: the first
    goes to its handler, and the second would end it. All calls from one thread."""

    def __init__(self, pid):
        self._threads = [int(entry.name) for entry in pathlib.Path(f"/proc/{pid}/task").iterdir()]
        self._crashed = set()
        self.holds = False
        for thread in self._threads:
            self._ask(_SEIZE, thread, 0)

    @staticmethod
    def _ask(request, thread, data):
        if _libc.ptrace(request, thread, None, data) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def run(self):
        """To be called again and again: a thread that meets a signal waits for it."""
        for thread in self._threads:
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                ended, status = os.waitpid(thread, os.WNOHANG | _WALL)
                if ended == 0 or not os.WIFSTOPPED(status):
                    continue
                number = os.WSTOPSIG(status)
                if number == signal.SIGSEGV and thread in self._crashed:
                    self.holds = True
                    continue
                if number == signal.SIGSEGV:
                    self._crashed.add(thread)
                self._ask(_CONTINUE, thread, number)
