"""The documents: what they show is what happens, what they point at is there, what is generated is current."""

import json
import os
import pathlib
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml
from support.console import Console, blocks
from support.systems import SYSTEMS, build_of

TOP = pathlib.Path(__file__).resolve().parents[2]
EXECUTED = ["README.md", "docs/tutorial.md"]
README_LINES_MAX = 150
COLUMNS_MAX = 110

PAGES = sorted({
    *(path for folder in ("docs", "plugin-api", ".github") for path in (TOP / folder).rglob("*.md")),
    *TOP.glob("*.md"), *(TOP / "tests" / "bench").glob("*.md"),
})
OWN = [path for path in PAGES if path.parent == TOP or (TOP / "docs") in path.parents]


def _name(path):
    return str(path.relative_to(TOP))


def _read(name):
    return (TOP / name).read_text(encoding="utf-8")


def _prose(path):
    """The lines that are not in a fenced block, with their numbers."""
    inside = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = line.lstrip().startswith("```")
        if not fence and not inside:
            yield number, line
        inside ^= fence


# -- what they show ----------------------------------------------------------------------------------


@pytest.fixture
def linux(request):
    """The folder of the build for Linux."""
    builds = [text for text in request.config.getoption("system") if text.startswith("linux=")]
    if not builds:
        pytest.skip("the build for Linux is not among the systems")
    return build_of(builds[0])[1]


@pytest.mark.quick
@pytest.mark.parametrize("name", EXECUTED)
def test_docs_console_blocks_do_what_they_show(name, linux, tmp_path):
    console = Console(tmp_path, linux, _read(name))
    try:
        console.run()
    finally:
        console.close()


@pytest.mark.parametrize("shown, why", [
    ("$ echo one\ntwo", "-- is\none"),
    ("$ false", "ended with 1"),
    ("$ printf 'one\\ntwo\\n'\none", "-- is\none\ntwo"),
    ("$ ./dev run\nnothing: listening", "does not say 'nothing: listening'"),
])
def test_docs_console_block_that_shows_something_else_fails(shown, why, linux, tmp_path, monkeypatch):
    monkeypatch.setattr("support.console.WAIT_S", 3.0)
    console = Console(tmp_path, linux, f"```console\n{shown}\n```\n")
    try:
        with pytest.raises(AssertionError) as failed:
            console.run()
        assert why in str(failed.value)
    finally:
        console.close()


def test_docs_the_run_of_dev_is_the_one_that_the_console_has():
    """Console blocks have a `./dev run` that begins where the build is done."""
    assert re.search(r"\n    linux\)\n        build_linux\n        say_manifest linux\n"
                     r"        exec dist/linux/berth run\n", _read("dev"))


def _fragment(text):
    """A manifest that has these members, wherever their place is."""
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    members = json.loads("{" + text + "}")
    base = {"manifest": 1, "listeners": {"a": {"address": "127.0.0.1:0", "plugin": "echo"}}}
    return [{**base, **members}, {**base, "host": members},
            {**base, "listeners": {"a": {**base["listeners"]["a"], **members}}}]


def test_docs_json_of_manifests_is_valid():
    validator = jsonschema.Draft202012Validator(json.loads(_read("config/berth.schema.json")))
    for name in ("README.md", "docs/manifest.md", "docs/operating.md", "docs/tutorial.md"):
        for block in blocks(_read(name)):
            if block.language == "json":
                assert any(validator.is_valid(one) for one in _fragment(block.text)), f"{name}:{block.line}"


PLUGIN_PAGES = [path for path in sorted((TOP / "docs" / "plugins").glob("*.md")) if path.name != "README.md"]


def _config_keys(plugin):
    """The keys of a plugin's "config", by the schema of its descriptor."""
    sources = "".join(path.read_text(encoding="utf-8") for folder in ("examples", "plugins")
                      for path in (TOP / folder / plugin).glob("*.c"))
    literals = re.search(r"\.config_schema_json =(.*?),\n    \.\w+ =", sources, re.DOTALL)
    if not literals:
        return set()
    pieces = re.findall(r'"((?:[^"\\]|\\.)*)"', literals[1])
    return set(json.loads("".join(re.sub(r"\\(.)", r"\1", piece) for piece in pieces))["properties"])


