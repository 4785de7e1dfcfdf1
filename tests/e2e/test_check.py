"""`berth check`: all that is wrong in one go, and at a cost that grows with the manifest and no faster."""

import json

import pytest
from support import cost, manifests
from support.host import run_berth

pytestmark = pytest.mark.any_engine

INVALID = 78

SEVERAL = """{
  "manifest": 1,
  "listeners": {
    "a": { "address": "127.0.0.1:0", "plugin": "ecko" },
    "b": { "adress": "127.0.0.1:0", "plugin": "echo" },
    "c": { "address": "127.0.0.1:0", "plugin": "packet-ecko", "accept": { "when": "later" } },
    "d": { "address": "127.0.0.1:0", "plugin": "zzz" }
  }
}
"""


def write(folder, text, name="m.json"):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text, indent=1), encoding="utf-8")
    return path


def places(result):
    """(line, pointer) of what was told, in its order."""
    found = []
    for line in result.error_lines:
        place, pointer, _ = line.split(": ", 2)
        found.append((int(place.rsplit(":", 2)[1]), pointer))
    return found


@pytest.mark.quick
def test_check_tells_missing_plugins_together_with_all_else(berth, system, tmp_path):
    path = system.path(write(tmp_path, SEVERAL))
    result = berth("check", path)
    assert result.code == INVALID and result.output == "", result
    told = places(result)
    assert told == sorted(told, key=lambda one: one[0]), result
    pointers = [pointer for _, pointer in told]
    for pointer in ("/listeners/a/plugin", "/listeners/b/adress", "/listeners/c/plugin",
                    "/listeners/c/accept/when", "/listeners/d/plugin"):
        assert pointers.count(pointer) == 1, result
    assert f'{path}:4:48: /listeners/a/plugin: no plugin "ecko"' in result.errors
    assert 'did you mean "echo"?' in result.errors and 'did you mean "packet-echo"?' in result.errors
    line = next(line for line in result.error_lines if "/d/plugin" in line)
    assert "did you mean" not in line, "nothing is near"


def test_check_of_plugins_that_are_missing_only_is_an_invalid_manifest(berth, system, tmp_path):
    manifest = manifests.manifest({"a": manifests.listener("ecko"), "b": manifests.listener("echo"),
                                   "c": manifests.listener("pop3", "data", config={"users": "x"}),
                                   "d": manifests.listener("ecko")})
    result = berth("check", system.path(write(tmp_path, manifest)))
    assert result.code == INVALID, result
    pointers = [pointer for _, pointer in places(result)]
    assert pointers == ["/listeners/a/plugin", "/listeners/c/accept/when", "/listeners/c/config/users",
                        "/listeners/d/plugin"], result
    assert result.errors.count('did you mean "echo"?') == 2


def test_check_looks_in_the_folder_that_is_named(berth, system, tmp_path):
    (tmp_path / "plugins").mkdir()
    for text in (manifests.one(), SEVERAL):
        result = berth("check", system.path(write(tmp_path, text)), "--plugins", system.path(tmp_path / "plugins"))
        assert result.code == INVALID and 'no plugin "echo"' in result.errors, result


def test_check_of_a_plugin_that_cannot_be_loaded_is_a_failure(berth, system, tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / f"echo{system.library_suffix}").write_text("no library", encoding="utf-8")
    result = berth("check", system.path(write(tmp_path, manifests.one())), "--plugins",
                   system.path(tmp_path / "plugins"))
    assert result.code == 1 and "/listeners/echo/plugin" in result.errors, result


# -- what it costs -----------------------------------------------------------------------------------



def many(count, listener):
    return {"manifest": 1, "listeners": {f"l{i:05}": listener(i) for i in range(count)}}


def shape_missing(count):
    """One plugin that is not there, of every listener."""
    return many(count, lambda i: manifests.listener("ecko"))


def shape_all_missing(count):
    """Another one each."""
    return many(count, lambda i: manifests.listener(f"missing-{i:05}"))


def shape_reverse(count):
    """What is wrong at the end of the file (a key once more) is found before what is wrong at its beginning."""
    wrong = [f'"l{i:05}": {{"plugin": 7, "address": "127.0.0.1:0"}}' for i in range(count)]
    again = ['"again": {"plugin": "echo", "address": "127.0.0.1:0"}'] * count
    return '{"manifest": 1, "listeners": {' + ",\n".join(wrong + again) + "}}"


@pytest.mark.linux("instructions are counted on Linux; the code is the same")
@pytest.mark.plain
@pytest.mark.busy
@pytest.mark.parametrize("shape, least", [(shape_missing, 100), (shape_all_missing, 100), (shape_reverse, 400)])
def test_check_costs_in_proportion_to_the_manifest(system, tmp_path, shape, least):
    def cost_of(count):
        path = write(tmp_path, shape(count), f"{count}.json")
        return cost.instructions(system.command(["check", str(path)]), tmp_path, system.environment(),
                                 codes=(1, INVALID))

    cost.assert_proportional(cost_of, (least, 2 * least, 4 * least, 8 * least))


@pytest.mark.plain
def test_check_of_thousands_of_listeners_ends_soon(system, tmp_path):
    path = write(tmp_path, shape_missing(6000))
    result = run_berth(system, ["check", system.path(path)], tmp_path)
    assert result.code == INVALID and len(result.error_lines) == 6000
