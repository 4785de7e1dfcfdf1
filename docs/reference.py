#!/usr/bin/python3
"""Writes what is made of the definitions in host/: config/berth.schema.json and the keys of a manifest in
docs/manifest.md, from host/manifest/options.def; the commands in docs/operating.md, from
host/command/command.def; and the counters there, from host/base/counters.def.

    docs/reference.py          renews the schema, and what stands between the marks of each page
    docs/reference.py check    exits with 1 when one of them is not up to date
"""

import json
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
OPTIONS = "host/manifest/options.def"
SCHEMA = "config/berth.schema.json"
FRAME = "host/manifest/schema_frame.json"
COMMANDS = "host/command/command.def"
COUNTERS = "host/base/counters.def"
BEGIN = "<!-- From here to the end mark: written by docs/reference.py from %s. -->\n"
END = "<!-- The end of what docs/reference.py writes. -->\n"

# -- entries of a .def ------------------------------------------------------------------------------

TOKEN = re.compile(r'\s*(?:/\*.*?\*/\s*)*("(?:[^"\\]|\\.)*"|[(),]|[^\s"(),]+)', re.DOTALL)


def entries(text):
    """The calls of macros in a text of definitions: [name, argument, …]. Strings are joined, and stay in quotes."""
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    tokens = TOKEN.findall(text)
    call, depth = [], 0
    for token in tokens:
        if token == "(" and depth == 0:
            call.append("")
            depth = 1
        elif token == ")" and depth == 1:
            yield call
            call, depth = [], 0
        elif token == "," and depth == 1:
            call.append("")
        elif depth == 0:
            call = [token]
        else:
            depth += {"(": 1, ")": -1}.get(token, 0)
            joins = token.startswith('"') and call[-1].endswith('"')
            call[-1] = call[-1][:-1] + token[1:] if joins else call[-1] + token


def section(text, name):
    """A part of a .def: from its #ifdef to its #endif."""
    return re.search(rf"^#ifdef {name}$(.*?)^#endif$", text, re.DOTALL | re.MULTILINE)[1]


# -- the schema -------------------------------------------------------------------------------------

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"


class Options:
    """The schema of what options.def says."""

    def __init__(self, text):
        self.text = text
        self.limits = {name: int(value) for _, name, value in entries(section(text, "OPTIONS_LIMITS"))}
        self.words, self.word_of = {}, {}
        for part in ("OPTIONS_CHOICES", "OPTIONS_LOG_CHOICES"):
            for macro, name, *word in entries(section(text, part)):
                if macro == "CHOICES_BEGIN":
                    choices = self.words.setdefault(name, [])
                elif macro == "CHOICE_VALUE":
                    choices.append(json.loads(word[0]))
                    self.word_of[name] = choices[-1]

    def number(self, text):
        return self.limits[text] if text in self.limits else int(text)

    def whole(self, least, most, default):
        schema = {"type": "integer", "minimum": self.number(least), "maximum": self.number(most)}
        made = re.fullmatch(r"(FILLED|MULTIPLES)\((\w+)(?:,(\w+))?\)", default)
        if default not in ("NONE", "REQUIRED", "AS_HOST"):
            schema["default"] = self.number(made[2] if made else default)
        if made and made[3]:
            schema["multipleOf"] = self.number(made[3])
        return schema

    def networks(self):
        return {"type": "array", "minItems": 1, "maxItems": self.limits["MANIFEST_NETWORKS_MAX"],
                "items": {"$ref": "#/$defs/prefix"}}

    def addresses(self):
        one = {"$ref": "#/$defs/address"}
        most = self.limits["MANIFEST_ADDRESSES_MAX"]
        return {"anyOf": [one, {"type": "array", "minItems": 1, "maxItems": most, "items": one}]}

    def value(self, macro, arguments):
        """The schema of one option, without its description."""
        if macro == "WHOLE":
            return self.whole(*arguments)
        if macro == "WHOLE_OR_AUTO":
            return {"anyOf": [{"const": "auto"}, self.whole(*arguments, "NONE")], "default": "auto"}
        if macro == "BOOL":
            return {"type": "boolean", "default": arguments[0] == "true"}
        if macro == "CHOICE":
            return {"enum": self.words[arguments[0]], "default": self.word_of[arguments[1]]}
        if macro == "CONFIG":
            return {"type": "object", "default": {}}
        if macro in ("NETWORKS", "ADDRESSES"):
            return self.networks() if macro == "NETWORKS" else self.addresses()
        rule = {"STRING": {"minLength": 1}, "HOST_NAME": {"pattern": NAME_PATTERN},
                "PLUGIN_ID": {"pattern": "^[a-z0-9-]{1,63}$"}}[macro]
        default = {} if arguments[0] in ("NULL", "NONE", "REQUIRED") else {"default": json.loads(arguments[0])}
        return {"type": "string", **rule, **default}

    def object(self, name):
        """The object of a section."""
        stack = [{"properties": {}}]
        for macro, *arguments in entries(section(self.text, name)):
            if macro == "OBJECT_END":
                done = stack.pop()
                rate = done.pop("rate", None)
                if rate:
                    first = next(iter(done["properties"].values()))
                    number = {key: value for key, value in first.items() if key != "description"}
                    done = {"anyOf": [number, done], "description": done.pop("description")}
                stack[-1]["properties"][arguments[0]] = done
                continue
            _, key, *rest, text = arguments
            if macro in ("OBJECT_BEGIN", "RATE_BEGIN"):
                stack.append({"type": "object", "description": json.loads(text), "additionalProperties": False,
                              "properties": {}, **({"rate": True} if macro == "RATE_BEGIN" else {})})
                continue
            stack[-1]["properties"][key] = {**self.value(macro, rest), "description": json.loads(text)}
            if "REQUIRED" in rest:
                stack[-1].setdefault("required", []).append(key)
        return stack[0]


