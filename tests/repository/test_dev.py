"""The script `dev`: what its builds do to a folder that is a user's, too."""

import pathlib
import subprocess

import pytest

DEV = pathlib.Path(__file__).resolve().parents[2] / "dev"
MANIFEST = "config/berth.json"

FUNCTIONS = r"""
set -euo pipefail
eval "$(sed -e '/^verb=/,$d' -e '/^set -/d' -e '/^cd /d' "$0")"
"""


class Build:
    """A stage as a build leaves it, made of words, and the folder that it is installed into."""

    def __init__(self, folder):
        self.folder = folder
        self.stage = folder / "stage"
        self.dist = folder / "dist"
        self.write(self.stage, {"berth": "host 1", MANIFEST: "manifest 1", "plugins/echo.so": "echo 1",
                                "lib/libold.so": "old 1", "tests/test_x": "never installed"})

    @staticmethod
    def write(root, files):
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def install(self, **files):
        """Installs the stage with these changes (None: gone); what was said."""
        for name, text in files.items():
            if text is None:
                (self.stage / name).unlink()
            else:
                self.write(self.stage, {name: text})
        done = subprocess.run(
            ["bash", "-c", FUNCTIONS + 'install_dist "$1" "$2" "$3"', str(DEV), "stage", "dist", "list"],
            cwd=self.folder, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        return done.stderr

    def has(self):
        return {str(path.relative_to(self.dist)): path.read_text(encoding="utf-8")
                for path in self.dist.rglob("*") if path.is_file()}


@pytest.fixture
def build(tmp_path):
    return Build(tmp_path)


INSTALLED = {"berth": "host 1", MANIFEST: "manifest 1", "plugins/echo.so": "echo 1", "lib/libold.so": "old 1"}


def test_dev_build_installs_what_is_new_and_removes_what_is_its_own(build):
    assert build.install() == ""
    assert build.has() == INSTALLED
    said = build.install(**{"berth": "host 2", MANIFEST: "manifest 2", "lib/libold.so": None, "lib/new.so": "new"})
    assert said == ""
    assert build.has() == {"berth": "host 2", MANIFEST: "manifest 2", "plugins/echo.so": "echo 1", "lib/new.so": "new"}
    assert build.install(**{"lib/new.so": None}) == ""
    assert not (build.dist / "lib").exists(), "its folder goes with it"


def test_dev_build_leaves_alone_what_a_user_put_there(build):
    build.install()
    own = {"plugins/mine.so": "mine", "www/index.html": "page", "config/users": "ann", "notes with spaces.txt": "x"}
    build.write(build.dist, own)
    (build.dist / "empty").mkdir()
    for _ in range(2):
        assert build.install(berth="host 2") == ""
        assert build.has() == {**INSTALLED, "berth": "host 2", **own}
        assert (build.dist / "empty").is_dir()


def test_dev_build_keeps_an_edited_manifest_and_puts_its_own_beside(build):
    build.install()
    build.write(build.dist, {MANIFEST: "edited"})
    for text in ("manifest 1", "manifest 2", "manifest 3"):
        said = build.install(**{MANIFEST: text})
        assert f"dist/{MANIFEST} is not as a build left it" in said and f"{MANIFEST}.new" in said
        assert build.has() == {**INSTALLED, MANIFEST: "edited", f"{MANIFEST}.new": text}
    build.write(build.dist, {f"{MANIFEST}.new": "edited, too"})
    assert f"{MANIFEST}.new is not as a build left it either" in build.install(**{MANIFEST: "manifest 4"})
    assert build.has()[f"{MANIFEST}.new"] == "edited, too" and build.has()[MANIFEST] == "edited"


def test_dev_build_takes_a_file_back_that_is_as_it_left_it(build):
    build.install()
    build.write(build.dist, {MANIFEST: "edited"})
    build.install(**{MANIFEST: "manifest 2"})
    build.write(build.dist, {MANIFEST: "manifest 2"})
    assert build.install(**{MANIFEST: "manifest 3"}) == ""
    assert build.has() == {**INSTALLED, MANIFEST: "manifest 3"}, "and the one beside it is gone"


def test_dev_build_keeps_what_was_edited_and_is_built_no_more(build):
    build.install()
    build.write(build.dist, {"lib/libold.so": "a user's own"})
    assert "dist/lib/libold.so is of an earlier build" in build.install(**{"lib/libold.so": None})
    assert build.has() == {**INSTALLED, "lib/libold.so": "a user's own"}


def test_dev_build_without_a_list_keeps_the_configuration(build):
    """A folder that an older script has made: what is built is replaced, what is configured is not."""
    build.write(build.dist, {"berth": "host 0", MANIFEST: "edited", "plugins/mine.so": "mine"})
    assert f"dist/{MANIFEST} is not as a build left it" in build.install()
    assert build.has() == {**INSTALLED, MANIFEST: "edited", f"{MANIFEST}.new": "manifest 1", "plugins/mine.so": "mine"}


def test_dev_build_replaces_a_file_that_runs(build):
    """By another file of its name, and never by writing into it."""
    build.install()
    before = (build.dist / "berth").stat().st_ino
    with open(build.dist / "berth", encoding="utf-8") as running:
        build.install(berth="host 2")
        assert running.read() == "host 1"
    assert (build.dist / "berth").stat().st_ino != before


def test_dev_says_where_the_manifest_in_force_is(tmp_path):
    for folder in ("config", "dist/linux/config"):
        Build.write(tmp_path / folder, {"berth.json": "the same"})

    def said():
        return subprocess.run(["bash", "-c", FUNCTIONS + "say_manifest linux", str(DEV)], cwd=tmp_path, check=True,
                              capture_output=True, text=True, timeout=60).stderr

    assert said() == f"dev: the manifest in force is dist/linux/{MANIFEST}, as {MANIFEST} has it\n"
    Build.write(tmp_path / "dist/linux/config", {"berth.json": "edited"})
    assert said() == f"dev: the manifest in force is dist/linux/{MANIFEST}, which is not {MANIFEST}\n"


def _chosen(*words):
    """What pytest is given for these words, an argument a line; or the error."""
    return subprocess.run(
        ["bash", "-c", FUNCTIONS + "chosen=(); choose_tests \"$@\"; printf '%s\\n' \"${chosen[@]}\"", str(DEV), *words],
        cwd=DEV.parent, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words, arguments", [
    ((), ["tests"]),
    (("test_c",), ["tests/test_c.py"]),
    (("tests/e2e/test_http.py", "test_dev"), ["tests/e2e/test_http.py", "tests/repository/test_dev.py"]),
    (("corpus",), ["-k", "corpus", "tests"]),
    (("a_name", "another", "test_c"), ["-k", "a_name or another", "tests/test_c.py"]),
])
def test_dev_test_names_files_or_parts_of_names(words, arguments):
    assert _chosen(*words).stdout.splitlines() == arguments


