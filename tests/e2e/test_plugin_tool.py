"""`berth plugin`: what writers of plugins try theirs with."""

import json
import os
import pathlib
import resource
import socket
import stat
import subprocess

import pytest
from support import clients, manifests
from support.host import parse_address

TRANSCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "transcripts"
SHIPPED = sorted(folder.name for folder in TRANSCRIPTS.iterdir() if folder.is_dir())
DELIVERIES = ["as-written", "with-accept", "byte-by-byte", "two-way-cuts", "at-once", "small-takes",
              "full-queue", "several-workers", "half-close", "reset"]

COMPILERS = {("c", False): "gcc", ("cpp", False): "g++",
             ("c", True): "x86_64-w64-mingw32-gcc", ("cpp", True): "x86_64-w64-mingw32-g++"}

pytestmark = pytest.mark.any_engine


@pytest.fixture
def play(berth, system, tmp_path):
    """play(plugin, text or path, …) plays one transcript to a plugin."""

    def run(plugin, transcript, *options, folder=None, **more):
        if isinstance(transcript, str):
            path = tmp_path / "talk.txt"
            path.write_text(transcript, encoding="utf-8")
        else:
            path = transcript
        library = folder / f"{plugin}{system.library_suffix}" if folder else system.shipped(plugin)
        return berth("plugin", "test", system.path(library), system.path(path), *options, **more)

    return run


def _lines(result, outcome):
    return [line for line in result.output.splitlines() if line.startswith(outcome)]


# -- transcripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(TRANSCRIPTS.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_transcript_of_a_shipped_plugin_is_answered_the_same_however_it_arrives(play, path):
    result = play(path.parent.name, path)
    assert result.code == 0, result
    told = _lines(result, "ok ") + _lines(result, "skipped ")
    assert len(told) == len(DELIVERIES), result
    assert result.output.splitlines()[-1].endswith("passed, 0 failed, "
                                                   f"{len(_lines(result, 'skipped '))} skipped")


def test_transcript_there_is_one_of_every_shipped_plugin(system):
    shipped = {path.stem for folder in ("plugins", "examples")
               for path in (system.dist / folder).glob(f"*{system.library_suffix}")}
    assert "kv" in shipped
    assert shipped <= set(SHIPPED)


def test_transcript_has_a_clock_and_a_chance_of_its_own(play, system):
    """The day begins with the year, and no run throws other dice than the one before."""
    talk = "> time\\n\n\n< time 17672292{*}\\n\n\n> dice\\n\n\n< dice e26e06f8\\n\n\n@ +3600s\n> time\\n\n\n< time 17672328{*}\\n\n"
    result = play("promises", talk, folder=system.fixtures)
    assert result.code == 0, result


def test_transcript_with_a_wrong_expectation_fails_and_shows_the_difference(play):
    result = play("echo", "> hello\\n\n< hullo\\n\n")
    assert result.code == 1, result
    failed = _lines(result, "FAILED ")
    # Whoever leaves before the answer is expected is not affected by it.
    assert len(failed) == len(DELIVERIES) - 2, result
    assert "line 2: the answer differs, at byte 1" in failed[0], result
    assert "expected: hullo\\n" in result.output and "received: hello\\n" in result.output


def test_transcript_with_an_answer_too_few_or_too_many_fails(play):
    missing = play("echo", "> hello\n< hello\n< and more\n")
    assert missing.code == 1 and "at byte 5" in missing.output, missing
    surplus = play("echo", "> hello\n")
    assert surplus.code == 1 and "expected: (nothing)" in surplus.output, surplus


def test_transcript_with_a_wrong_state_fails(play):
    result = play("echo", "> hello\n< hello\n= closed\n")
    assert result.code == 1, result
    assert "line 3: the connection should be closed, and is open" in result.output, result


def test_transcript_wildcards_stand_for_a_line_or_for_all(play):
    good = play("echo", "> one two\\nthree\\n\n< one {*}\\n{**}ee\\n\n")
    assert good.code == 0, good
    bad = play("echo", "> one two\\nthree\\n\n< one {*}ee\\n\n")
    assert bad.code == 1, bad