def test_docs_there_is_a_page_for_each_plugin():
    plugins = {path.name for folder in ("examples", "plugins") for path in (TOP / folder).iterdir()
               if path.is_dir()} - {"common"}
    assert {path.stem for path in PLUGIN_PAGES} == plugins
    index = _read("docs/plugins/README.md")
    assert all(f"| [{name}]({name}.md) |" in index for name in plugins)


@pytest.mark.parametrize("path", PLUGIN_PAGES, ids=_name)
def test_docs_plugin_page_has_every_key(path):
    rows = "".join(line for _, line in _prose(path) if line.startswith("| `"))
    keys = _config_keys(path.stem)
    assert keys or path.stem in ("echo", "packet-echo"), "its descriptor has no schema"
    assert set(re.findall(r"`([a-z_]+)`", rows)) >= keys


# -- what they point at ------------------------------------------------------------------------------


def _anchors(path):
    """The anchors of a page's headings, as forges make them."""
    headings = [line.lstrip("#").strip() for _, line in _prose(path) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_docs_links_resolve(path):
    for number, line in _prose(path):
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            assert there.exists(), f"{_name(path)}:{number}: {target}"
            assert not anchor or anchor in _anchors(there), f"{_name(path)}:{number}: {target}"


FOLDERS = ("config", "docs", "examples", "host", "plugin-api", "plugins", "tests")


@pytest.mark.parametrize("path", OWN, ids=_name)
def test_docs_files_that_are_named_exist(path):
    for number, line in _prose(path):
        for name in re.findall(r"`([\w.*/-]+)`", line):
            meant = re.search(r"[A-Z]{3,}", name.replace("README", "").replace("CHANGELOG", ""))  # NAME: any
            if "/" in name and name.split("/")[0] in FOLDERS and not meant:
                assert list(TOP.glob(name.rstrip("/"))), f"{_name(path)}:{number}: {name}"


def _words_of_the_sources():
    """Every word that the code and its build have."""
    words = set()
    for folder in ("examples", "host", "plugin-api", "plugins", "tests"):
        for path in (TOP / folder).rglob("*"):
            if path.suffix in (".c", ".h", ".py", ".def", ".build"):
                words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return words


def test_docs_functions_and_structs_that_are_named_exist():
    words = _words_of_the_sources()
    for path in OWN:
        if path.name != "CHANGELOG.md":
            named = re.findall(r"`(?:[\w.]+\.)?(\w+)\(\)`|`(?:struct|enum) (\w+)`", path.read_text(encoding="utf-8"))
            missing = {function or struct for function, struct in named} - words
            assert not missing, f"{_name(path)}: {missing}"


def test_docs_decisions_are_numbered_and_listed():
    folder = TOP / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    index = (folder / "README.md").read_text(encoding="utf-8")
    for name in pages:
        text = (folder / name).read_text(encoding="utf-8")
        title = text.splitlines()[0]
        assert f"| [{int(name[:4])}]({name}) | {title.partition('. ')[2]} |" in index, name
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
            "Question", "Decision", "Why", "Cost", "What would change it"], name


def test_docs_markers_are_told():
    declared = re.findall(r'^        "(\w+): ', _read("tests/conftest.py"), re.MULTILINE)
    table = _read("docs/testing.md")
    assert declared and all(f"| `{marker}` |" in table for marker in declared)


def test_docs_systems_are_told():
    table = "".join(line for _, line in _prose(TOP / "docs" / "testing.md") if line.startswith("| `"))
    assert all(f"`{system}`" in table for system in SYSTEMS)


def test_docs_verbs_of_dev_are_told():
    usage = subprocess.run([TOP / "dev", "help"], capture_output=True, text=True, check=True).stdout
    table = _read("docs/building.md")
    verbs = set(re.findall(r"^  \./dev (\w+)", usage, re.MULTILINE)) - {"help"}
    assert verbs and all(f"| `./dev {verb}" in table for verb in verbs)


# -- what is current ---------------------------------------------------------------------------------


