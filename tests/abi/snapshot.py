"""Snapshots of the plugin ABI: the size and offset of every member and the value of every constant,
as the compilers of both systems lay them out, checked in as tests/abi/<system>.json.

    snapshot.py compare           says what is not as it was; ends with 1 if anything is
    snapshot.py renew             makes the snapshots what the headers are now
    snapshot.py checksum SYSTEM   of a snapshot: what a built plugin remembers (plugins/build.sh)

While the ABI is a release candidate (BERTH_ABI_DRAFT) everything may be renewed. Once the snapshots were
taken of a frozen ABI only growth may, and with a higher minor version: new members behind the
last one of a struct that has a `struct_size`, new structs, constants and types of functions.
"""

import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import headers

FOLDER = pathlib.Path(__file__).resolve().parent

COMPILERS = {"linux-x86_64": "", "windows-x86_64": "x86_64-w64-mingw32-"}
"""The systems, and what stands in front of the names of their tools."""

LANGUAGES = {"c": ("gcc", "c11"), "c++": ("g++", "c++17")}

_NUMBER = re.compile(r"([-+()\s]|\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b)+")


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def _compile(system, language, api, source, *options):
    program, standard = LANGUAGES[language]
    return _run(COMPILERS[system] + program, f"-std={standard}", "-x", language, f"-I{api}",
                *options, source)


def _includes(api):
    return "".join(f'#include "{name}"\n' for name in headers.headers(api)) + "#include <stddef.h>\n"


def _expansions(system, language, api, folder):
    """{constant: its text}, without those that are empty (guards of headers, say)."""
    source = folder / "macros.c"
    names = headers.constants(api)
    lines = "".join(f'"@{name}" {name}\n' for name in names)
    source.write_text(_includes(api) + '"@begin"\n' + lines, encoding="ascii")
    text = _compile(system, language, api, source, "-E", "-P")
    parts = re.split(r'"@(\w+)"', text[text.index('"@begin"'):])
    found = {name: " ".join(value.split()) for name, value in zip(parts[1::2], parts[2::2])}
    return {name: found[name] for name in names if found[name]}


def _values(system, language, api, folder, expressions):
    """What the compiler takes the expressions for: read from a section of the object file, so that
    no program of the other system has to run."""
    source, compiled, raw = (folder / name for name in ("values.c", "values.o", "values.bin"))
    rows = "".join(f"    (long long)({expression}),\n" for expression in expressions)
    source.write_text(
        f'{_includes(api)}extern const long long values[];\n'
        f'__attribute__((section("abi"))) const long long values[] = {{\n{rows}}};\n',
        encoding="ascii",
    )
    _compile(system, language, api, source, "-c", "-o", compiled)
    _run(COMPILERS[system] + "objcopy", "-O", "binary", "-j", "abi", compiled, raw)
    count = len(expressions)
    return struct.unpack(f"<{count}q", raw.read_bytes()[: 8 * count])


