"""The "config" of a listener against its plugin's schema: by `check`, `run`, `reload`, and for editors."""

import json
import shutil

import jsonschema
import pytest
from support import clients, manifests
from support.host import run_berth

pytestmark = pytest.mark.any_engine

INVALID = 78

WRONG = """{
  "manifest": 1,
  "host": { "control": false },
  "listeners": {
    "talk": {
      "address": "127.0.0.1:0", "plugin": "chat",
      "config": { "room_max": 3, "line_bytes": 1e9, "slow": "disconect" }
    },
    "all": {
      "address": "127.0.0.1:0", "plugin": "proxy",
      "config": {
        "upstreams": [ "a:1", "nowhere", 7 ]
      }
    },
    "web": { "address": "127.0.0.1:0", "plugin": "http" }
  }
}
"""

TOLD = [
    '7:19: /listeners/talk/config/room_max: unknown key (did you mean "rooms_max"?)',
    "7:48: /listeners/talk/config/line_bytes: expected a whole number from 64 to 16384, found 1000000000",
    '7:61: /listeners/talk/config/slow: expected "drop-message" or "disconnect", found "disconect" '
    '(did you mean "disconnect"?)',
    '12:31: /listeners/all/config/upstreams/1: expected an address with a port, like "backend.example:8080" or '
    '"[::1]:8080", found "nowhere"',
    "12:42: /listeners/all/config/upstreams/2: expected a string, found 7",
    '15:12: /listeners/web/config: the key "root" is missing',
]


def write(folder, text):
    path = folder / "m.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.quick
@pytest.mark.parametrize("verb", ["check", "run"])
def test_config_errors_are_told_all_at_once_with_their_places(berth, system, tmp_path, verb):
    path = system.path(write(tmp_path, WRONG))
    result = berth(*(("check", path) if verb == "check" else ("run", "--manifest", path)))
    assert result.code == INVALID and result.output == "", result
    assert [line.removeprefix(f"{path}:") for line in result.error_lines] == TOLD


def test_config_errors_are_told_with_those_of_the_manifest(berth, system, tmp_path):
    text = WRONG.replace('"plugin": "proxy",', '"plugin": "proxy", "adress": 1,')
    path = system.path(write(tmp_path, text))
    result = berth("check", path)
    lines = [line.removeprefix(f"{path}:") for line in result.error_lines]
    assert result.code == INVALID and len(lines) == len(TOLD) + 1, result
    assert set(TOLD) < set(lines) and any("/listeners/all/adress: unknown key" in line for line in lines)


def test_config_that_is_no_object_is_told_once(berth, system, tmp_path):
    manifest = manifests.one("http", config=[])
    result = berth("check", system.path(write(tmp_path, json.dumps(manifest))))
    assert result.code == INVALID and len(result.error_lines) == 1, result
    assert "/listeners/http/config: expected an object, found an array" in result.errors


def test_config_that_is_wrong_is_not_reloaded(run_host, operate):
    manifest = manifests.one("chat", "connect", config={"rooms_max": 3})
    host = run_host(manifest)
    manifest["listeners"]["chat"]["config"] = {"rooms_max": 0, "roms_max": 3}
    manifest["listeners"]["more"] = manifests.listener("proxy", "connect")
    host.manifest_file.write_text(json.dumps(manifest), encoding="utf-8")
    refused = operate().run("reload")
    assert refused.code == INVALID, refused
    for words in ("/listeners/chat/config/rooms_max: expected a whole number from 1 to 1000000, found 0",
                  '/listeners/chat/config/roms_max: unknown key (did you mean "rooms_max"?)',
                  '/listeners/more/config: the key "upstreams" is missing'):
        assert words in refused.errors, refused
    dry = operate().run("reload", "--dry-run")
    assert dry.code == INVALID and dry.errors == refused.errors, dry
    clients.connect(host.address("chat")).close()
    manifest["listeners"]["chat"]["config"] = {"rooms_max": 4}
    del manifest["listeners"]["more"]
    host.manifest_file.write_text(json.dumps(manifest), encoding="utf-8")
    assert operate().run("reload").code == 0


