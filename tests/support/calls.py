"""A host's calls for memory and for locks, thread by thread, as tests/fixtures/preload counts them."""

import collections
import pathlib
import struct

NAME_BYTES = 32


class CallCounts:
    """Where a host that is started with `environment` counts."""

    def __init__(self, system, folder):
        self._file = pathlib.Path(folder) / "calls"
        library = system.fixtures / "preload" / "count-calls.so"
        self.environment = {"LD_PRELOAD": str(library), "BERTH_COUNT_CALLS": str(self._file)}

    def read(self, host):
        """{thread: {"memory malloc": count, …}}, with the counts that are not 0. Threads that have
        ended are left out."""
        data = self._file.read_bytes()
        calls, threads = struct.unpack_from("II", data)
        names = [data[8 + i * NAME_BYTES:][:NAME_BYTES].rstrip(b"\0").decode() for i in range(calls)]
        row = struct.Struct(f"II{calls}Q")
        found = {}
        for values in (row.unpack_from(data, 8 + calls * NAME_BYTES + i * row.size)
                       for i in range(threads)):
            task = pathlib.Path(f"/proc/{host.process.pid}/task/{values[0]}/comm")
            if values[0] and task.exists():
                thread = task.read_text(encoding="utf-8").strip()
                counts = found.setdefault(thread, collections.Counter())
                counts.update({name: n for name, n in zip(names, values[2:]) if n})
        return found


def difference(before, after):
    """What has been called in between: {thread: {name: count}}, without those that called nothing."""
    changed = {thread: counts - before.get(thread, collections.Counter())
               for thread, counts in after.items()}
    return {thread: dict(counts) for thread, counts in changed.items() if counts}


def of_workers(counts):
    """Those of the threads that carry the data."""
    return {thread: each for thread, each in counts.items() if thread.startswith("worker-")}
