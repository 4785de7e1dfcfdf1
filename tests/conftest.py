"""What all tests in Python share: which builds are under test.

    pytest tests --system linux=DIST:FIXTURES --system windows=DIST:FIXTURES …

DIST is the self-contained folder of a build, FIXTURES the folder of its test plugins. Every test
that takes the fixture `system` runs once for each of them, with exceptions: on the
ThreadSanitizer's build, and on AddressSanitizer's with its other engine, only those run that let
several threads work (marked `threads`), and on a build's other engine all but those that no engine
has a part in (marked `any_engine`). Without descriptors (`linux-direct`) those run that are marked
`direct`. A sanitizer's build is without what is marked `plain`. The build on the other C runtime
of Windows runs what is marked `quick`. On Windows itself run the modules of `support.systems.NATIVE`.
"""

import contextlib
import fnmatch
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from support.systems import NATIVE, System, Wine, build_of  # noqa: E402  (the path must be set first)

with contextlib.suppress(ImportError):  # Windows has no such limits
    import resource

DESCRIPTORS = 20000


def pytest_addoption(parser):
    parser.addoption(
        "--system", action="append", default=[], metavar="NAME=DIST:FIXTURES",
        help="a build to test; may be given several times",
    )
    parser.addoption(
        "--only-system", action="store_true",
        help="run what is about a build alone, and not what is about the sources",
    )
    parser.addoption(
        "--full", action="store_true",
        help="run what the mark `full` keeps for a nightly run, too",
    )
    parser.addoption(
        "--soak", type=int, default=0, metavar="SECONDS",
        help="run the soak tests, each for so long, and no others",
    )


def _raise_descriptor_limit():
    """Thousands of clients need as many descriptors; the usual limit of a shell is 1024."""
    if "resource" not in globals():
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def pytest_configure(config):
    _raise_descriptor_limit()
    for marker in (
        "linux(why): what Windows has not, or Wine; not on Windows",
        "windows(why): what Linux has not; not on Linux",
        "only(NAME…, why=): on these systems and no other",
        "other_than(NAME…, why=): on all systems but these",
        "busy: computes and waits for nothing; goes between tests of hosts, which wait",
        "any_engine: no engine has a part in it, so one of them is enough",
        "direct: about sockets in any state; runs with all of them in the tables of the rings too",
        "full(SYSTEM…, why=): on the systems of these patterns, or on all, in a full run only",
        "models: the reference servers that it is about, as linux-epoll",
        "plain(why): about what is built with it, which no sanitizer sees; not on their builds",
        "quick: one of the few that a fast run consists of",
        "soak: runs for minutes, and only when asked for",
        "threads: several threads of the host are at work; runs under ThreadSanitizer too",
    ):
        config.addinivalue_line("markers", marker)


def _spread(items):
    """The order of the items, but the busy ones stand evenly among those about hosts."""
    busy = [item for item in items if item.get_closest_marker("busy")]
    placed = 0
    hosts = sum("/e2e/" in item.nodeid for item in items)
    waiting = 0
    for item in items:
        if not item.get_closest_marker("busy"):
            yield item
            waiting += "/e2e/" in item.nodeid
            while hosts and len(busy) * waiting > hosts * placed:
                yield busy[placed]
                placed += 1
    yield from busy[placed:]


def _has_a_place(item):
    """Whether there is something to test on its system: the marks of the item, or of a single parameter of
    it, say why there is not. What would return at once is no item."""
    build = getattr(item, "callspec", None) and item.callspec.params.get("system")
    if not isinstance(build, tuple):
        return True
    name = build[0]
    here = {"windows" if name.startswith("windows") else "linux"}
    nearest = next((mark.name for mark in item.iter_markers() if mark.name in ("linux", "windows")), None)
    only, but = item.get_closest_marker("only"), item.get_closest_marker("other_than")
    return ((nearest is None or nearest in here)
            and not ("san" in name and item.get_closest_marker("plain"))
            and not (only and name not in only.args)
            and not (but and name in but.args))


def _is_for_a_full_run(item):
    """Whether others of this run stand for it, as the mark `full` says."""
    build = getattr(item, "callspec", None) and item.callspec.params.get("system")
    name = build[0] if isinstance(build, tuple) else ""
    return any(not mark.args or any(fnmatch.fnmatch(name, pattern) for pattern in mark.args)
               for mark in item.iter_markers("full"))


def pytest_collection_modifyitems(config, items):
    """What is left out here belongs to another run, and is not a part of this one that is skipped."""
    items[:] = [item for item in items if _has_a_place(item)]
    soak = config.getoption("soak") > 0
    left_out = [item for item in items if (item.get_closest_marker("soak") is None) == soak]
    if not config.getoption("full") and not soak:
        left_out += [item for item in items if _is_for_a_full_run(item)]
    if config.getoption("only_system"):
        names = [text.partition("=")[0] for text in config.getoption("system")]
        left_out += [item for item in items if not any(name in item.name for name in names)]
    rejected = set(map(id, left_out))
    items[:] = _spread([item for item in items if id(item) not in rejected])
    config.hook.pytest_deselected(items=left_out)


def pytest_generate_tests(metafunc):
    if "system" not in metafunc.fixturenames:
        return
    threads = metafunc.definition.get_closest_marker("threads") is not None
    builds = [build_of(text) for text in metafunc.config.getoption("system")]
    any_engine = metafunc.definition.get_closest_marker("any_engine") is not None
    direct = metafunc.definition.get_closest_marker("direct") is not None
    plain = metafunc.definition.get_closest_marker("plain") is not None
    quick = metafunc.definition.get_closest_marker("quick") is not None
    chosen = [
        build for build in builds
        if ("tsan" not in build[0] and build[0] != "linux-asan-epoll" or threads)
        and not (any_engine and build[0].endswith("-epoll"))
        and (direct or build[0] != "linux-direct")
        and not (plain and "san" in build[0])
        and (quick or build[0] != "windows-ucrt")
        and (build[0] != "windows-native" or metafunc.module.__name__.rpartition(".")[2] in NATIVE)
    ]
    metafunc.parametrize("system", chosen, ids=[name for name, _, _ in chosen], indirect=True,
                         scope="session")


@pytest.fixture(scope="session")
def wine(tmp_path_factory):
    """A Wine for this process of pytest; started by the first test that needs it."""
    own = Wine(tmp_path_factory.mktemp("wine") / "prefix")
    yield own
    own.stop()


@pytest.fixture(scope="session")
def system(request, wine):
    """The build under test."""
    name, dist, fixtures = request.param
    return System(name, dist, fixtures, wine)
