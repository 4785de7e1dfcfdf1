"""Every example of config/examples can be served as it stands, but for its ports."""

import json
import pathlib
import shutil

import pytest

pytestmark = pytest.mark.any_engine

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "config" / "examples"
EXAMPLES = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_served(path, run_host, tmp_path):
    """From a copy of the folder: what an example names beside itself, it names from there."""
    shutil.copytree(FOLDER, tmp_path / "host-0")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for listener in manifest["listeners"].values():
        listener["address"] = listener["address"].rsplit(":", 1)[0] + ":0"
    host = run_host(manifest)
    assert set(host.ready["listeners"]) == set(manifest["listeners"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_a_manifest_as_it_stands(path, berth, system):
    result = berth("check", system.path(path))
    assert result.code == 0, result