def schema(options):
    """config/berth.schema.json: the frame with what options.def says put into it."""
    frame = json.loads((TOP / FRAME).read_text(encoding="utf-8"))
    made = Options(options)
    frame["properties"]["host"].update(made.object("OPTIONS_HOST"))
    frame["$defs"]["listener"].update(made.object("OPTIONS_LISTENER"))
    return frame


# -- the pages --------------------------------------------------------------------------------------

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
    """The reference of the manifest, from its options."""
    whole = schema(text)
    host = whole["properties"]["host"]
    listener = whole["$defs"]["listener"]
    top = {key: value for key, value in whole["properties"].items() if key != "host"}
    document = {**whole, "properties": {**top, "host": {**host, "properties": {}}}}
    return (
        _values(whole["$defs"])
        + _table("/", document, document["description"])
        + _table("/host", host, host["description"])
        + _table("/listeners/NAME", listener, "One listener. Its name is a letter or digit, then up to 62 letters, "
                 "digits and `.`, `_`, `-`.")
    )


def counters(text):
    """A table of the numbers of each section, under what the comment in front of it says."""
    tables = ""
    for what, name in re.findall(r"^/\* ([^*]+)\. \*/\n#ifdef (COUNTERS_\w+)$", text, re.MULTILINE):
        tables += re.sub(r'"(\w+)"', r"`\1`", what) + ":\n\n| counter | |\n|---|---|\n"
        for macro, *arguments in entries(section(text, name)):
            key = arguments[{"COUNTER": 0, "GAUGE": 0, "CALLBACK": 1}.get(macro, 2)]
            tables += f"| `{key}` | {json.loads(arguments[-1])} |\n"
        tables += "\n"
    return tables


def commands(text):
    """The table of the verbs, and that of their options."""
    shown = {member: (spelling, rest) for macro, member, spelling, *rest in entries(section(text, "COMMAND_OPTIONS"))
             if rest[-1] != '""'}
    verbs, takers = "", {}
    of_host = re.search(r"#define TAKES_HOST (.*)", text)[1]
    for macro, *arguments in entries(section(text, "COMMAND_VERBS").replace("TAKES_HOST", of_host)):
        if macro == "VERB" and arguments[6] != '""':
            words, form, what, more = (json.loads(arguments[i]) for i in (1, 4, 6, 7))
            for member in re.findall(r"TAKES\((\w+)\)", arguments[5]):
                takers.setdefault(member, []).append(words)
            form = f"`berth {words}{' ' * bool(form)}{form}`".replace("|", "\\|")
            verbs += f"| {form} | {what}{'. ' * bool(more)}{more.rstrip('.')} |\n"
    options = ""
    for member, (spelling, rest) in shown.items():
        value = " " + json.loads(rest[0]) if len(rest) > 1 else ""
        form = f"`{json.loads(spelling)}{value}`".replace("|", "\\|")
        options += f"| {form} | {', '.join(takers[member])} | {json.loads(rest[-1])} |\n"
    return (f"| command | |\n|---|---|\n{verbs}\n| option | of | |\n|---|---|---|\n{options}\n")


PAGES = [("docs/manifest.md", OPTIONS, manifest), ("docs/operating.md", COMMANDS, commands),
         ("docs/operating.md", COUNTERS, counters)]


def renewed(page, text, source):
    """The page with its reference as it is to be."""
    begin = BEGIN % source
    before, rest = page.split(begin)
    return before + begin + "\n" + text + END + rest.split(END, 1)[1]


def files():
    """What is to be written: (name, text)."""
    options = (TOP / OPTIONS).read_text(encoding="utf-8")
    yield SCHEMA, json.dumps(schema(options), indent=2, ensure_ascii=False) + "\n"
    pages = {name: (TOP / name).read_text(encoding="utf-8") for name, _, _ in PAGES}
    for name, source, write in PAGES:
        pages[name] = renewed(pages[name], write((TOP / source).read_text(encoding="utf-8")), source)
    yield from pages.items()


def main(arguments):
    if arguments not in ([], ["check"]):
        print(__doc__, file=sys.stderr)
        return 2
    outdated = 0
    for name, text in files():
        if text == (TOP / name).read_text(encoding="utf-8"):
            continue
        if arguments:
            print(f"{name} is not up to date: run docs/reference.py", file=sys.stderr)
            outdated = 1
        else:
            (TOP / name).write_text(text, encoding="utf-8")
    return outdated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
