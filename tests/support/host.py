"""A host as a process: started on a manifest, watched, stopped, and examined when it has ended."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from support import clients

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_MANIFEST = 78

LOG_SETTLE_S = 0.03
LOG_LOOKS_MAX = 20

_TROUBLE = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error:"
    r"|defect in the host|were not given back|Unhandled (exception|page fault)|fault of the plugin"
)
"""What no log may ever say, whatever the test is about."""


def _with(manifest, options):
    """The manifest for a system that tests one engine, unless it has a word of its own on that."""
    if not options or not isinstance(manifest, dict):
        return manifest
    return {**manifest, "host": {**options, **manifest.get("host", {})}}


def _refuse_io_uring(refused):
    """Has the system answer io_uring's calls with an error from now on, as containers and old kernels
    do: an errno is that of io_uring_setup(), a dict has one for each call, and one of
    io_uring_register() for each operation: {"io_uring_register": {22: errno.EINVAL}}."""
    import seccomp  # the system's libseccomp

    calls = refused if isinstance(refused, dict) else {"io_uring_setup": refused}
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for call, code in calls.items():
        if isinstance(code, dict):
            for operation, one in code.items():
                rules.add_rule(seccomp.ERRNO(one), call, seccomp.Arg(1, seccomp.EQ, operation))
        else:
            rules.add_rule(seccomp.ERRNO(code), call)
    rules.load()


def _apart_from_the_terminal():
    """So that a Ctrl-C for the tests does not also go to the host."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def parse_address(text):
    """"127.0.0.1:80" or "[::1]:80" as (host, port)."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Host:
    """`berth run`. Made by the fixture `run_host`, which also ends and examines it."""

    def __init__(self, system, folder, manifest, dist=None, plugins=None, ready_file=None,
                 old_ready_text=None, descriptors=None, io_uring_errno=None, environment=None,
                 arguments=(), powerless=False, address_space=None, wrap=(), stderr=None,
                 stdout=None):
        self._system = system
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._expected_trouble = False
        self._expected_crash = False
        self._expected_leak = False
        self.failed_to_start = False
        self.ready_file = ready_file or self._folder / "ready.json"
        if old_ready_text is not None:
            self.ready_file.write_text(old_ready_text, encoding="utf-8")
        command = ["run", "--ready-file", system.path(self.ready_file), *arguments]
        if manifest is not None:
            self.manifest_file = self._folder / "berth.json"
            text = manifest
            if not isinstance(manifest, str):
                text = json.dumps(_with(manifest, system.host_options), indent=2)
            self.manifest_file.write_text(text, encoding="utf-8")
            command += ["--manifest", system.path(self.manifest_file)]
        if plugins:
            command += ["--plugins", system.path(plugins)]
        self._stdout = open(self._folder / "stdout", "w+b")
        self._stderr = open(self._folder / "stderr", "w+b")
        self._stdout_is_seen = stdout is None  # else what it writes goes to the test's descriptor
        system.hold()
        # A soft and a hard limit of descriptors for this process alone; Linux only.
        runner = ["prlimit", f"--nofile={descriptors}"] if descriptors else []
        if address_space:
            runner += ["prlimit", f"--as={address_space}"]
        if powerless and os.geteuid() == 0:  # permissions of files mean something even to root then
            runner += ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        runner += wrap  # a command that goes over into the host
        self._start = lambda: subprocess.Popen(
            [*runner, *system.command(command, dist)],
            env=system.environment() | (environment or {}), cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout if stdout is None else stdout,
            stderr=self._stderr if stderr is None else stderr,
            preexec_fn=io_uring_errno and (lambda: _refuse_io_uring(io_uring_errno)),
            **_apart_from_the_terminal(),
        )
        self.process = self._start()

    # -- what it says ------------------------------------------------------------------------------

    def log(self):
        """All of it so far. A host that runs writes it by a thread of its own, so what has just happened
        is there a moment later."""
        text = self._text("stderr")
        for _ in range(LOG_LOOKS_MAX):
            if self.process.poll() is not None:
                return self._text("stderr")
            time.sleep(LOG_SETTLE_S)
            before, text = text, self._text("stderr")
            if text == before:
                break
        return text

    def output(self):
        return self._text("stdout")

    def _text(self, name):
        return (self._folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")

    def wait_for_log(self, text):
        """Waits until the log has the text, which the host must live to write."""

        def there():
            ended = self.process.poll() is not None
            return text in self._text("stderr") or (ended and "ended")

        found = clients.wait_until(there, lambda: f"{text!r} in the log:\n{self.log()}")
        assert found != "ended", f"the host ended without saying {text!r}:\n{self.log()}"

    def wait_ready(self):
        """Waits for the ready file. A host that ends instead fails the test with its log."""

        def there():
            return self.ready_file.exists() or self.process.poll() is not None

        clients.wait_until(there, "the ready file, or the end", clients.START_S)
        if self._system.is_wine and self.process.poll() == 1 and not self.log() + self.output():
            self.process = self._start()  # Wine could not start it: a host that fails says why
            clients.wait_until(there, "the ready file, or the end", clients.START_S)
        if not self.ready_file.exists():
            self.failed_to_start = True
            raise AssertionError(f"no start, exit code {self.process.returncode}:\n{self.log()}")
        if not self._stdout_is_seen:
            return self
        # The lines on stdout follow the ready file: a test that reads them must find them.
        count = len(self.ready["listeners"])
        clients.wait_until(
            lambda: self.output().count("listening on") >= count, "the lines of the listeners"
        )
        return self

    @property
    def manifest_path(self):
        """Of its manifest, in the words of the system."""
        return self._system.path(self.manifest_file)

    @property
    def ready(self):
        return json.loads(self.ready_file.read_text(encoding="utf-8"))

    def addresses(self, listener):
        return [parse_address(text) for text in self.ready["listeners"][listener]["addresses"]]

    def address(self, listener):
        return self.addresses(listener)[0]

    def memory_bytes(self):
        """What is resident. Under Wine too: its processes are processes of this machine."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def own_memory_bytes(self):
        """What it has written: its heap and its stacks, and no file that is mapped."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            line = next(line for line in status if line.startswith("RssAnon:"))
        return int(line.split()[1]) * 1024

    def processor_seconds(self):
        """How much of a processor it has used so far. Linux only."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idles(self, seconds=2.0):
        """Whether it uses less than a tenth of a processor for so long."""
        before, began = self.processor_seconds(), time.monotonic()
        time.sleep(seconds)
        return self.processor_seconds() - before < 0.1 * (time.monotonic() - began)

    def descriptors(self):
        """How many descriptors it has open; under Wine, with the server that keeps its handles."""
        pids = [self.process.pid, *self._system.helpers()]
        return sum(len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)

    # -- how it ends -------------------------------------------------------------------------------

    def send_signal(self, number):
        self.process.send_signal(number)

    def interrupt(self):
        """Ctrl-C, on both systems: Wine turns the signal into the console's event. On Windows itself
        only Ctrl-Break can be sent to a process group, and means the same to the host."""
        self.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)

    def wait(self):
        """Waits for the end; the exit code."""
        try:
            return self.process.wait(clients.WAIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the host does not end:\n{self.log()}") from None

    def result(self):
        """Waits for a host that ends by itself, instead of serving."""
        clients.wait_until(
            lambda: self.process.poll() is not None or self.output(), "the end", clients.START_S
        )
        assert not self.output(), f"it serves:\n{self.output()}"
        self.examine()
        return Result(self.wait(), self.output(), self.log())

    def stop(self):
        """Stops it as an operator would and expects the exit code of a good end."""
        if self.process.poll() is None:
            self.interrupt()
        code = self.wait()
        assert code == 0 or self._expected_crash, self.log()

    def kill(self):
        """What is left when a test has failed."""
        if self.process.poll() is None:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(clients.WAIT_S)
        self._stdout.close()
        self._stderr.close()

    def expect_crash(self):
        """For the tests that crash it: the bad end is then what they want."""
        self._expected_crash = True

    def expect_leak(self):
        """For the tests whose plugin keeps what is the host's."""
        self._expected_leak = True

    def expect_plugin_fault(self):
        """For the tests that let a plugin misbehave: the line about it is then what they want."""
        self._expected_trouble = True

    def examine(self):
        """Nothing in the log may hint at a defect."""
        found = None if self._expected_crash else _TROUBLE.search(self.log())
        if found and self._expected_leak and found[0] == "were not given back":
            return
        if found and not (self._expected_trouble and found[0] == "fault of the plugin"):
            raise AssertionError(f"{found[0]} in the log:\n{self.log()}")


class Result:
    """What a command that ends by itself said."""

    def __init__(self, code, output, errors):
        self.code = code
        self.output = output
        self.errors = errors

    @property
    def error_lines(self):
        return self.errors.splitlines()

    def __repr__(self):
        return f"exit code {self.code}\n-- stdout\n{self.output}\n-- stderr\n{self.errors}"


def run_berth(system, arguments, folder, dist=None, may_crash=False):
    """Runs a command to its end. `may_crash`: with a plugin in it that does."""
    system.hold()

    def run():
        return subprocess.run(
            system.command(arguments, dist), env=system.environment(), cwd=folder, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=clients.START_S,
        )

    done = run()
    if system.is_wine and done.returncode == 1 and not done.stdout + done.stderr:
        done = run()  # Wine could not start it: a host that fails says why
    decoded = [text.decode("utf-8").replace("\r\n", "\n") for text in (done.stdout, done.stderr)]
    result = Result(done.returncode, *decoded)
    found = _TROUBLE.search(result.errors)
    assert may_crash or not found, f"{found and found[0]}: {result}"
    return result
