"""The processes that the bench starts: none of them outlives it."""

import atexit
import contextlib
import os
import signal
import subprocess
import threading

_started = []


@contextlib.contextmanager
def _end_put_off():
    """Who is asked to end while a process is being started ends when it is known: it would stay."""
    if threading.current_thread() is not threading.main_thread():
        yield  # there nobody is asked
        return
    asked = []
    before = {number: signal.signal(number, lambda got, frame: asked.append(got))
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in asked:
            signal.raise_signal(number)


def start(command, cpus, prepare=None, **options):
    """A subprocess.Popen of the command on those cores, in a session of its own, whose children go
    with it. `prepare` runs in it before the command does."""
    def prepare_all():
        os.sched_setaffinity(0, cpus)
        if prepare:
            prepare()

    with _end_put_off():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                                   preexec_fn=prepare_all, **options)
        _started[:] = [one for one in _started if one.returncode is None] + [process]
    return process


def end(process):
    """With its children; nothing happens to one that has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@atexit.register
def _end_all():
    for process in _started:
        end(process)
