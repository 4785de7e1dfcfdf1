"""The fuzz targets on their corpora: what `./dev fuzz` has found worth keeping stays tested, on every
system and under the sanitizers."""

import pathlib
import subprocess

import pytest

CORPORA = pathlib.Path(__file__).resolve().parent / "corpus"

pytestmark = pytest.mark.any_engine


@pytest.mark.parametrize("target", sorted(path.name for path in CORPORA.iterdir()))
def test_fuzz_corpus_holds(target, system, tmp_path):
    inputs = sorted((CORPORA / target).iterdir())
    assert len(inputs) >= 20, "the corpus is nearly empty"
    program = system.fixtures.parent / "fuzz" / f"fuzz_{target}{'.exe' if system.is_windows else ''}"
    system.hold()
    command = [*system.runner(), str(program), *(system.path(path) for path in inputs)]
    result = subprocess.run(command, cwd=tmp_path, env=system.environment(), capture_output=True,
                            text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.split()[0] == str(len(inputs)), result.stdout
