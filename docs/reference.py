#!/usr/bin/python3
"""Writes the reference of the manifest into docs/manifest.md, from config/berth.schema.json.

    docs/reference.py          renews the part between the two marks
    docs/reference.py check    exits with 1 when it is not up to date
"""

import json
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PAGE = TOP / "docs" / "manifest.md"
SCHEMA = TOP / "config" / "berth.schema.json"
BEGIN = "<!-- From here to the end mark: written by docs/reference.py from config/berth.schema.json. -->\n"
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


def reference(schema):
    """The whole reference, without its marks."""
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


def renewed(page, schema):
    """The page with its reference as the schema has it."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + "\n" + reference(schema) + END + after


def main(arguments):
    if arguments not in ([], ["check"]):
        print(__doc__, file=sys.stderr)
        return 2
    page = PAGE.read_text(encoding="utf-8")
    now = renewed(page, json.loads(SCHEMA.read_text(encoding="utf-8")))
    if arguments == ["check"] and now != page:
        print("docs/manifest.md is not up to date: run docs/reference.py", file=sys.stderr)
        return 1
    if now != page:
        PAGE.write_text(now, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