def test_transcript_skips_what_it_says_and_why(play):
    result = play("echo", "skip byte-by-byte: it takes a while\n> ab\n< ab\n")
    assert result.code == 0, result
    (line,) = _lines(result, "skipped ")
    assert line.endswith("byte-by-byte: it takes a while"), result


@pytest.mark.parametrize("text, words", [
    ("> a\\q\n", "talk.txt:1: not an escape"),
    ("\n# nothing\n", "there is no step in it"),
    ("> a\n@ soon\n", "talk.txt:2: expected a time like +500ms"),
    ("> a\n= gone\n", "talk.txt:2: expected closed, reset"),
    ("nonsense\n", "talk.txt:1: not a step, and not a head"),
    ("skip it\n> a\n", "talk.txt:1: expected \"skip DELIVERY: reason\""),
    ("config {}\nconfig {}\n> a\n", "talk.txt:2: a second config"),
    ("# \nconfig {bad\n> a\n", "talk.txt:2: the config: it is not JSON, near \"{bad\""),
    ("config [1]\n> a\n", "talk.txt:1: the config: it is not a JSON object"),
    ("skip nonsense: because\n> a\n", "talk.txt:1: expected as-written, "),
    ("> a\n|\n> b\n", "talk.txt:3: the client has finished or reset before"),
    ("> a\n!\n|\n", "talk.txt:3: the client has finished or reset before"),
])
def test_transcript_that_is_none_is_told_with_its_line(play, text, words):
    result = play("echo", text)
    assert result.code == 1 and words in result.errors, result


def test_transcript_for_a_config_that_is_refused_fails_with_the_reason(play):
    result = play("http", "> GET / HTTP/1.1\\r\\n\n")
    assert result.code == 1, result
    assert "listener_open refused: " in result.output and "root" in result.output, result


def test_transcript_results_as_json(play):
    result = play("echo", "> a\n< b\n", "--json")
    told = json.loads(result.output)
    assert result.code == 1, result
    assert (told["passed"], told["failed"], told["skipped"]) == (2, 7, 1)
    assert told["checks"][0]["outcome"] == "failed"
    assert "the answer differs" in told["checks"][0]["words"]


def test_transcript_that_is_none_is_json_too(play):
    result = play("echo", "> a\\q\n", "--json")
    told = json.loads(result.output)
    assert result.code == 1 and told["checks"] == [], result
    assert "talk.txt:1: not an escape" in told["error"] and told["error"] in result.errors, result


def test_transcript_of_datagrams(play, system):
    result = play("datagram-echo", "transport udp\n> one\n< one\n> two\n< two\n",
                  folder=system.fixtures)
    assert result.code == 0 and "1 passed, 0 failed, 9 skipped" in result.output, result


def test_transcript_for_a_plugin_that_crashes_names_place_and_callback(play, system):
    result = play("crashes", "> hello\\n\n", folder=system.fixtures, may_crash=True)
    assert result.code == 1, result
    assert "talk.txt:1, as-written: the plugin crashed with " in result.output, result
    assert "in `received`" in result.output, result


def test_transcript_for_a_plugin_that_breaks_a_rule_fails_though_the_answers_are_right(play, system):
    result = play("keeps-buffers", "> hello\\n\n", folder=system.fixtures)
    assert result.code == 1, result
    assert "as-written: buffer-leaked: " in result.output, result


# -- validate ---------------------------------------------------------------------------------------


@pytest.fixture
def validate(berth, system):
    """validate(plugin, …) gives the result, and what each check came to by its name."""

    def run(plugin, *options, folder=None):
        library = folder / f"{plugin}{system.library_suffix}" if folder else system.shipped(plugin)
        result = berth("plugin", "validate", system.path(library), "--json", *options,
                       may_crash=True)
        told = json.loads(result.output)
        return result, {check["name"]: check for check in told["checks"]}

    return run


CHECKS = ["file", "library", "exports", "entry", "descriptor", "load", "listener-open", "config",
          "conversation", "busy-answer", "later-host", "no-extensions", "shortage", "load-cycles",
          "two-generations"]

