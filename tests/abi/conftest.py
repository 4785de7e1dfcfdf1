"""The fixtures of the black-box tests: hosts that are ended and examined."""

from e2e.conftest import berth, fail_to_start, run_host, start_host  # noqa: F401
