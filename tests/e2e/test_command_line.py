"""The command line: what is asked for goes to stdout, what is wrong to stderr."""

import json
import re

import pytest
from support import manifests

pytestmark = [
    pytest.mark.any_engine,
    pytest.mark.full("*san*", why="commands differ in their words"),
]

USAGE = 2
INVALID = 78


def write(folder, text, name="berth.json"):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


@pytest.mark.quick
@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_command_help_is_on_stdout(berth, word):
    result = berth(word)
    assert result.code == 0 and result.errors == ""
    for verb in ("run", "check", "plugins", "--manifest", "--ready-file", "--plugins"):
        assert verb in result.output


@pytest.mark.quick
def test_command_version_tells_host_and_abi(berth):
    result = berth("--version")
    assert result.code == 0 and result.errors == ""
    assert re.fullmatch(r"berth \d+\.\d+\.\d+ .*ABI 1\.0.*\n", result.output)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "usage:"),
        (("serve",), "serve"),
        (("run", "--port"), "--port"),
        (("run", "berth.json"), "berth.json"),
        (("run", "--manifest"), "--manifest"),
        (("run", "--manifest", "a", "--manifest", "b"), "--manifest"),
        (("check", "a", "b"), "b"),
        (("check", "--ready-file", "a"), "--ready-file"),
        (("plugins", "echo"), "echo"),
        (("plugins", "--ready-file", "a"), "--ready-file"),
    ],
)
def test_command_that_is_not_one_is_a_usage_error(berth, arguments, said):
    result = berth(*arguments)
    assert result.code == USAGE and result.output == ""
    assert said in result.errors


# -- check -----------------------------------------------------------------------------------------


@pytest.mark.quick
def test_check_of_a_good_manifest_says_ok(berth, system, tmp_path):
    result = berth("check", system.path(write(tmp_path, manifests.one())))
    assert result.code == 0 and result.errors == ""
    assert result.output.endswith(": ok\n")


def test_check_without_a_file_takes_the_shipped_manifest(berth):
    result = berth("check")
    assert result.code == 0, result
    assert "berth.json: ok" in result.output


BROKEN = """{
  "manifest": 1,
  "listeners": {
    "echo": {
      "adress": "127.0.0.1:0",
      "plugin": "echo",
      "accept": { "when": "later" }
    }
  }
}
"""


@pytest.mark.parametrize("verb", ["check", "run"])
def test_manifest_errors_are_told_all_at_once_with_their_places(berth, system, tmp_path, verb):
    path = system.path(write(tmp_path, BROKEN))
    result = berth(*(("check", path) if verb == "check" else ("run", "--manifest", path)))
    assert result.code == INVALID and result.output == ""
    for line in result.error_lines:
        place = re.escape(path) + r":\d+:\d+: (/\S*)?: \S"
        assert re.match(place, line), line
    assert f"{path}:5:7: /listeners/echo/adress: " in result.errors
    assert 'did you mean "address"' in result.errors
    assert f"{path}:7:27: /listeners/echo/accept/when: " in result.errors


@pytest.mark.parametrize("verb", ["check", "run"])
def test_manifest_that_is_not_there_is_told(berth, system, tmp_path, verb):
    path = system.path(tmp_path / "nowhere.json")
    result = berth(*(("check", path) if verb == "check" else ("run", "--manifest", path)))
    assert result.code == INVALID and result.output == ""
    assert len(result.error_lines) == 1 and path in result.errors


@pytest.mark.parametrize("verb", ["check", "run"])
def test_manifest_that_is_not_json_is_told_with_its_place(berth, system, tmp_path, verb):
    path = system.path(write(tmp_path, '{\n  "manifest": 1,\n  "listeners" {}\n}\n'))
    result = berth(*(("check", path) if verb == "check" else ("run", "--manifest", path)))
    assert result.code == INVALID and result.output == ""
    assert len(result.error_lines) == 1
    assert result.errors.startswith(f"{path}:3:")


def test_manifest_with_a_byte_order_mark_is_served(run_host):
    host = run_host("\ufeff" + json.dumps(manifests.one()))
    assert host.ready["listeners"]["echo"]["plugin"] == "echo"


def test_manifest_path_with_spaces_and_other_letters_is_found(berth, system, tmp_path):
    folder = tmp_path / "ein Ordner, größer – 港"
    folder.mkdir()
    result = berth("check", system.path(write(folder, manifests.one(), "mañana.json")))
    assert result.code == 0, result
    assert "größer – 港" in result.output and "mañana.json: ok" in result.output


# -- plugins ---------------------------------------------------------------------------------------


@pytest.mark.quick
def test_plugins_lists_what_is_shipped(berth):
    result = berth("plugins")
    assert result.code == 0 and result.errors == ""
    for plugin in ("echo", "packet-echo"):
        (line,) = [l for l in result.output.splitlines() if re.match(rf"{plugin}\b(?!-)", l)]
        assert re.search(r"\d+\.\d+\.\d+", line) and "1.0" in line


def test_plugins_of_an_empty_folder_is_fine(berth, system, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert berth("plugins", "--plugins", system.path(folder)).code == 0


def test_plugins_of_a_folder_that_is_not_there_fails(berth, system, tmp_path):
    result = berth("plugins", "--plugins", system.path(tmp_path / "nowhere"))
    assert result.code == 1
    assert len(result.error_lines) == 1 and "nowhere" in result.errors