CONFIGS = {
    "http": lambda system: {"root": "."},
    "pop3": lambda system: {"users": system.path(TRANSCRIPTS / "pop3" / "users")},
    "proxy": lambda system: {"upstreams": ["127.0.0.1:9"]},
}
"""Of the shipped plugins that want one."""


@pytest.mark.parametrize("plugin", SHIPPED)
def test_validate_passes_every_shipped_plugin(validate, plugin, system):
    options = ["--config", json.dumps(CONFIGS[plugin](system))] if plugin in CONFIGS else []
    result, checks = validate(plugin, *options)
    assert result.code == 0, result
    assert sorted(checks) == sorted(CHECKS), result
    skipped = {name for name, check in checks.items() if check["outcome"] == "skipped"}
    assert skipped <= {"busy-answer"}, result


REFUSED = [
    ("no-entry", "exports", "berth_plugin_entry_v1"),
    ("null-entry", "entry", "returned NULL"),
    ("crash-at-load", "entry", "crashed with"),
    ("wrong-magic", "descriptor", "magic"),
    ("other-major", "descriptor", "2.0"),
    ("higher-minor", "descriptor", "requires ABI 1.1 "),
    ("truncated", "descriptor", "truncated"),
    ("null-operation", "descriptor", "received"),
    ("other-id", "descriptor", "somebody-else"),
    ("no-version", "descriptor", "version"),
    ("unknown-flags", "descriptor", "0x80000000"),
    ("vast-state", "descriptor", "conn_state_size"),
    ("failing-load", "load", "the oven is cold"),
    ("failing-open", "listener-open", "refusal-without-words"),
]
"""The plugin, the first check that it fails, and what that speaks of."""

CARELESS = [
    ("blocks", "conversation", "blocks-a-worker in received"),
    ("consumes-too-much", "conversation", "consumed-too-much in received"),
    ("crashes", "conversation", "in `received`"),
    ("hangs", "load", "did not return within 5000 ms in `load`"),
    pytest.param("faulty", "conversation", "in `received`",
                 marks=pytest.mark.plain("the sanitizer ends the process before it crashes")),
    ("keeps-buffers", "conversation", "bytes, lent in `received`, was never given back"),
    ("keeps-connections", "conversation", "connection-used-after-closed in received"),
    ("hangs-early", "entry", "did not return within 1000 ms in `berth_plugin_entry_v1`"),
    ("long-busy", "busy-answer", "busy-too-long"),
    ("never-closes", "conversation", "never-closed: `peer_closed` was called"),
    ("overruns-buffers", "conversation", "buffer-overrun in received"),
    ("overruns-state", "conversation", "state-overrun in received"),
    ("overwrites", "conversation", "connection-overwritten in received"),
    ("posts-early", "listener-open", "not-allowed-here in listener_open"),
    ("releases-borrowed", "conversation", "borrowed-buffer-released in received"),
    ("releases-twice", "conversation", "buffer-released-twice in received"),
    ("sends-in-work", "conversation", "wrong-thread in work"),
    ("sends-outside", "conversation", "slice-outside-buffer in received"),
    ("sends-reserved", "conversation", "slice-reserved in received"),
    ("sends-when-closed", "conversation", "not-allowed-here in closed"),
    ("throwing", "conversation", "in `received`"),
    ("writes-late", "conversation", "buffer-written-after-release"),
    ("keeps-slice", "conversation", "buffer-used-after-release in received"),
    ("reads-a-cut-file", "conversation", "in `received`"),
    ("reads-a-cut-file-elsewhere", "conversation", "on a thread of its own"),
    ("reads-kept-slice", "conversation", "buffer-read-after-release: what it has sent"),
    ("no-draft", "descriptor", "set `abi_draft` to BERTH_ABI_DRAFT"),
    ("odd-version", "descriptor", "its version has control characters"),
    ("posts-late", "listener-open", "called-after-listener-close"),
    ("resolves", "conversation", "blocks-a-worker in received: the callback waited"),
    ("runs-a-program", "conversation", "blocks-a-worker in received: the callback waited"),
    ("sends-blindly", "conversation", "queue-cut"),
    ("sleeps-long", "conversation", "blocks-a-worker in received: the callback waited for something, 4"),
    ("sleeps-short", "conversation", "blocks-a-worker in received: the callback waited for something, "),
    ("unclean-request", "conversation", "request-unknown in received"),
    ("writes-sent", "conversation", "buffer-written-while-sent in received"),
]
"""The same, of those that load."""


