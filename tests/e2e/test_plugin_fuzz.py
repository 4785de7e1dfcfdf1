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
        library = folder / f"{plugin}{system.library_suffix}" if folder else system.shipped(plugin)
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
def test_fuzz_of_a_shipped_plugin_finds_nothing(fuzz, system, plugin):
    paths = [system.path(path) for path in sorted((TRANSCRIPTS / plugin).glob("*.txt"))]
    result = fuzz(plugin, "--transcripts", *paths, "--seed", "7", "--seconds", "1")
    assert result.code == 0, result
    told = re.match(r"ok +seed 7: (\d+) conversations in (\d+) runs, \d+ a second", result.output)
    assert told and 32 * int(told[2]) >= int(told[1]) >= 16 * int(told[2]) > 0, result


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


@pytest.mark.parametrize("plugin, words", [
    ("crashes-after-a-word", "the plugin crashed with "),
    ("hangs-after-a-word", "the plugin did not return within 1000 ms "),
    ("exits-after-a-word", "the plugin called exit() "),
])
def test_fuzz_shortens_what_ends_the_process(fuzz, replay, system, plugin, words):
    result = fuzz(plugin, "--seed", "5", "--hang-seconds", "1", folder=system.fixtures)
    assert result.code == 1 and words in result.output and "in `received`" in result.output, result
    assert "a transcript that does it again:" in result.output, result
    if plugin == "hangs-after-a-word":  # replaying waits for half a minute
        assert result.output.replace("\r\n", "\n").endswith("\n\n> RETR\\x20\n\n< {**}\n"), result
        return
    text, again = replay(plugin, result)
    assert text == "> RETR\\x20\n\n< {**}\n" and again.code != 0, (result, again)
    assert plugin == "exits-after-a-word" or words in again.output, again


def test_fuzz_finds_what_a_refusal_breaks(fuzz, replay, system):
    result = fuzz("leaks-when-refused", "--seed", "5", folder=system.fixtures)
    assert result.code == 1 and "buffer-leaked: " in result.output, result
    text, again = replay("leaks-when-refused", result)
    assert re.search(r"^\* refuses .*buffers", text, re.MULTILINE) and "RETR" in text, result
    assert again.code == 1 and "as-written: buffer-leaked: " in again.output, again


def test_fuzz_answers_the_connects_of_a_plugin(fuzz, replay, system, tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("> hello\\n\nupstream > welcome\\n\n", encoding="utf-8")
    result = fuzz("leaks-from-upstream", "--transcripts", system.path(path), "--seed", "4",
                  folder=system.fixtures)
    assert result.code == 1 and "buffer-leaked: " in result.output, result
    text, again = replay("leaks-from-upstream", result)
    assert re.search(r"^upstream\d* > ", text, re.MULTILINE), result
    assert again.code == 1 and "as-written: buffer-leaked: " in again.output, again


def test_fuzz_works_on_copies_of_what_a_config_names(fuzz, system, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(TRANSCRIPTS / "pop3", copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    paths = [system.path(path) for path in sorted(copy.glob("*.txt"))]
    result = fuzz("pop3", "--transcripts", *paths, "--seed", "7", "--seconds", "2")
    assert result.code == 0, result
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_fuzz_of_a_config_that_names_too_much_says_so(fuzz, system, tmp_path):
    (tmp_path / "site").mkdir()
    with (tmp_path / "site" / "large").open("wb") as large:
        large.truncate(17 * 1024 * 1024)
    config = tmp_path / "config.json"
    config.write_text('{"root": "site"}', encoding="utf-8")
    result = fuzz("http", "--config", system.path(config), "--seconds", "1")
    assert result.code == 1 and "\"site\", which the config names, is not copied" in result.errors, result
    assert "--in-place" in result.errors, result
    result = fuzz("http", "--config", system.path(config), "--seconds", "1", "--in-place")
    assert result.code == 0, result


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
    (["--hang-seconds", "0"], "--hang-seconds is 1 to 3600"),
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


@pytest.fixture
def play(berth, system, tmp_path):
    """play(plugin, text) plays a transcript."""

    def run(plugin, text, folder=None):
        path = tmp_path / "talk.txt"
        path.write_text(text, encoding="utf-8")
        library = (folder or system.dist / "plugins") / f"{plugin}{system.library_suffix}"
        return berth("plugin", "test", system.path(library), system.path(path))

    return run


@pytest.mark.parametrize("head, number", [
    ("world", "0"), ("world", "4294967296"), ("world", "-1"), ("world", "some"), ("workers", "17"),
    ("workers", "0"), ("takes", "65537"), ("takes", "few")])
def test_transcript_with_a_head_that_is_no_number_is_told(play, head, number):
    result = play("echo", f"{head} {number}\n> a\n")
    assert result.code == 1 and "talk.txt:1: expected a number from 1 to" in result.errors, result


@pytest.mark.parametrize("step, words", [
    ("* rests", "expected \"restart\", or \"refuses\" and services, found \"rests\""),
    ("* refuses tea", "expected buffers, work, timers, connects, files, posts, sends, extensions or nothing"),
    ("* restart", "there is no step in it"),
])
def test_transcript_with_a_step_of_the_host_that_is_none_is_told(play, step, words):
    result = play("echo", f"{step}\n")
    assert result.code == 1 and words in result.errors, result


@pytest.mark.parametrize("head", ["world 13", "world 15", "world 14", "workers 3", "takes 2",
                                  "world 17\nworkers 2\ntakes 1"])
def test_transcript_of_an_unquiet_world_has_all_answers(play, head):
    """The clock goes on while something is on its way; worlds that fail are those of every fourth number."""
    result = play("echo", f"{head}\n> hello\\n\n< hello\\n\nbob > you\\n\nbob < you\\n\n"
                          "> bye\\n\n< bye\\n\n|\n= closed\n")
    assert result.code == 0, result


def test_transcript_with_a_restart_connects_again(play):
    result = play("echo", "> one\n< one\n* restart\n> two\n< two\n|\n= closed\n")
    assert result.code == 0 and "at-once: the host does something in between" in result.output, result


def test_transcript_with_refusals_plays_them(play):
    result = play("echo", "> one\n< one\n* refuses sends work\n> two\n* refuses nothing\n")
    assert "as-written" in result.output and "FAILED   " not in result.output.split("byte-by-byte")[0], result


def test_transcript_with_a_restart_finds_a_plugin_that_loads_once(play, system):
    result = play("loads-once", "> one\n* restart\n", folder=system.fixtures)
    assert result.code == 1, result
    assert "refuses-again: `load` refused after a restart: once is enough" in result.output, result


def test_transcript_meets_the_limits_that_a_manifest_has_by_default(play, system):
    """The host takes 1,024 works, and no name of more than 255 bytes."""
    result = play("asks-much", "> a\n< connect -2, 1024 works\n", folder=system.fixtures)
    assert "ok       " in result.output and result.output.count("as-written: 1 run") == 1, result