def test_dev_test_of_what_is_no_name_is_an_error():
    refused = _chosen("no/such(file")
    assert refused.returncode == 2 and 'dev: "no/such(file" is neither' in refused.stderr


def _functions(script):
    """Runs a script with the functions of `dev`."""
    return subprocess.run(["bash", "-c", FUNCTIONS + script, str(DEV)], cwd=DEV.parent, check=False,
                          capture_output=True, text=True, timeout=60)


def test_dev_quick_installs_no_wine_and_no_foreign_client():
    """What it asks for, where nothing is to be built."""
    said = _functions("""
        need_packages() { printf '%s\\n' "$@"; }
        build_for_tests() { exit; }
        verb_test quick
    """)
    assert said.returncode == 0, said
    wanted = set(said.stdout.split())
    assert "python3-pytest" in wanted and "gcc" in wanted
    assert not wanted & {"wine", "wine64", "gcc-mingw-w64-x86-64", "haproxy", "fetchmail", "mpop", "clang", "valgrind"}


def test_dev_test_installs_the_rest_beside_the_first_builds_and_waits_for_it(tmp_path):
    said = _functions(f"mark={tmp_path}/built" + """
        need_packages() {
            case "$*" in *wine*)
                until [ -e "$mark" ]; do sleep 0.05; done
                echo installed
                ;;
            esac
        }
        test_linux_builds() { echo built; touch "$mark"; }
        test_sanitizer_builds() { :; }
        test_windows_builds() { echo windows; exit; }
        verb_test
    """)
    assert (said.returncode, said.stdout.split()) == (0, ["built", "installed", "windows"]), said


def test_dev_test_whose_packages_cannot_be_installed_ends():
    said = _functions("""
        need_packages() { case "$*" in *wine*) exit 1 ;; esac; }
        test_linux_builds() { :; }
        test_sanitizer_builds() { :; }
        test_windows_builds() { echo went on; exit; }
        verb_test
    """)
    assert (said.returncode, said.stdout) == (1, ""), said