@pytest.mark.full("*san*", why="what is found differs in its words; the layer that finds it runs there with other tests")
@pytest.mark.parametrize("plugin, name, words", REFUSED + CARELESS,
                         ids=[getattr(one, "values", one)[0] for one in REFUSED + CARELESS])
def test_validate_fails_a_broken_plugin_for_the_right_reason(validate, system, plugin, name, words):
    if plugin == "throwing" and not (system.fixtures / f"throwing{system.library_suffix}").exists():
        pytest.skip("no compiler of C++ was there when the fixtures were built")
    limit = {"hangs": ["--time-limit", "10"], "hangs-early": ["--time-limit", "2"]}.get(plugin, [])
    result, checks = validate(plugin, *limit, folder=system.fixtures)
    assert result.code == 1, result
    failed = [check for check in CHECKS if checks[check]["outcome"] == "failed"]
    assert failed[:1] == [name], result
    if name in CHECKS[:5]:
        before = CHECKS[:CHECKS.index(name)]
        assert all(checks[check]["outcome"] == "passed" for check in before), result
    assert words in checks[name]["words"], result


@pytest.mark.parametrize("plugin", ["shuts-down", "wants-much"])
def test_validate_passes_what_the_host_allows(validate, system, plugin):
    result, checks = validate(plugin, folder=system.fixtures)
    assert result.code == 0, result


@pytest.mark.plain("a sanitizer keeps what was freed")
def test_validate_sees_a_plugin_that_leaks_a_little_a_connection(validate, system):
    result, checks = validate("leaks-a-little", folder=system.fixtures)
    assert result.code == 1 and "memory grew by" in checks["load-cycles"]["words"], result


def test_transcript_wants_more_than_64_kib_at_once(play, system):
    half = "y" * 1000
    text = "".join(f"> {half}\n" for _ in range(99)) + f"> {half}\n< much\n"
    result = play("wants-much", "skip byte-by-byte: it takes a while\nskip two-way-cuts: it takes a while\n"
                  "skip half-close: it takes a while\nskip reset: it takes a while\n" + text,
                  folder=system.fixtures)
    assert result.code == 0, result


def test_transcript_of_peer_closed_that_only_shuts_down_passes(play, system):
    result = play("shuts-down", "> hello\n|\n< bye\n= closed\n", folder=system.fixtures)
    assert result.code == 0, result


def test_transcript_of_a_plugin_that_sends_blindly_is_cut_as_the_host_cuts_it(play, system):
    result = play("sends-blindly", "> x\n< {**}\n", folder=system.fixtures)
    assert result.code == 1 and "queue-cut" in result.output, result


def test_transcript_of_a_file_of_a_million_bytes_passes(play, system, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "large.txt").write_text("z" * 1_000_000, encoding="ascii")
    config = json.dumps({"root": system.path(tmp_path / "site")})
    result = play("http", "> GET /large.txt HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n\n< HTTP/1.1 200 OK{**}\n"
                  "skip-nothing\n".replace("skip-nothing\n", ""), "--config", config)
    assert result.code == 0, result


@pytest.mark.plain("a sanitizer keeps what was freed")
def test_validate_sees_a_plugin_that_grows(validate, system):
    result, checks = validate("grows", folder=system.fixtures)
    assert result.code == 1 and "memory grew by" in checks["load-cycles"]["words"], result
    assert [check["name"] for check in checks.values() if check["outcome"] == "failed"] == [
        "load-cycles"], result


def test_validate_hears_its_checks_whatever_the_plugin_prints(validate, system):
    result, checks = validate("talks", folder=system.fixtures)
    assert result.code == 0 and len(checks) == len(CHECKS), result