def test_docs_references_are_up_to_date():
    done = subprocess.run([sys.executable, "-B", TOP / "docs" / "reference.py", "check"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_docs_reference_has_every_counter_and_key():
    counters = re.findall(r"^(?:COUNTER|GAUGE|CALLBACK)", _read("host/base/counters.def"), re.MULTILINE)
    table = _read("docs/operating.md").partition("from host/base/counters.def. -->")[2].partition("<!-- The end")[0]
    assert counters and table.count("\n| `") == len(counters)
    keys = re.findall(r"^ *[A-Z_]+\([\w.]*, (\w+),", _read("host/manifest/options.def"), re.MULTILINE)
    assert len(keys) > 70 and all(f"| `{key}` |" in _read("docs/manifest.md") for key in keys)


def test_docs_commands_and_options_are_told():
    page = _read("docs/operating.md")
    for verb in re.findall(r'^VERB\(\w+, "([a-z ]+)"', _read("host/command/command.def"), re.MULTILINE):
        assert verb == "try-library" or f"`berth {verb}" in page, verb
    options = re.findall(r'^(?:VALUE|FLAG)\(\w+, "([a-z-]+)",.*[^"]"\)$', _read("host/command/command.def"), re.MULTILINE)
    assert len(options) > 10 and all(f"| `{option}" in page for option in options), options


def test_docs_versions_agree():
    version = re.search(r"version: '([\d.]+)'", _read("meson.build"))[1]
    # The sources have it from there.
    assert "-DBERTH_VERSION=\"@0@\"'.format(meson.project_version())" in _read("meson.build")
    header = _read("plugin-api/berth/abi.h")
    major, minor = (re.search(rf"define BERTH_ABI_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR"))
    assert set(re.findall(r"version: '([\d.]+)'", _read("plugin-api/meson.build"))) == {f"{major}.{minor}"}
    assert not any("define BERTH_VERSION" in path.read_text(encoding="utf-8")
                   for path in (TOP / "host").rglob("*.[ch]"))
    assert re.findall(r"^## (\S+)", _read("CHANGELOG.md"), re.MULTILINE)[:2] == ["Unreleased", version]


def test_docs_readme_is_short():
    assert _read("README.md").count("\n") <= README_LINES_MAX


NARROW = [path for path in OWN if path.name != "CHANGELOG.md"]


@pytest.mark.parametrize("path", NARROW, ids=_name)
def test_docs_prose_is_narrow(path):
    text = path.read_text(encoding="utf-8")
    generated = re.search(r"<!-- From here.*?-->.*<!-- The end.*?-->", text, re.DOTALL)
    first = text[: generated.start()].count("\n") + 1 if generated else 0
    last = text[: generated.end()].count("\n") + 1 if generated else 0
    wide = [number for number, line in _prose(path)
            if len(line) > COLUMNS_MAX and not line.startswith("|") and not first <= number <= last]
    assert not wide, f"{_name(path)}: lines {wide}"


@pytest.mark.parametrize("path", sorted((TOP / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=_name)
def test_docs_issue_form_is_whole(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"] and form["description"]
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert len({one["id"] for one in fields}) == len(fields) > 0
    assert all(one["attributes"]["label"] for one in fields)


def test_docs_scripts_run():
    assert os.access(TOP / "docs" / "reference.py", os.X_OK)


def test_docs_of_windows_name_tests_and_functions_that_there_are():
    rows = [row for row in _read("docs/windows.md").splitlines() if re.match(r"\| .* \| .*`", row)]
    tests = "".join(path.read_text(encoding="utf-8") for folder in ("net", "os", "manifest", "control", "host", "engine", "e2e")
                    for path in (TOP / "tests" / folder).iterdir() if path.suffix in (".c", ".py"))
    tests += " ".join(path.stem for path in (TOP / "tests").rglob("test_*.c"))
    workflow = yaml.safe_load(_read(".github/workflows/windows.yml"))
    steps = {step.get("name") for job in workflow["jobs"].values() for step in job["steps"]}
    assert len(rows) > 30
    for row in rows:
        _, decided, settled = row.strip("| ").split(" | ", 2)
        for name in re.findall(r"`(test_\w+)`", settled):
            assert re.search(rf"\b{name}\b", tests), f"{name} is not there"
        for step in re.findall(r'step "([^"]+)"', settled):
            assert step in steps, row
        for job in re.findall(r'job "([^"]+)"', settled):
            assert job in workflow["jobs"], row
        found = re.match(r"`(\w+\.c)`(?:, `(\w+)`)?$", decided)
        if found:
            (source,) = (TOP / "host").rglob(found[1])
            assert not found[2] or re.search(rf"\b{found[2]}\(", source.read_text(encoding="utf-8")), row
