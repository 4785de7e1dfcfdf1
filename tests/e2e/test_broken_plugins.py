"""Plugins broken on purpose: each is refused with a message of its own, and harms nobody."""

import re
import shutil

import pytest
from support import clients, manifests

REFUSED = [
    ("no-entry", ["berth_plugin_entry_v1"]),
    ("wrong-magic", ["magic"]),
    ("other-major", ["ABI", "2.0", "1"]),
    ("higher-minor", ["requires ABI 1.1", "serves ABI 1.0"]),
    ("contradicting", ["built for minor 0", "requires minor 1"]),
    ("truncated", ["struct_size is 24"]),
    ("short", ["truncated"]),
    ("first-candidate", ["built for draft 1 of ABI 1.0", "serves draft 2",
                         "build it against this host's plugin-api"]),
    ("hands-over", ["`handover` is set", "set NULL"]),
    ("later-draft", ["built for draft 3 of ABI 1.0", "serves draft 2", "use a newer host"]),
    ("released-abi", ["contradicts itself", "magic of the released ABI", "draft 2"]),
    ("null-operation", ["received"]),
    ("null-entry", ["returned NULL"]),
    ("other-id", ["somebody-else"]),
    ("no-version", ["version"]),
    ("unknown-flags", ["flags", "0x80000000"]),
    ("vast-state", ["conn_state_size"]),
    ("bad-schema", ["config_schema_json", "/properties/greeting/type", "expected a type"]),
    ("failing-load", ["refused to load", "the oven is cold"]),
    ("failing-open", ["refused to open", "no reason"]),
    ("failing-open-message", ["refused to open", "/greeting"]),
]
"""The plugin, and what its message must speak of."""

SEEN_WITHOUT_CALLING = [name for name, _ in REFUSED if not name.startswith("failing-")]


@pytest.mark.parametrize("plugin, parts", REFUSED, ids=[name for name, _ in REFUSED])
def test_broken_plugin_is_one_line_and_no_start(fail_to_start, system, plugin, parts):
    result = fail_to_start(manifests.one(plugin, when="connect"), plugins=system.fixtures)
    assert result.code == 1, result
    assert len(result.error_lines) == 1, result
    for part in [plugin, *parts]:
        assert part in result.errors, result


def test_broken_plugins_are_all_told_at_once(fail_to_start, system):
    listeners = {name: manifests.listener(name, "connect") for name in SEEN_WITHOUT_CALLING}
    result = fail_to_start(manifests.manifest(listeners), plugins=system.fixtures)
    assert result.code == 1, result
    assert len(result.error_lines) == len(SEEN_WITHOUT_CALLING), result


def test_broken_plugin_keeps_the_good_listener_from_serving(fail_to_start, system):
    manifest = manifests.manifest(
        {
            "good": manifests.listener("probe", "connect"),
            "bad": manifests.listener("failing-open", "connect"),
        }
    )
    result = fail_to_start(manifest, plugins=system.fixtures)
    assert result.code == 1 and 'listener "bad"' in result.errors, result


def test_broken_plugin_in_the_folder_harms_nobody_who_does_not_name_it(run_host, system, tmp_path):
    folder = shutil.copytree(system.dist / "plugins", tmp_path / "plugins")
    for name in (*SEEN_WITHOUT_CALLING, "crash-at-load"):
        shutil.copy(system.fixtures / f"{name}{system.library_suffix}", folder)
    host = run_host(manifests.one(), plugins=folder)
    assert clients.is_served(host.address("echo"))


def test_broken_plugins_are_listed_with_their_reasons(berth, system, tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in SEEN_WITHOUT_CALLING:
        shutil.copy(system.fixtures / f"{name}{system.library_suffix}", folder)
    result = berth("plugins", "--plugins", system.path(folder))
    listed = dict(REFUSED)
    for name in SEEN_WITHOUT_CALLING:
        (line,) = [l for l in result.output.splitlines() if re.match(rf"{name}\b(?!-)", l)]
        for part in listed[name]:
            assert part in line, result


def test_plugin_that_crashes_at_load_takes_only_its_own_process_down(
    berth, run_host, system, tmp_path
):
    """No host can survive that: what is shown is that it is seen, and that a host beside lives."""
    host = run_host(manifests.one())
    folder = tmp_path / "plugins"
    folder.mkdir()
    shutil.copy(system.fixtures / f"crash-at-load{system.library_suffix}", folder)
    result = berth("plugins", "--plugins", system.path(folder), may_crash=True)
    assert result.code not in (0, 2, 78), result
    assert clients.is_served(host.address("echo"))


def test_library_that_is_no_library_is_told(fail_to_start, system, tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / f"text{system.library_suffix}").write_text("not a library\n", encoding="ascii")
    result = fail_to_start(manifests.one("text"), plugins=folder)
    assert result.code == 1 and len(result.error_lines) == 1, result
    assert "text" in result.errors


def test_plugin_that_speaks_first_on_a_data_listener_is_a_manifest_error(fail_to_start, system):
    manifest = manifests.manifest({"greets": manifests.listener("speaks-first", "data")})
    result = fail_to_start(manifest, plugins=system.fixtures)
    assert result.code == 78, result
    assert len(result.error_lines) == 1, result
    for part in ("/listeners/greets/accept/when", '"greets"', '"speaks-first"', "connect"):
        assert part in result.errors, result


def test_plugin_that_speaks_first_on_a_connect_listener_is_served(run_host, system):
    host = run_host(manifests.one("speaks-first", "connect"), plugins=system.fixtures)
    with clients.connect(host.address("speaks-first")) as sock:
        assert sock.recv(1)


def test_plugin_of_a_later_minor_that_requires_nothing_newer_serves(run_host, system):
    host = run_host(manifests.one("newer-minor", when="connect"), plugins=system.fixtures)
    assert clients.is_served(host.address("newer-minor"))


def test_plugin_that_leaves_its_draft_out_is_known_by_its_size(run_host, system):
    host = run_host(manifests.one("no-draft", when="connect"), plugins=system.fixtures)
    clients.connect(host.address("no-draft")).close()
