"""A pipe for what a host writes, whose reader stalls until a test has it read."""

import fcntl
import os
import select
import time

F_SETPIPE_SZ = 1031
SMALL = 4096


class Pipe:
    """Give `write_end` to a host, then call started()."""

    def __init__(self, size=SMALL, full=False):
        self._read_end, self.write_end = os.pipe()
        self._room = fcntl.fcntl(self.write_end, F_SETPIPE_SZ, size)
        if full:
            os.write(self.write_end, b"\n" * self._room)

    def started(self):
        os.close(self.write_end)
        self.write_end = None

    def read(self, until):
        """What comes until until(all of it) holds."""
        data = b""
        deadline = time.monotonic() + 30
        while not until(data):
            if select.select([self._read_end], [], [], 0.1)[0]:
                more = os.read(self._read_end, 65536)
                if not more:
                    break  # nobody has the other end any more
                data += more
            assert time.monotonic() < deadline, data[-2000:]
        return data.decode("utf-8")

    def read_rest(self, process):
        """What is there when the process has ended."""
        return self.read(lambda _: process.poll() is not None
                         and not select.select([self._read_end], [], [], 0.1)[0])

    def close(self):
        """Nobody reads any more."""
        os.close(self._read_end)
        self._read_end = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in (self._read_end, self.write_end):
            if end is not None:
                os.close(end)