@pytest.mark.linux("the compiler's own library of threads would have to be there")
def test_validate_tells_of_a_thread_that_outlives_its_plugin(berth, validate, system, tmp_path):
    _build_new(berth, system, tmp_path, "c", """
#include <pthread.h>
#include <unistd.h>
static void *stay(void *argument) {
    for (volatile unsigned rounds = 0; ; rounds++) {
        usleep(100);
    }
    return argument;
}
__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, stay, NULL);
    pthread_detach(thread);
}
""", "-pthread")
    result, checks = validate("mine", folder=tmp_path)
    words = checks["load-cycles"]["words"]
    assert result.code == 1 and "on a thread of its own: it has outlived `unload`" in words, result


@pytest.mark.parametrize("plugin, place", [
    ("reads-a-cut-file", "in `received`"), ("reads-a-cut-file-elsewhere", "on a thread of its own")])
def test_validate_tells_a_bus_error_as_one(validate, system, plugin, place):
    result, checks = validate(plugin, folder=system.fixtures)
    how = "exception 0xC0000005" if system.is_windows else "SIGBUS"
    assert checks["conversation"]["words"].endswith(f"the plugin crashed with {how} {place}"), result


def test_validate_goes_on_after_a_plugin_that_never_ends(validate, system):
    result, checks = validate("never-ends", folder=system.fixtures)
    words = checks["conversation"]["words"]
    assert result.code == 1 and "never-rests" in words and "never-ends: at the end of the host" in words, result
    assert "crashed" not in result.output and checks["two-generations"]["outcome"] != "skipped", result


@pytest.mark.parametrize("words, code, said", [
    (["--config", "{bad"], 1, "the config {bad: it is not JSON, near \"{bad\""),
    (["--config", "{} {}"], 1, "it is not JSON"),
    (["--time-limit", "5x"], 2, "--time-limit is in seconds"),
    (["--time-limit", "0"], 2, "--time-limit is in seconds"),
])
def test_validate_words_that_are_wrong_are_told(berth, system, words, code, said):
    library = system.dist / "plugins" / f"echo{system.library_suffix}"
    result = berth("plugin", "validate", system.path(library), "--json", *words)
    assert result.code == code and said in result.errors, result
    assert code == 2 or said in json.loads(result.output)["error"], result


def test_validate_wants_a_config_where_the_plugin_does(validate):
    result, checks = validate("http")
    assert result.code == 0, result
    assert checks["listener-open"]["outcome"] == "skipped", result
    assert "--config" in checks["listener-open"]["words"]
    assert checks["conversation"]["words"] == "not checked: give --config"


def test_validate_fails_a_plugin_that_refuses_the_given_config(validate, system):
    result, checks = validate("failing-open-message", "--config", '{"greeting": 7}',
                              folder=system.fixtures)
    assert result.code == 1, result
    assert "/greeting: expected a string" in checks["listener-open"]["words"], result


def test_validate_of_no_file_and_of_no_library(validate, system, tmp_path):
    result, checks = validate("nothing", folder=tmp_path)
    assert result.code == 1 and "there is no file" in checks["file"]["words"], result
    (tmp_path / f"text{system.library_suffix}").write_text("not a library\n", encoding="ascii")
    result, checks = validate("text", folder=tmp_path)
    assert result.code == 1 and "cannot load it" in checks["library"]["words"], result


def test_validate_as_text(berth, system):
    library = system.dist / "plugins" / f"echo{system.library_suffix}"
    result = berth("plugin", "validate", system.path(library))
    assert result.code == 0, result
    assert result.output.splitlines()[0] == "ok       file", result
    assert result.output.splitlines()[-1] == "14 passed, 0 failed, 1 skipped", result


def _build_new(berth, system, tmp_path, lang, more, *options):
    """A plugin of `plugin new`, with more source behind it, built with more options."""
    assert berth("plugin", "new", "mine", "--lang", lang).code == 0
    source = tmp_path / "mine" / f"mine.{lang}"
    source.write_text(source.read_text(encoding="utf-8") + more, encoding="utf-8")
    subprocess.run([COMPILERS[lang, False], "-shared", "-fPIC", "-O0", *options,
                    f"-I{system.dist / 'plugin-api'}", source, "-o", tmp_path / "mine.so"],
                   check=True, timeout=120)


