"""The plugin ABI as its headers tell it: every struct with its members, every constant, every type of a
function. Read from the headers themselves, so that nothing new can be forgotten."""

import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parents[2]
API = TOP / "plugin-api"

COMPILED_IN = {"berth/framing.h"}
"""Headers of which nothing crosses the boundary: their functions are compiled into the plugin."""


def headers(api=API):
    """The names of the headers, as a plugin includes them."""
    found = sorted(f"berth/{path.name}" for path in (api / "berth").glob("*.h"))
    return [name for name in found if name not in COMPILED_IN]


def _text(api, name):
    text = (api / name).read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def _squeeze(text):
    return re.sub(r"\s*([(),*])\s*", r"\1", " ".join(text.split())).replace("*", " *").strip()


def _nameless(parameter):
    """A parameter without its name: that may change at any time."""
    return re.sub(r"(?<=[\s*])\w+$", "", parameter).strip() if " " in parameter else parameter


def _function_type(declaration):
    result, _, parameters = declaration.partition("(BERTH_CALL *")
    _, _, parameters = parameters.partition(")(")
    parts = [_nameless(_squeeze(part)) for part in parameters.rstrip(") ").split(",")]
    return f"{_squeeze(result)}({', '.join(parts)})"


def _member(declaration):
    """The name of a member and its type, "uint32_t(void *, uint32_t)" for a function."""
    declaration = " ".join(declaration.split())
    function = re.search(r"\(BERTH_CALL \*(\w+)\)\(", declaration)
    if function:
        return function[1], _function_type(declaration.replace(f"*{function[1]})", "*)"))
    plain = re.fullmatch(r"(.+?)(\w+)(\[\w+\])?", declaration)
    assert plain and "," not in declaration, f"not in the style of these headers: {declaration}"
    return plain[2], _squeeze(plain[1]) + (plain[3] or "")


def structs(api=API):
    """{struct: {member: type}} of every struct whose body is in a header."""
    found = {}
    for name in headers(api):
        text = re.sub(r"^\s*#.*?(?<!\\)$", "", _text(api, name), flags=re.MULTILINE | re.DOTALL)
        for struct in re.finditer(r"\bstruct (\w+) \{(.*?)\n\};", text, re.DOTALL):
            lines = [line for line in struct[2].split(";") if line.strip()]
            found[struct[1]] = dict(_member(line) for line in lines)
    return found


def functions(api=API):
    """{typedef: type} of every function that is handed over."""
    found = {}
    for name in headers(api):
        for one in re.finditer(r"typedef ([^;]*?\(BERTH_CALL \*(\w+)\)[^;]*);", _text(api, name)):
            found[one[2]] = _function_type(" ".join(one[1].replace(f"*{one[2]})", "*)").split()))
    return found


def constants(api=API):
    """The names of all macros that are not functions."""
    names = set()
    for name in headers(api):
        names.update(re.findall(r"^#define (BERTH_\w+)(?=\s)", _text(api, name), re.MULTILINE))
    return sorted(names)
