"""The load client, as a test uses it: run to its end, with what it said and its results."""

import json
import subprocess

from support import clients


class LoadResult:
    """How a run of the client ended. `json` is None when it did not write any."""

    def __init__(self, code, output, errors, results):
        self.code = code
        self.output = output
        self.errors = errors
        self.json = results

    def __repr__(self):
        return f"exit code {self.code}\n-- stdout\n{self.output}\n-- stderr\n{self.errors}"

    def expect_fine(self):
        assert self.code == 0, self
        assert self.json["errors"] == 0, self
        return self


def program(system):
    """The client that the build has; it is installed beside the test plugins."""
    name = "berth-load.exe" if system.is_windows else "berth-load"
    return system.fixtures.parent / "bench" / name


def run(system, folder, *arguments, json_file=True):
    """Runs the client, quietly, and reads what it measured."""
    system.hold()
    path = folder / "load.json"
    path.unlink(missing_ok=True)
    command = [*system.runner(), str(program(system)), "--quiet", *map(str, arguments)]
    if json_file:
        command += ["--json", system.path(path)]
    done = subprocess.run(
        command, env=system.environment(), cwd=folder, check=False, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=clients.TRANSFER_S,
    )
    texts = [text.decode("utf-8").replace("\r\n", "\n") for text in (done.stdout, done.stderr)]
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return LoadResult(done.returncode, *texts, results)
