"""`berth plugin fuzz`: conversations by chance."""

import pathlib
import re
import shutil

import pytest

TRANSCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "transcripts"
SHIPPED = sorted(folder.name for folder in TRANSCRIPTS.iterdir() if folder.is_dir())

pytestmark = pytest.mark.any_engine


@pytest.fixture
def fuzz(berth, system):
    """fuzz(plugin, …) runs it with these options."""

    def run(plugin, *options, folder=None, **more):
        library = (folder or system.dist / "plugins") / f"{plugin}{system.library_suffix}"
        return berth("plugin", "fuzz", system.path(library), *options, **more)

    return run


@pytest.fixture
def replay(berth, system, tmp_path):
    """replay(plugin, result) plays the transcript that was printed."""

    def run(plugin, result):
        head, text = result.output.replace("\r\n", "\n").split("\n\n", 1)
        assert head.startswith("FAILED   seed "), result
        path = tmp_path / "found.txt"
        path.write_text(text, encoding="utf-8")
        library = system.fixtures / f"{plugin}{system.library_suffix}"
        return text, berth("plugin", "test", system.path(library), system.path(path), may_crash=True)

    return run


@pytest.mark.parametrize("plugin", SHIPPED)
def test_fuzz_of_a_shipped_plugin_finds_nothing(fuzz, system, plugin, tmp_path):
    copy = tmp_path / "copy"  # pop3 deletes what it is told to
    shutil.copytree(TRANSCRIPTS / plugin, copy)
    paths = [system.path(path) for path in sorted(copy.glob("*.txt"))]
    result = fuzz(plugin, "--transcripts", *paths, "--seed", "7", "--seconds", "1")
    assert result.code == 0, result
    told = re.match(r"ok +seed 7: (\d+) conversations in (\d+) runs, \d+ a second", result.output)
    assert told and int(told[1]) == 32 * int(told[2]) > 0, result


def test_fuzz_without_transcripts_finds_nothing_in_echo(fuzz):
    result = fuzz("echo", "--seed", "8", "--seconds", "1")
    assert result.code == 0, result


def test_fuzz_finds_what_a_word_breaks_and_prints_the_shortest_that_does(fuzz, replay, system):
    result = fuzz("leaks-after-a-word", "--seed", "5", folder=system.fixtures)
    assert result.code == 1 and "seed 5, run " in result.output, result
    assert "buffer-leaked: " in result.output, result
    text, again = replay("leaks-after-a-word", result)
    assert text == "> RETR\\x20\n\n< {**}\n", result
    assert again.code == 1 and "as-written: buffer-leaked: " in again.output, again


def test_fuzz_finds_a_crash_and_prints_what_was_said_until_then(fuzz, replay, system):
    result = fuzz("crashes-after-a-word", "--seed", "5", folder=system.fixtures, may_crash=True)
    assert result.code == 1 and "the plugin crashed with " in result.output, result
    assert "in `received`" in result.output, result
    _, again = replay("crashes-after-a-word", result)
    assert again.code == 1 and "the plugin crashed with " in again.output, again


def test_fuzz_of_the_same_seed_finds_the_same(fuzz, system):
    first = fuzz("leaks-after-a-word", "--seed", "11", folder=system.fixtures)
    second = fuzz("leaks-after-a-word", "--seed", "11", folder=system.fixtures)
    assert first.code == 1 and first.output == second.output, (first, second)


def test_fuzz_of_a_transcript_varies_it(fuzz, replay, system, tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("> RET\\n\n< RET\\n\n|\n", encoding="utf-8")
    result = fuzz("leaks-after-a-word", "--transcripts", system.path(path), "--seed", "6",
                  folder=system.fixtures)
    assert result.code == 1, result
    text, again = replay("leaks-after-a-word", result)
    assert "RETR" in text and again.code == 1, again


@pytest.mark.parametrize("options, words", [
    (["--seconds", "0"], "--seconds is 1 to 86400"),
    (["--seconds", "soon"], "--seconds is 1 to 86400"),
    (["--seed", "-1"], "--seed is a number"),
    (["--seed", "1x"], "--seed is a number"),
    (["--transcripts"], "--transcripts wants at least one file"),
    (["talk.txt"], "transcripts need --transcripts"),
    (["--seed"], "option --seed needs a value"),
    (["--speed", "1"], "unknown option \"--speed\""),
])
def test_fuzz_with_wrong_words_is_told(fuzz, options, words):
    result = fuzz("echo", *options)
    assert result.code == 2 and words in result.errors, result


def test_fuzz_takes_a_config(fuzz, system, tmp_path):
    (tmp_path / "site").mkdir()
    config = tmp_path / "config.json"
    config.write_text('{"root": "site"}', encoding="utf-8")
    result = fuzz("http", "--config", system.path(config), "--seed", "1", "--seconds", "1")
    assert result.code == 0, result


def test_fuzz_of_a_plugin_that_refuses_its_config_tells_its_words(fuzz):
    result = fuzz("http", "--seconds", "1")
    assert result.code == 1 and "listener_open refused: /root" in result.errors, result


@pytest.mark.parametrize("number", ["0", "4294967296", "-1", "some"])
def test_transcript_with_a_world_that_is_no_number_is_told(berth, system, tmp_path, number):
    path = tmp_path / "talk.txt"
    path.write_text(f"world {number}\n> a\n", encoding="utf-8")
    library = system.dist / "plugins" / f"echo{system.library_suffix}"
    result = berth("plugin", "test", system.path(library), system.path(path))
    assert result.code == 1 and "talk.txt:1: expected a number from 1 to" in result.errors, result