# -- what a schema cannot say ------------------------------------------------------------------------

ASKED = [
    ("http", {"root": "nowhere", "headers": {"Date": "x", "X-Own": "y"}},
     ["/root: ", "nowhere is not there", "/headers/Date: expected the name of a field that the server does not set"]),
    ("http", {"root": "m.json"}, ["/root: ", "m.json is a file, and a folder is expected"]),
    ("pop3", {"users": "nobody"}, ["/users: ", "nobody is not there"]),
    ("pop3", {"users": "."}, ["/users: ", " is a folder, and a file is expected"]),
    ("datagram", {"mode": "syslog", "file": "nowhere/log"}, ["/file: ", "nowhere is no folder"]),
    ("proxy", {"upstreams": ["a:1", "a:65536"]}, ["/upstreams/1: expected an address with a port"]),
]


@pytest.mark.parametrize("plugin, config, words", ASKED, ids=[f"{plugin}-{n}" for n, (plugin, _, _) in enumerate(ASKED)])
def test_config_that_only_the_plugin_can_judge_is_told_by_check(berth, system, tmp_path, plugin, config, words):
    more = {"transport": "udp"} if plugin == "datagram" else {}
    text = json.dumps(manifests.one(plugin, "connect", config=config, **more), indent=1)
    path = system.path(write(tmp_path, text))
    result = berth("check", path)
    assert result.code == INVALID and result.output == "", result
    for word in words:
        assert word in result.errors, result
    for line in result.error_lines:
        place = line.removeprefix(f"{path}:")
        number = int(place.partition(":")[0])
        key = place.split(": ")[1].rsplit("/", 1)[1]
        assert key.isdigit() or f'"{key}"' in text.splitlines()[number - 1], (line, "its place is that of the key")


def test_config_of_a_broken_manifest_is_asked_of_the_plugin_too(berth, system, tmp_path):
    manifest = manifests.one("http", "connect", config={"root": "nowhere"}, adress=1)
    result = berth("check", system.path(write(tmp_path, json.dumps(manifest))))
    assert result.code == INVALID and len(result.error_lines) == 2, result
    assert "nowhere is not there" in result.errors and "/adress: unknown key" in result.errors


def test_config_that_the_plugin_refuses_is_not_reloaded(run_host, operate, tmp_path):
    (tmp_path / "site").mkdir()
    manifest = manifests.one("echo", "connect")
    host = run_host(manifest)
    manifest["listeners"]["web"] = manifests.listener("http", config={"root": "nowhere"})
    host.manifest_file.write_text(json.dumps(manifest), encoding="utf-8")
    refused = operate().run("reload")
    assert refused.code == INVALID and "/listeners/web/config/root: " in refused.errors, refused


def test_answers_of_a_plugin_are_bounded_and_have_pointers(berth, system, tmp_path):
    """Its pointers have no slash, its texts are NULL, and there are 150."""
    path = system.path(write(tmp_path, json.dumps(manifests.one("odd-check", "connect", config={"greeting": 1}))))
    result = berth("check", path, "--plugins", system.path(system.fixtures))
    assert result.code == INVALID and len(result.error_lines) == 101, result
    assert "/listeners/odd-check/config/greeting: it gives no reason" in result.errors
    assert "50 more things are wrong" in result.errors


def test_plugin_that_cannot_check_a_config_says_so(berth, system, tmp_path):
    path = system.path(write(tmp_path, json.dumps(manifests.one("failing-check", "connect"))))
    result = berth("check", path, "--plugins", system.path(system.fixtures))
    assert result.code == 1 and 'plugin "failing-check" could not check the config' in result.errors, result


# -- schemas that are none ---------------------------------------------------------------------------

PLACE = '/properties/greeting/type (line 1, column 56 of the schema): expected a type'