@pytest.mark.linux("only ELF has such libraries")
def test_validate_sees_a_library_that_stays_mapped(berth, validate, system, tmp_path):
    _build_new(berth, system, tmp_path, "c", "", "-Wl,-z,nodelete")
    result, checks = validate("mine", folder=tmp_path)
    assert result.code == 1, result
    assert "stays mapped" in checks["load-cycles"]["words"], result


@pytest.mark.linux("only ELF has symbols that are unique in a process")
def test_validate_sees_statics_that_two_generations_would_share(berth, validate, system, tmp_path):
    _build_new(berth, system, tmp_path, "cpp",
               "inline int shared = 1;\nint use() { return ++shared; }\n", "-std=c++17")
    result, checks = validate("mine", folder=tmp_path)
    assert result.code == 1, result
    assert "shared, which is STB_GNU_UNIQUE" in checks["two-generations"]["words"], result


# -- new --------------------------------------------------------------------------------------------

def _build_as_told(system, folder, lang):
    """By the command of the plugin's README, and with all warnings."""
    compiler = COMPILERS[lang, system.is_windows]
    text = (folder / "README.md").read_text(encoding="utf-8").replace("Z:", "")  # Wine's name of the root
    command = next(line for line in text.splitlines() if line.startswith(f"{compiler} "))
    command = command.replace(compiler, f"{compiler} -Wall -Wextra -Werror", 1)
    subprocess.run(command, shell=True, cwd=folder, check=True, timeout=120)
    return folder / f"{folder.name}{system.library_suffix}"


STRINGS = """
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

template <typename T> struct shared { inline static T value{}; };

int counted(const std::string &text) {
    static std::map<std::string, std::vector<int>> words;
    try {
        shared<std::string>::value += text;
        words[text].push_back(1);
        return std::stoi(text);
    } catch (const std::exception &) {
        return static_cast<int>(words.size());
    }
}

static const int at_start = counted("a text that is too long to be kept within the object itself");
int at_start_again() { return at_start; }
"""


BY_HAND = """
#include <cstdint>
#include <berth/plugin.h>

static std::uint32_t BERTH_CALL received(berth_conn *, const berth_slice *data) { return data->size; }

static constexpr berth_plugin describe() {
    berth_plugin plugin{};
    plugin.magic = BERTH_PLUGIN_MAGIC;
    plugin.struct_size = sizeof(berth_plugin);
    plugin.abi_major = BERTH_ABI_MAJOR;
    plugin.abi_minor_built = BERTH_ABI_MINOR;
    plugin.abi_draft = BERTH_ABI_DRAFT;
    plugin.id = plugin.name = "mine";
    plugin.version = "0.1.0";
    plugin.received = received;
    return plugin;
}

static constexpr berth_plugin plugin = describe();

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) { return &plugin; }
"""


def test_new_plugin_in_cpp_with_all_that_cpp_has_can_be_unloaded(berth, validate, system, tmp_path):
    """Exceptions, statics with constructors, templates with variables: as its README tells to build it."""
    assert berth("plugin", "new", "mine", "--lang", "cpp").code == 0
    source = tmp_path / "mine" / "mine.cpp"
    source.write_text(source.read_text(encoding="utf-8") + STRINGS, encoding="utf-8")
    _build_as_told(system, tmp_path / "mine", "cpp")
    result, checks = validate("mine", folder=tmp_path / "mine")
    assert result.code == 0, result
    assert checks["load-cycles"]["outcome"] == checks["two-generations"]["outcome"] == "passed"


def test_validate_tells_what_keeps_memory_of_cpp_on_windows(berth, validate, system, tmp_path):
    if not system.is_windows:
        pytest.skip("libstdc++ is a library of its own, and stays")
    assert berth("plugin", "new", "mine", "--lang", "cpp").code == 0
    source = tmp_path / "mine" / "mine.cpp"
    source.write_text(BY_HAND + STRINGS, encoding="utf-8")
    _build_as_told(system, tmp_path / "mine", "cpp")
    result, checks = validate("mine", folder=tmp_path / "mine")
    assert result.code == 1 and "<berth/cpp_unload.hpp>" in checks["load-cycles"]["words"], result


