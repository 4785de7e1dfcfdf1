#!/usr/bin/python3
"""Writes the references in the documents from what defines them: the keys of a manifest into docs/manifest.md,
from config/berth.schema.json, and the counters into docs/operating.md, from host/net/listener_counters.def.

    docs/reference.py          renews what stands between the marks of each page
    docs/reference.py check    exits with 1 when one of them is not up to date
"""

import json
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
SCHEMA = "config/berth.schema.json"
COUNTERS = "host/net/listener_counters.def"
BEGIN = "<!-- From here to the end mark: written by docs/reference.py from %s. -->\n"
END = "<!-- The end of what docs/reference.py writes. -->\n"

PATTERNS = {
    "#/$defs/address": "an address",
    "#/$defs/prefix": "a network",
}


def _integer(schema):
    text = f"{schema['minimum']} to {schema['maximum']}"
    return text + (f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else "")


def _array(schema):
    return f"{schema['minItems']} to {schema['maxItems']} times {_type(schema['items'])}"


def _type(schema):
    """What a value may be, in words."""
    if "$ref" in schema:
        return PATTERNS[schema["$ref"]]
    if "anyOf" in schema:
        return ", or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    return {
        "integer": _integer, "array": _array, "boolean": lambda _: "`true`, `false`",
        "string": lambda _: "text", "object": lambda _: "object",
    }[schema["type"]](schema)


def _default(schema, required):
    if required:
        return "required"
    if "default" not in schema:
        return ""
    return f"`{json.dumps(schema['default'])}`"


def _objects(schema):
    """The object in a schema, which may be one of several forms; else None."""
    forms = [schema, *schema.get("anyOf", [])]
    return next((form for form in forms if form.get("properties")), None)


def _table(pointer, schema, description):
    """A table of the members of one object, then those of the objects in it."""
    rows, inner = [], []
    for key, value in schema["properties"].items():
        text = value.get("description", "").replace("|", "\\|")
        rows.append(f"| `{key}` | {_type(value)} | {_default(value, key in schema.get('required', []))} | {text} |\n")
        if _objects(value):
            inner.append((f"{pointer}/{key}", _objects(value), value.get("description", "")))
    head = f"### `{pointer}`\n\n{description}\n\n"
    own = head + "| key | values | default | |\n|---|---|---|---|\n" + "".join(rows) + "\n"
    return own + "".join(_table(*one) for one in inner)


def _values(definitions):
    """What the names of values mean that the tables use."""
    return "".join(f"- {name[0].upper()}{name[1:]}: {definitions[pointer.rpartition('/')[2]]['description']}\n"
                   for pointer, name in PATTERNS.items()) + "\n"


def manifest(text):
    """The reference of the manifest, from its schema."""
    schema = json.loads(text)
    host = schema["properties"]["host"]
    listener = schema["$defs"]["listener"]
    top = {key: value for key, value in schema["properties"].items() if key != "host"}
    document = {**schema, "properties": {**top, "host": {**host, "properties": {}}}}
    return (
        _values(schema["$defs"])
        + _table("/", document, document["description"])
        + _table("/host", host, host["description"])
        + _table("/listeners/NAME", listener, "One listener. Its name is a letter or digit, then up to 62 letters, "
                 "digits and `.`, `_`, `-`.")
    )


def counters(text):
    """The table of the counters, from their definitions: COUNTER…(…, name, "meaning")."""
    found = re.findall(r'^COUNTER\w*\((?:[^",]+, )*?(\w+), "([^"]+)"\)$', text, re.MULTILINE)
    return "| counter | |\n|---|---|\n" + "".join(f"| `{name}` | {meaning} |\n" for name, meaning in found) + "\n"


PAGES = {"docs/manifest.md": (manifest, SCHEMA), "docs/operating.md": (counters, COUNTERS)}


def renewed(page, text, source):
    """The page with its reference as it is to be."""
    begin = BEGIN % source
    before, rest = page.split(begin)
    return before + begin + "\n" + text + END + rest.split(END)[1]


def main(arguments):
    if arguments not in ([], ["check"]):
        print(__doc__, file=sys.stderr)
        return 2
    outdated = 0
    for name, (write, source) in PAGES.items():
        page = (TOP / name).read_text(encoding="utf-8")
        now = renewed(page, write((TOP / source).read_text(encoding="utf-8")), source)
        if now == page:
            continue
        if arguments:
            print(f"{name} is not up to date: run docs/reference.py", file=sys.stderr)
            outdated = 1
        else:
            (TOP / name).write_text(now, encoding="utf-8")
    return outdated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