@pytest.mark.parametrize("verb", ["check", "run", "plugins", "schema"])
def test_schema_that_is_none_is_refused_with_the_plugin_and_its_place(berth, system, tmp_path, verb):
    path = system.path(write(tmp_path, json.dumps(manifests.one("bad-schema", "connect"))))
    arguments = {"check": [path], "run": ["--manifest", path], "plugins": [], "schema": ["bad-schema"]}[verb]
    folder = tmp_path / "plugins"
    folder.mkdir()
    shutil.copy(system.fixtures / f"bad-schema{system.library_suffix}", folder)
    result = berth(verb, *arguments, "--plugins", system.path(folder))
    told = result.output if verb == "plugins" else result.errors
    assert result.code == (0 if verb == "plugins" else 1), result
    assert "bad-schema" in told and "config_schema_json" in told and PLACE in told, result


def test_schema_that_is_none_fails_the_validation(berth, system):
    result = berth("plugin", "validate", system.path(system.fixtures / f"bad-schema{system.library_suffix}"), "--json")
    assert result.code == 1 and PLACE in result.output, result


def test_validate_refuses_a_config_that_does_not_fit(berth, system):
    library = system.dist / "plugins" / f"chat{system.library_suffix}"
    result = berth("plugin", "validate", system.path(library), "--config", '{"room_max": 1, "rooms_max": 0}')
    assert result.code == 1, result
    for words in ('/room_max: unknown key (did you mean "rooms_max"?)', "/rooms_max: expected a whole number"):
        assert words in result.output, result


def test_validate_asks_the_plugin_of_the_config(berth, system):
    library = system.dist / "plugins" / f"http{system.library_suffix}"
    result = berth("plugin", "validate", system.path(library), "--config", '{"root": "nowhere", "headers": {"Date": "x"}}')
    assert result.code == 1, result
    for words in ("/root: ", "nowhere is not there", "/headers/Date: expected the name of a field"):
        assert words in result.output, result


# -- for editors -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(system, tmp_path_factory):
    result = run_berth(system, ["schema"], tmp_path_factory.mktemp("schema"))
    assert result.code == 0 and result.errors == "", result
    return json.loads(result.output)


def test_schema_of_all_has_every_plugin_of_the_folder(whole, system):
    plugins = {path.name.removesuffix(system.library_suffix) for path in (system.dist / "plugins").iterdir()
               if path.name.endswith(system.library_suffix)}
    assert set(whole["$defs"]["listener"]["properties"]["plugin"]["examples"]) == plugins
    jsonschema.Draft202012Validator.check_schema(whole)


@pytest.mark.parametrize("name, fits, listener", [
    ("echo", True, manifests.listener("echo")),
    ("chat", True, manifests.listener("chat", config={"rooms_max": 3})),
    ("chat-wrong", False, manifests.listener("chat", config={"room_max": 3})),
    ("http-without", False, manifests.listener("http")),
    ("http", True, manifests.listener("http", config={"root": "x"})),
    ("syslog-without", False, manifests.listener("datagram", config={"mode": "syslog"})),
    ("not-a-shipped-one", True, manifests.listener("mine", config={"anything": 1})),
    ("host's-own-rules", False, {**manifests.listener("echo"), "adress": 1}),
])
def test_schema_of_all_holds_configs_to_their_plugins(whole, name, fits, listener):
    validator = jsonschema.Draft202012Validator(whole)
    assert validator.is_valid(manifests.manifest({"l": listener})) == fits, name


def test_schema_of_one_leaves_the_others_free(berth):
    result = berth("schema", "proxy")
    assert result.code == 0, result
    validator = jsonschema.Draft202012Validator(json.loads(result.output))
    assert validator.is_valid(manifests.one("http"))
    assert not validator.is_valid(manifests.one("proxy"))
    assert validator.is_valid(manifests.one("proxy", config={"upstreams": ["a:1"]}))


def test_schema_of_a_plugin_that_is_not_there_is_an_error(berth):
    result = berth("schema", "echo", "ecko")
    assert result.code == 1 and result.output == "" and 'no plugin "ecko"' in result.errors, result