@pytest.mark.parametrize("lang", ["c", "cpp"])
def test_new_plugin_builds_is_valid_and_has_a_transcript(berth, system, tmp_path, lang):
    made = berth("plugin", "new", "my-first", "--lang", lang)
    assert made.code == 0 and "my-first/README.md" in made.output, made
    folder = tmp_path / "my-first"
    library = _build_as_told(system, folder, lang)
    valid = berth("plugin", "validate", system.path(library))
    assert valid.code == 0, valid
    played = berth("plugin", "test", system.path(library),
                   system.path(folder / "transcripts" / "first.txt"))
    assert played.code == 0 and f"{len(DELIVERIES)} passed" in played.output, played


def test_new_plugin_is_whole_or_not_there(berth, tmp_path):
    for name in ("con", "nul", "com1", "lpt9"):
        made = berth("plugin", "new", name)
        assert made.code == 1 and "a device of Windows" in made.errors, made
        assert not (tmp_path / name).exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine", encoding="ascii")
    assert berth("plugin", "new", "full").code == 1
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"], "what was there stays"


@pytest.mark.linux("the limit on the size of files is Linux's")
def test_new_plugin_that_fails_half_way_leaves_nothing(system, tmp_path):
    made = subprocess.run(
        system.command(["plugin", "new", "half"]), env=system.environment(), cwd=tmp_path, check=False,
        capture_output=True, timeout=clients.START_S, restore_signals=False,  # SIGXFSZ stays ignored
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert made.returncode == 1 and b"writing half" in made.stderr, made
    assert list(tmp_path.iterdir()) == [], made


@pytest.mark.linux("Meson would need a cross file, which is the author's")
def test_new_plugin_builds_with_its_meson_file(berth, system, tmp_path):
    assert berth("plugin", "new", "by-meson").code == 0
    folder = tmp_path / "by-meson"
    build = tmp_path / "build"
    for step in (["meson", "setup", build, folder], ["meson", "compile", "-C", build]):
        subprocess.run(step, check=True, timeout=120, stdout=subprocess.DEVNULL)
    valid = berth("plugin", "validate", system.path(build / "by-meson.so"))
    assert valid.code == 0, valid


def test_new_plugin_without_a_good_name_or_a_free_folder_is_refused(berth, tmp_path):
    bad = berth("plugin", "new", "My_First")
    assert bad.code == 1 and "is not a plugin's id" in bad.errors, bad
    (tmp_path / "taken").mkdir()
    taken = berth("plugin", "new", "taken")
    assert taken.code == 1 and "making the folder taken" in taken.errors, taken
    assert list((tmp_path / "taken").iterdir()) == []


@pytest.mark.parametrize("words, said", [
    ((), "say what to do"),
    (("dance",), "dance"),
    (("new",), "plugin new needs NAME"),
    (("new", "a", "--lang", "basic"), "--lang is c, cpp or rust"),
    (("test", "a.so"), "needs FILE TRANSCRIPT"),
    (("test", "a.so", "b.txt", "--lang", "c"), "--lang"),
    (("validate",), "plugin validate needs FILE"),
    (("validate", "a.so", "--config"), "--config"),
    (("validate", "a.so", "--time-limit", "0"), "--time-limit"),
])
def test_plugin_words_that_are_wrong_are_usage(berth, words, said):
    result = berth("plugin", *words)
    assert result.code == 2 and said in result.errors and result.output == "", result


# -- record -----------------------------------------------------------------------------------------


@pytest.fixture
def record(system, tmp_path):
    """record(address) starts a recording in front of that listener: where to connect, and a
    function that waits for its end and gives the transcript's path."""
    started = []

    def run(address, path=None):
        path = path or tmp_path / "recorded.txt"
        system.hold()
        process = subprocess.Popen(
            system.command(["record", "{}:{}".format(*address), "--out", system.path(path)]),
            env=system.environment(), cwd=tmp_path, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        started.append(process)
        line = process.stdout.readline().decode()
        assert line.startswith("recording one connection to "), line
        recorder = parse_address(line.split()[4])

        def finish():
            _, errors = process.communicate(timeout=clients.START_S)
            assert process.returncode == 0, errors
            return path

        return recorder, finish

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.threads
def test_record_of_a_live_listener_can_be_played(run_host, record, play):
    host = run_host(manifests.one("echo", when="connect"))
    address, finish = record(host.address("echo"))
    with clients.connect(address) as sock:
        sock.sendall(b"hello\r\nworld")
        assert clients.receive_exactly(sock, 12) == b"hello\r\nworld"
        sock.sendall(b"{*} \\ \x00\xff\n")
        assert clients.receive_exactly(sock, 9) == b"{*} \\ \x00\xff\n"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    path = finish()
    steps = [line for line in path.read_text(encoding="utf-8").splitlines()
             if line[0] not in "#@"]
    assert steps == ["> hello\\r\\n", "> world", "< hello\\r\\n", "< world",
                     "> \\{*} \\\\ \\x00\\xff\\n", "< \\{*} \\\\ \\x00\\xff\\n", "|", "= closed"]
    played = play("echo", path)
    assert played.code == 0, played


@pytest.mark.threads
def test_record_of_a_plugin_that_closes_can_be_played(run_host, record, play):
    host = run_host(manifests.one("packet-echo", when="connect"))
    address, finish = record(host.address("packet-echo"))
    with clients.connect(address) as sock:
        sock.sendall(b"\x03ab")
        assert clients.receive_exactly(sock, 3) == b"\x03ab"
        sock.sendall(b"\x00")
        assert sock.recv(1) == b""
    path = finish()
    assert path.read_text(encoding="utf-8").splitlines()[-2:] == ["> \\x00", "= closed"]
    played = play("packet-echo", path)
    assert played.code == 0, played


@pytest.mark.parametrize("words, code, said", [
    ((), 2, "--out FILE"),
    (("127.0.0.1:1",), 2, "--out FILE"),
    (("nowhere", "--out", "a.txt"), 1, "nowhere"),
])
def test_record_words_that_are_wrong_are_told(berth, words, code, said):
    result = berth("record", *words)
    assert result.code == code and said in result.errors, result


def talk(address):
    with clients.connect(address) as sock:
        sock.sendall(b"hello")
        assert clients.receive_exactly(sock, 5) == b"hello"


def test_record_takes_nothing_from_beside_its_file_and_keeps_its_mode(run_host, record, system, tmp_path):
    host = run_host(manifests.one("echo", when="connect"))
    path, beside = tmp_path / "talk.txt", tmp_path / "talk.txt.new"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o600)
    beside.write_text("somebody's", encoding="utf-8")
    address, finish = record(host.address("echo"), path)
    talk(address)
    finish()
    assert "> hello" in path.read_text(encoding="utf-8")
    assert beside.read_text(encoding="utf-8") == "somebody's"
    assert system.is_windows or stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.linux("such files are those of Linux")
@pytest.mark.parametrize("kind", ["device", "pipe", "link"])
def test_record_into_what_is_no_regular_file_leaves_it_what_it_is(run_host, record, tmp_path, kind):
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root can make devices")
    host = run_host(manifests.one("echo", when="connect"))
    path, target = tmp_path / "out", tmp_path / "target.txt"
    if kind == "device":
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    before = stat.S_IFMT(path.lstat().st_mode)
    address, finish = record(host.address("echo"), path)
    talk(address)
    if kind == "pipe":
        assert "> hello" in path.read_text(encoding="utf-8")
    finish()
    assert stat.S_IFMT(path.lstat().st_mode) == before
    assert kind != "link" or "> hello" in target.read_text(encoding="utf-8")


def test_record_tries_its_file_and_its_listener_first(berth, run_host, tmp_path):
    host = run_host(manifests.one("echo", when="connect"))
    address = "{}:{}".format(*host.address("echo"))
    for words, said in (
        ((address, "--out", "nowhere/talk.txt"), "writing nowhere/talk.txt: "),
        ((address, "--out", "."), "writing .: "),
        (("127.0.0.1:1", "--out", "talk.txt"), "connecting to the listener: "),
    ):
        result = berth("record", *words)
        assert result.code == 1 and said in result.errors and result.output == "", result
    assert not list(tmp_path.glob("*.txt*"))
