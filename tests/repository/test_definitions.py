"""A new option, counter or option of the command line is one entry: each test adds one to a copy of the
definitions, and finds it everywhere without another edit."""

import json
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
OPTIONS = "host/manifest/options.def"
COUNTERS = "host/base/counters.def"
COMMANDS = "host/command/command.def"

NUMBER = 'WHOLE(limits., widgets, 2, 90, 7,\n      "Widgets at a time.")\n'
CHOICE = 'CHOICE(log., color, log_format, LOG_FORMAT_JSON,\n       "Colors.")\n'


def _put_before(text, mark, entry):
    assert text.count(mark) == 1, mark
    return text.replace(mark, entry + mark)


def _overlay(tmp_path, name, *changes):
    """A folder that is searched before host/, with a changed file of definitions in it."""
    text = (TOP / name).read_text(encoding="utf-8")
    for mark, entry in changes:
        text = _put_before(text, mark, entry)
    path = tmp_path / "overlay" / pathlib.Path(name).relative_to("host")
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return tmp_path / "overlay"


def _gcc(*arguments):
    done = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", '-DBERTH_VERSION="1.2.3"', "-DENGINE_OP_WORDS=2",
                           "-DENGINE_RECEIVE_WORDS=2", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return done.stdout


def _host(name):
    """A source of the host by its folder and name, whatever room of the folder it is in."""
    folder, _, file = name.partition("/")
    (path,) = (TOP / "host" / folder).rglob(file)
    return path


def _includes(overlay):
    return [f"-I{overlay}", f"-I{TOP / 'host'}", f"-I{TOP / 'plugin-api'}", f"-I{TOP / 'subprojects' / 'uthash'}"]


def _program(tmp_path, overlay, main, sources, *libraries):
    source = tmp_path / "main.c"
    source.write_text(main, encoding="utf-8")
    program = tmp_path / "program"
    # What nothing of this program calls may be missing.
    _gcc("-o", program, "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", *_includes(overlay), source,
         *(_host(name) for name in sources), *libraries)
    return program


