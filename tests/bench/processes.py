"""The processes that the bench starts: none of them outlives it.

Who is asked to end (Ctrl-C, SIGTERM, SIGHUP) does not unwind where it stands: an exception out of the handler of
a signal can come between any two instructions, also between the taking of a lock and the `try` that gives
it back, and nobody could wait for that process any more. The handler ends the processes, which ends every
wait for them, and end_if_asked() raises SystemExit where that is safe; the next start does so in any case.
"""

import atexit
import contextlib
import os
import signal
import subprocess

_started = []
_asked = []
"""The signals that have asked the bench to end."""


def _kill(process):
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.killpg(process.pid, signal.SIGKILL)


def _on_signal(number, _):
    _asked.append(number)
    for process in _started:
        _kill(process)


def end_when_asked():
    """From now on Ctrl-C, SIGTERM and the end of the terminal end what start() has started, and then the
    bench; but for those that are to be ignored, as `nohup` has it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _on_signal)


def end_if_asked():
    """Raises SystemExit when somebody has asked for the end. All loops of the bench call it."""
    if _asked:
        raise SystemExit("bench: it was asked to end")


def start(command, cpus, prepare=None, **options):
    """A subprocess.Popen of the command on those cores, in a session of its own, whose children go
    with it. `prepare` runs in it before the command does."""
    def prepare_all():
        os.sched_setaffinity(0, cpus)
        if prepare:
            prepare()

    end_if_asked()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                               preexec_fn=prepare_all, **options)
    _started[:] = [one for one in _started if one.returncode is None] + [process]
    if _asked:  # before it was known
        end(process)
        end_if_asked()
    return process


def end(process):
    """With its children; nothing happens to one that has ended."""
    if process.poll() is None:
        _kill(process)
    process.wait()


@atexit.register
def _end_all():
    for process in _started:
        end(process)