def take(system, language="c", api=headers.API):
    """The snapshot of the headers in `api`."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        constants = _expansions(system, language, api, folder)
        numbers = [constant for constant, text in constants.items() if _NUMBER.fullmatch(text)]
        structs = headers.structs(api)
        expressions = list(numbers)
        for one, members in structs.items():
            expressions += [f"sizeof(struct {one})"]
            for member in members:
                expressions += [f"offsetof(struct {one}, {member})",
                                f"sizeof(((struct {one} *)0)->{member})"]
        values = iter(_values(system, language, api, folder, expressions))
    constants.update((constant, next(values)) for constant in numbers)
    laid_out = {}
    for one, members in structs.items():
        laid_out[one] = {"size": next(values), "members": {}}
        for member, kind in members.items():
            laid_out[one]["members"][member] = {
                "offset": next(values), "size": next(values), "type": kind,
            }
    return {"constants": constants, "structs": laid_out, "functions": headers.functions(api)}


# -- comparing ----------------------------------------------------------------------------------------


def _named(snapshot):
    """The snapshot as one table: what a thing is called, and what is to be said of it."""
    found = {f"constant {name}": value for name, value in snapshot["constants"].items()}
    found.update((f"function {name}", kind) for name, kind in snapshot["functions"].items())
    for name, one in snapshot["structs"].items():
        found[f"struct {name}"] = f"{one['size']} bytes"
        for member, place in one["members"].items():
            found[f"struct {name}: {member}"] = (
                f"{place['type']} at {place['offset']}, {place['size']} bytes"
            )
    return found


def differences(old, new):
    """One line for each thing that is not as it was; none where both are the same."""
    before, after = _named(old), _named(new)
    lines = [f"{name} is gone (it was {before[name]})" for name in before if name not in after]
    for name, value in after.items():
        if name not in before:
            lines.append(f"{name} is new: {value}")
        elif before[name] != value:
            lines.append(f"{name} was {before[name]} and is {value}")
    return lines


def frozen(snapshot):
    return snapshot["constants"]["BERTH_ABI_DRAFT"] == 0


def _may_differ(name, old, new):
    """Whether a change of what was there is growth. Members that moved are told by themselves."""
    if name == "constant BERTH_ABI_MINOR":
        return new["constants"]["BERTH_ABI_MINOR"] > old["constants"]["BERTH_ABI_MINOR"]
    if not name.startswith("struct ") or ":" in name:
        return False
    before = old["structs"][name.removeprefix("struct ")]
    after = new["structs"].get(name.removeprefix("struct "))
    return bool(after) and "struct_size" in before["members"] and after["size"] > before["size"]


def _behind(name, old, new):
    """Whether a member that is new lies behind all that was there."""
    one, _, member = name.removeprefix("struct ").partition(": ")
    if one not in old["structs"] or not member:
        return True  # all of it is new
    before, place = old["structs"][one], new["structs"][one]["members"][member]
    return "struct_size" in before["members"] and place["offset"] >= before["size"]


def violations(old, new):
    """Why `new` cannot follow `old`: one line each, none while `old` is a release candidate."""
    if not frozen(old):
        return []
    before, after = _named(old), _named(new)
    lines = []
    for name, value in before.items():
        if after.get(name) != value and not _may_differ(name, old, new):
            lines.append(f"{name} is frozen: it is {value}, not {after.get(name, 'gone')}")
    for name in after:
        if name not in before and not _behind(name, old, new):
            lines.append(f"{name} is new, but not at the end of a struct with a struct_size")
    minor = "constant BERTH_ABI_MINOR"
    if before != after and not after[minor] > before[minor]:
        lines.append(f"it has grown, so BERTH_ABI_MINOR must be more than {before[minor]}")
    return lines


def embedded(snapshot):
    """Structs that may grow and yet are members of another: it would move what follows them."""
    growing = {f"struct {n}" for n, s in snapshot["structs"].items() if "struct_size" in s["members"]}
    return [
        f"struct {name}: {member} is a {place['type']}, which may grow"
        for name, one in snapshot["structs"].items()
        for member, place in one["members"].items() if place["type"].split("[")[0] in growing
    ]


# -- the files ----------------------------------------------------------------------------------------


def stored(system, folder=FOLDER):
    return json.loads((folder / f"{system}.json").read_text(encoding="utf-8"))


def checksum(snapshot):
    """What a built plugin remembers of the ABI it was built for."""
    text = json.dumps(snapshot, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def renew(folder=FOLDER, api=headers.API):
    """Writes the snapshots of all systems, or none of them; returns what forbids it."""
    new = {system: take(system, api=api) for system in COMPILERS}
    refused = []
    for system, snapshot in new.items():
        if (folder / f"{system}.json").exists():
            lines = violations(stored(system, folder), snapshot)
            refused += [f"{system}: {line}" for line in lines]
    if not refused:
        for system, snapshot in new.items():
            text = json.dumps(snapshot, indent=1) + "\n"
            (folder / f"{system}.json").write_text(text, encoding="utf-8")
    return refused


def compare(folder=FOLDER, api=headers.API):
    return [
        f"{system}: {line}"
        for system in COMPILERS for line in differences(stored(system, folder), take(system, api=api))
    ]


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "checksum" and arguments[1] in COMPILERS:
        print(checksum(stored(arguments[1])))
        return
    if arguments == ["renew"]:
        lines = renew()
        last = "the ABI is frozen: take the change back, or make it growth at the end"
    elif arguments == ["compare"]:
        lines = compare()
        last = 'the ABI has changed: if that is what you want, "./dev abi renew" takes it over'
    else:
        raise SystemExit(__doc__)
    if lines:
        raise SystemExit("\n".join([*lines, last]))


if __name__ == "__main__":
    main(sys.argv[1:])
