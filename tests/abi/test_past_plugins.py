"""Plugins that were built for an ABI version, kept as they were built: this host runs them all."""

import past
import pytest
import snapshot

NAMES = sorted(past.EXERCISES)


@pytest.mark.parametrize("system_name", snapshot.COMPILERS)
def test_past_plugins_are_all_there(system_name):
    folder = past.FOLDER / system_name
    assert sorted(p.stem for p in folder.iterdir() if p.suffix != ".abi") == NAMES
    for path in folder.iterdir():
        assert path.stat().st_size <= 65536, f"{path} is not small"


@pytest.mark.parametrize("system_name", snapshot.COMPILERS)
def test_past_plugin_of_a_release_candidate_is_of_this_abi(system_name):
    """It is not yet the past: while the ABI may change, its plugin is built anew with it."""
    now = snapshot.stored(system_name)
    if snapshot.frozen(now):
        return  # from now on they stay as they are
    constants = now["constants"]
    name = f"abi-{constants['BERTH_ABI_MAJOR']}-{constants['BERTH_ABI_MINOR']}.abi"
    built_for = (past.FOLDER / system_name / name).read_text(encoding="ascii").strip()
    assert built_for == snapshot.checksum(now), 'the ABI has changed: rebuild it, "./dev abi renew"'


@pytest.mark.parametrize("name", NAMES)
def test_past_plugin_does_all_that_it_did(run_host, system, tmp_path, name):
    host = run_host(past.manifest(name), plugins=past.folder(system))
    past.EXERCISES[name](host, system, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_past_plugin_refuses_with_its_own_words(fail_to_start, system, name):
    manifest = past.manifest(name)
    manifest["listeners"]["streams"]["config"] = {"refuse": True}
    result = fail_to_start(manifest, plugins=past.folder(system))
    assert result.code == 1 and "/refuse: as it was told" in result.errors, result


@pytest.mark.parametrize("draft", sorted(path.name for path in past.CANDIDATES.iterdir()))
def test_past_plugin_of_another_candidate_is_refused_in_words(fail_to_start, system, draft):
    """What was built for a candidate that is over: it says so, and what its owner does about it."""
    folder = past.CANDIDATES / draft / past.folder(system).name
    result = fail_to_start(past.manifest("abi-1-0"), plugins=folder)
    number = draft.removeprefix("draft-")
    assert result.code == 1 and len(result.error_lines) == 3, f"one for each listener: {result}"
    now = snapshot.stored(past.folder(system).name)["constants"]["BERTH_ABI_DRAFT"]
    for part in ("abi-1-0", f"built for draft {number} of ABI 1.0", f"serves draft {now} of it",
                 "build it against this host's plugin-api"):
        assert part in result.errors, result