def _said(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def _reference(tmp_path, overlay):
    """What docs/reference.py makes of the changed definitions: the schema, and the pages."""
    for name in ("docs/reference.py", "docs/manifest.md", "docs/operating.md", "config/berth.schema.json", OPTIONS,
                 COUNTERS, COMMANDS, "host/manifest/schema_frame.json"):
        changed = overlay / pathlib.Path(name).relative_to("host") if name.startswith("host/") else overlay / "none"
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(changed if changed.exists() else TOP / name, tmp_path / "tree" / name)
    subprocess.run([sys.executable, "-B", tmp_path / "tree" / "docs" / "reference.py"], check=True)
    read = {name: (tmp_path / "tree" / name).read_text(encoding="utf-8")
            for name in ("config/berth.schema.json", "docs/manifest.md", "docs/operating.md")}
    return json.loads(read["config/berth.schema.json"]), read["docs/manifest.md"], read["docs/operating.md"]


MANIFEST_MAIN = r"""
#include <stdio.h>
#include <string.h>
#include "manifest/manifest.h"
#include "os/os.h"

bool os_file_read(const char *path, size_t max, char **text, size_t *size, struct error *error) {
    return false;
}
bool os_interface_find(const char *name, uint32_t *index) {
    return false;
}
static void list(void *context, const char *pointer, const char *value, bool given) {
    printf("%s = %s%s\n", pointer, value, given ? "" : " (default)");
}
int main(int argc, char **argv) {
    struct manifest_errors errors;
    struct manifest *manifest = manifest_parse("m", argv[1], strlen(argv[1]), &errors);
    for (size_t i = 0; i < errors.count; i++) {
        printf("%s: %s\n", errors.items[i].pointer, errors.items[i].message);
    }
    if (manifest) {
        manifest->text = argv[1];
        manifest->text_size = strlen(argv[1]);
        printf("members %u %d\n", manifest->listeners[0].limits.widgets, (int)manifest->host.log.color);
        manifest_list_effective(manifest, list, NULL);
    }
    return 0;
}
"""


def _manifest(limits):
    return json.dumps({"manifest": 1, "listeners": {"a": {"address": "127.0.0.1:0", "plugin": "echo",
                                                          "limits": limits}}})


def test_definitions_an_option_is_one_entry(tmp_path):
    overlay = _overlay(tmp_path, OPTIONS, ("    WHOLE(limits., timers,", NUMBER), ("    WHOLE(log., queue_bytes,", CHOICE))
    sources = [f"manifest/{path.name}" for path in (TOP / "host" / "manifest").glob("*.c") if path.name != "ready.c"]
    sources += [f"base/{name}.c" for name in ("address", "address_prefix", "address_table", "alloc", "error", "log", "text", "assert")]
    program = _program(tmp_path, overlay, MANIFEST_MAIN, sources, "-lcjson", "-lm")
    given, default = _said(program, _manifest({"widgets": 5})).stdout, _said(program, _manifest({})).stdout
    assert "members 5 1\n" in given and "members 7 1\n" in default
    assert "/listeners/a/limits/widgets = 5\n" in given and "/host/log/color = \"json\" (default)\n" in given
    assert "/listeners/a/limits/widgets = 7 (default)\n" in default
    assert "widgets: expected a whole number from 2 to 90, found 91\n" in _said(program, _manifest({"widgets": 91})).stdout
    assert 'did you mean "widgets"' in _said(program, _manifest({"widget": 5})).stdout
    schema, page, _ = _reference(tmp_path, overlay)
    assert schema["$defs"]["listener"]["properties"]["limits"]["properties"]["widgets"] == {
        "type": "integer", "minimum": 2, "maximum": 90, "default": 7, "description": "Widgets at a time."}
    assert schema["properties"]["host"]["properties"]["log"]["properties"]["color"]["enum"] == ["text", "json"]
    assert "| `widgets` | 2 to 90 | `7` | Widgets at a time. |" in page


COUNTERS_MAIN = r"""
#include <stdio.h>
#include "@HEADER@"
int main(void) {
    static struct listener_counters one, total;
    listener_count(&one.widgets);
    listener_counters_add(&total, &one);
    for (size_t i = 0; i < listener_counter_count(); i++) {
        const struct listener_counter *counter = listener_counter_at(i);
        printf("%s %u %s\n", counter->name, (unsigned)listener_counter_read(counter, &total), counter->meaning);
    }
    return 0;
}
"""


def test_definitions_a_counter_is_one_entry(tmp_path):
    overlay = _overlay(
        tmp_path, COUNTERS, ("COUNTER(accepted,", 'COUNTER(widgets, "widgets made")\n'),
        ("GAUGE(files, \"files\", \"files that plugins have open\")", 'GAUGE(gears, "gears", "gears that turn")\n'),
        ("GAUGE(load,", 'GAUGE(cogs, "cogs", "cogs of it")\n'), ("COUNTER(dropped,", 'COUNTER(burnt, "lines were burnt")\n'))
    header = _host("net/listener_counters.h").relative_to(TOP / "host")
    main = COUNTERS_MAIN.replace("@HEADER@", str(header))
    program = _program(tmp_path, overlay, main, ["net/listener_counters.c"])
    assert "widgets 1 widgets made\n" in _said(program).stdout
    for name, words in (("control/status.c", ['"gears"', '"cogs"', '"burnt"']), ("net/*describe.c", ['"gears"', '"cogs"']),
                        ("control/client.c", ['"lines were burnt"'])):
        text = _gcc("-E", "-P", *_includes(overlay), _host(name))
        assert all(word in text for word in words), name
    _, _, page = _reference(tmp_path, overlay)
    for row in ("| `widgets` | widgets made |", "| `gears` | gears that turn |", "| `burnt` | lines were burnt |"):
        assert row in page


COMMAND_MAIN = r"""
#include "command/command.h"
int main(int argc, char **argv) {
    struct command command;
    int code;
    if (!command_read(&command, argc - 1, argv + 1, &code)) {
        return code;
    }
    printf("verb %s, color %s, loud %d\n", command_verbs[command.verb].words, command.color, command.loud);
    return 0;
}
"""


def test_definitions_an_option_of_the_command_line_is_one_entry(tmp_path):
    overlay = _overlay(
        tmp_path, COMMANDS, ('VALUE(name, "--name"', 'VALUE(color, "--color", "COLOR", "how it looks")\n'
                                                    'FLAG(loud, "--loud", "how it sounds")\n'),
        ('VERB(STOP,', 'VERB(PAINT, "paint", 1, 2, "WALL...", TAKES(color) TAKES(loud), "paints walls", "Twice.")\n'))
    program = _program(tmp_path, overlay, COMMAND_MAIN,
                       ["command/command.c", "command/command_help.c", "manifest/suggest.c", "base/text.c", "base/log.c"])
    assert _said(program, "paint", "a", "--color", "red").stdout == "verb paint, color red, loud 0\n"
    assert _said(program, "paint", "--loud", "a", "--color=blue").stdout == "verb paint, color blue, loud 1\n"
    assert "option --color needs a value" in _said(program, "paint", "a", "--color").stderr
    assert "paint needs WALL..." in _said(program, "paint").stderr
    assert "--color COLOR" in _said(program, "help", "paint").stdout
    assert "paints walls" in _said(program, "--help").stdout
    _, _, page = _reference(tmp_path, overlay)
    assert "| `berth paint WALL...` | paints walls. Twice |" in page
    assert "| `--color COLOR` | paint | how it looks |" in page
