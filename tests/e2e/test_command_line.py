"""The command line: what is asked for goes to stdout, what is wrong to stderr."""

import json
import pathlib
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


VERBS = re.findall(r'^VERB\(\w+, "([a-z ]+)"', (pathlib.Path(__file__).parents[2] / "host" / "command" / "command.def")
                   .read_text(encoding="utf-8"), re.MULTILINE)


def test_command_help_of_each_verb_is_the_same_by_every_way(berth):
    told = berth("help").output
    for verb in (verb for verb in VERBS if verb != "try-library"):
        first = berth("help", *verb.split())
        assert first.code == 0 and first.errors == "" and first.output.startswith(f"usage: berth {verb}"), first
        assert verb in told
        assert berth(*verb.split(), "--help").output == first.output
        assert berth(*verb.split(), "-h").output == first.output
        assert all(len(line) <= 80 for line in first.output.splitlines()), first
    assert "plugin fuzz" in berth("help", "plugin").output
    assert berth("plugin", "--help").output == berth("help", "plugin").output
    assert "try-library" not in told and "--supervised" not in told


def test_command_value_stands_after_the_option_or_after_an_equals_sign(berth, system, tmp_path):
    path = system.path(write(tmp_path, manifests.one()))
    folder = tmp_path / "empty=folder"
    folder.mkdir()
    ways = (("--plugins", system.path(folder)), (f"--plugins={system.path(folder)}",))
    ends = [berth("check", path, *words) for words in ways] + [berth("check", *words, "--", path) for words in ways]
    assert len({(end.code, end.errors) for end in ends}) == 1 and "empty=folder" in ends[0].errors, ends


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
        (("plugins", "--nmae", "a"), 'did you mean "--name"'),
        (("statsu",), 'did you mean "status"'),
        (("help", "restrat"), 'did you mean "restart"'),
        (("status", "--name"), "option --name needs a value"),
        (("status", "--name="), "option --name needs a value"),
        (("status", "--name", "--json"), "option --name needs a value"),
        (("status", "--name", "--timeout=3"), "option --name needs a value"),
        (("status", "--name", "--help"), "option --name needs a value"),
        (("status", "--name", "--", "x"), "option --name needs a value"),
        (("stop", "--now=1"), "option --now takes no value"),
        (("stop", "--now", "--now"), "option --now is given twice"),
        (("status", "--", "--name"), 'unexpected word "--name"'),
        (("plugin",), "say what to do with the plugin"),
        (("plugin", "tset"), 'did you mean "plugin test"'),
        (("plugin", "test", "a.so"), "plugin test needs FILE TRANSCRIPT"),
        (("record", "127.0.0.1:1"), "record needs --out FILE"),
        (("try-library",), "try-library"),
        (("status", "--x\x1b[31m"), "\\u001b"),
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


def _options(schema, pointer):
    """The options of an object in the schema: pointer, and its own schema."""
    for key, value in schema["properties"].items():
        objects = [form for form in [value, *value.get("anyOf", [])] if "properties" in form]
        if objects:
            yield from _options(objects[0], f"{pointer}/{key}")
        else:
            yield f"{pointer}/{key}", value


def _effective(berth, system, path):
    result = berth("check", "--effective", system.path(path))
    assert result.code == 0 and result.errors == "", result
    return dict(line.split(" = ", 1) for line in result.output.splitlines())


def test_check_effective_lists_every_option_with_its_default(berth, system, tmp_path):
    schema = json.loads((pathlib.Path(__file__).parents[2] / "config" / "berth.schema.json").read_text(encoding="utf-8"))
    listed = _effective(berth, system, write(tmp_path, manifests.one()))
    options = dict(_options(schema["properties"]["host"], "/host"))
    options.update(_options(schema["$defs"]["listener"], "/listeners/echo"))
    assert set(listed) == set(options) and len(options) > 70
    for pointer, schema in options.items():
        if listed[pointer].endswith(" (default)"):
            value = listed[pointer].removesuffix(" (default)")
            assert value == "none" or "default" not in schema or json.loads(value) == schema["default"], pointer
    assert listed["/listeners/echo/plugin"] == '"echo"'


def test_check_effective_tells_what_the_manifest_gives(berth, system, tmp_path):
    manifest = manifests.one()
    manifest["host"] = {**manifest.get("host", {}), "workers": 2, "log": {"level": "warn"}}
    manifest["listeners"]["echo"].update({
        "limits": {"accept_rate_per_client": 7}, "accept": {"pool": {"high": 8}}, "allow": ["10.0.0.0/8"],
        "no_delay": False})
    listed = _effective(berth, system, write(tmp_path, manifest))
    assert listed["/host/workers"] == "2" and listed["/host/log/level"] == '"warn"'
    assert listed["/listeners/echo/limits/accept_rate_per_client/per_second"] == "7"
    assert listed["/listeners/echo/limits/accept_rate_per_client/burst"] == "7 (default)"
    assert listed["/listeners/echo/accept/pool/high"] == "8"
    assert listed["/listeners/echo/accept/pool/initial"] == "8 (default)"
    assert listed["/listeners/echo/allow"] == '["10.0.0.0/8"]' and listed["/listeners/echo/deny"] == "none (default)"
    assert listed["/listeners/echo/no_delay"] == "false"


def test_check_effective_of_a_broken_manifest_says_what_is_wrong(berth, system, tmp_path):
    result = berth("check", "--effective", system.path(write(tmp_path, BROKEN)))
    assert result.code == INVALID and result.output == "" and "adress" in result.errors


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
