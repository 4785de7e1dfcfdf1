"""The host's JSON Schema against an independent one: the same schemas and values, and the verdicts agree.

What the host refuses of the standard is tested for its words; docs/writing-plugins.md lists the subset.
"""

import json
import random
import re
import subprocess

import jsonschema

SEED = 20261130
SCHEMAS = 400
VALUES = 12


def _run(system, pairs):
    """For each schema and its values: None where it is taken and else why not, and a word for each value."""
    program = system.fixtures.parent / "corpus" / ("schemas.exe" if system.is_windows else "schemas")
    text = "".join(f"{schema if isinstance(schema, str) else json.dumps(schema)}\n{json.dumps(values)}\n"
                   for schema, values in pairs)
    system.hold()
    result = subprocess.run([*system.runner(), str(program)], input=text, encoding="utf-8", capture_output=True,
                            timeout=300, env=system.environment(), check=False)
    assert result.returncode == 0, result
    lines = iter(result.stdout.splitlines() if "\v" not in result.stdout else
                 result.stdout.replace("\r\n", "\n").rstrip("\n").split("\n"))
    answers = []
    for _, values in pairs:
        first = next(lines)
        if first.startswith("refused "):
            answers.append((first.removeprefix("refused "), []))
        else:
            answers.append((None, [next(lines) for _ in values]))
    assert next(lines, None) is None
    return answers


def _check(system, schema, value):
    [(refused, words)] = _run(system, [(schema, [value])])
    assert refused is None, refused
    return [] if words == ["fits"] else words[0].split("\v")


def _disagreements(system, pairs):
    for (schema, values), (refused, words) in zip(pairs, _run(system, pairs)):
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        if refused:
            yield schema, refused
        for value, word in zip(values, words):
            if validator.is_valid(value) != (word == "fits"):
                yield schema, value, word


CORPUS = [
    ({"type": "integer"}, [1, 1.0, 1.5, -0.0, 1e300, "1", True, None]),
    ({"type": "number"}, [1, 1.5, True, "1"]),
    ({"type": ["null", "boolean"]}, [None, True, False, 0, "", [], {}]),
    ({"type": ["object", "array"]}, [{}, [], 1]),
    (True, [1, None, {}]),
    (False, [1, None, {}]),
    ({}, [1, "x", [[]]]),
    ({"minimum": 2, "maximum": 5}, [1.99, 2, 5, 5.01, "1"]),
    ({"exclusiveMinimum": 2, "exclusiveMaximum": 5}, [2, 2.01, 4.99, 5]),
    ({"minimum": 2, "exclusiveMinimum": 2}, [2, 3]),
    ({"minimum": 3, "exclusiveMinimum": 2}, [2.5, 3]),
    ({"maximum": 2, "exclusiveMaximum": 3}, [2, 2.5]),
    ({"multipleOf": 3}, [0, 3, 4, -6, 4.5, 1e300, "x"]),
    ({"minLength": 2, "maxLength": 3}, ["a", "ab", "äöü", "😀😀", "😀", "abcd", 1]),
    ({"enum": ["a", 2, None, [1, {"x": 2}], 3.0]}, ["a", 2, 2.0, None, [1, {"x": 2}], [{"x": 2}, 1], 3, "b", False]),
    ({"const": {"a": 1, "b": [2]}}, [{"b": [2], "a": 1}, {"a": 1}, {"a": 1.0, "b": [2]}]),
    ({"const": True}, [True, 1, "true"]),
    ({"const": 0}, [0, False, -0.0]),
    ({"required": ["a", "b"]}, [{}, {"a": 1}, {"a": 1, "b": None}, []]),
    ({"properties": {"a": {"type": "string"}}, "additionalProperties": False}, [{"a": "x"}, {"b": 1}, {"a": 1}, {}]),
    ({"properties": {"a": False}}, [{"a": 1}, {"b": 1}]),
    ({"additionalProperties": {"type": "integer"}}, [{"a": 1}, {"a": "x"}]),
    ({"propertyNames": {"pattern": "^[a-z]+$"}}, [{"a": 1}, {"A": 1}, {}]),
    ({"minProperties": 1, "maxProperties": 2}, [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}]),
    ({"items": {"type": "integer"}, "minItems": 1, "maxItems": 3}, [[], [1], [1, "a"], [1, 2, 3, 4]]),
    ({"items": False}, [[], [1]]),
    ({"uniqueItems": True}, [[1, 2], [1, 1.0], [1, True], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[], {}], ["a", "b", "a"]]),
    ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, ["x", ["x"], [1], 1]),
    ({"anyOf": [{"anyOf": [{"const": 1}, {"const": 2}]}, {"minimum": 10}]}, [1, 2, 3, 10]),
    ({"default": 5, "title": "t", "description": "d", "examples": [1], "$comment": "c", "deprecated": True,
      "$schema": "https://json-schema.org/draft/2020-12/schema", "x-mine": {}}, [1]),
]

PATTERNS = {
    "^a*b+c?$": ["b", "aabbc", "ac", "abcc", ""],
    "b": ["abc", "ac"],
    "^(foo|ba[rz])$": ["foo", "bar", "baz", "ba", "foobar"],
    "^(?:ab){2,3}$": ["ab", "abab", "ababab", "abababab"],
    "^a{0}b{2}c{1,}$": ["bbc", "bbccc", "abbc", "bc"],
    r"^\d+\.\d+$": ["1.2", "12.34", "1,2", "a.b"],
    r"^\w+\s\W\S\D$": ["ab !xy", "ab  xy", "a !x1"],
    r"^[^/\\:]+$": ["index.html", "a/b", "a\\b", "a:b", "ä"],
    r"^[\w.-]+@[a-z\d-]+$": ["a.b-c@d-1", "@x", "a@B"],
    r"^\x41\u00e4\t$": ["Aä\t", "Aa\t"],
    "^.$": ["a", "😀", "ab", ""],
    "": ["", "x"],
    "a|": ["", "b"],
    "(^a|b$)": ["ab", "xb", "ax", "ba"],
    "^(a*)*$": ["aaaa", "b", ""],
    "^(a|aa)+$": ["a" * 12 + "b", "a" * 12],
    r"^\[[^\[\]]+\]:[0-9]{1,5}$": ["[::1]:80", "[]:1", "[a]:123456"],
    "^[a-z-]+[-a]$": ["a-", "-a", "a"],
    "^$": ["", "a"],
}


def test_schema_corpus_agrees(system):
    pairs = CORPUS + [({"pattern": pattern}, texts) for pattern, texts in PATTERNS.items()]
    assert not list(_disagreements(system, pairs))


def test_schema_pattern_knows_surrogate_pairs(system):
    """As ECMA-262 does; the other validator's language has none."""
    pattern = {"pattern": r"^\ud83d\ude00$"}
    [(_, [fits, misfits])] = _run(system, [(pattern, ["😀", "😁"])])
    assert fits == "fits" and misfits != "fits"


# -- by chance ---------------------------------------------------------------------------------------


def _random_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 2:
        return rng.choice([0, 1, 2, 3, 5, 10, -1, 2.5, 3.0, 100])
    if kind < 4:
        return rng.choice(["", "a", "b", "ab", "abc", "x1", "äö", "😀"])
    if kind == 4:
        return rng.choice([True, False])
    if kind == 5:
        return None
    if kind == 6:
        return [_random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice("abcd"): _random_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def _plain(rng):
    return rng.choice(["", "a", "b", "ab", "x1", 2, 3, 5, 2.5, None])


def _random_schema(rng, depth=0):
    if rng.random() < 0.08:
        return rng.random() < 0.7
    types = ["null", "boolean", "object", "array", "string", "number", "integer"]
    keywords = {
        "type": lambda: rng.choice([rng.choice(types), rng.sample(types, 2)]),
        "enum": lambda: rng.sample(["", "a", "b", "ab", 2, 3, 5, 2.5, None], 4),
        "const": lambda: _plain(rng),
        "minimum": lambda: rng.choice([0, 1, 2.5]), "maximum": lambda: rng.choice([2, 3, 10]),
        "exclusiveMinimum": lambda: rng.choice([0, 2]), "exclusiveMaximum": lambda: rng.choice([3, 10]),
        "multipleOf": lambda: rng.choice([1, 2, 5]),
        "minLength": lambda: rng.randrange(3), "maxLength": lambda: rng.randrange(4),
        "pattern": lambda: rng.choice(["^a", "b$", "[0-9]", "^(a|b)*$", "^.{2}$", "a.*c"]),
        "minItems": lambda: rng.randrange(3), "maxItems": lambda: rng.randrange(4),
        "uniqueItems": lambda: rng.random() < 0.7,
        "minProperties": lambda: rng.randrange(3), "maxProperties": lambda: rng.randrange(4),
        "required": lambda: rng.sample("abcd", rng.randrange(3)),
        "propertyNames": lambda: {"enum": rng.sample("abcd", 3)},
        "items": lambda: _random_schema(rng, depth + 1),
        "additionalProperties": lambda: _random_schema(rng, depth + 1),
        "properties": lambda: {key: _random_schema(rng, depth + 1) for key in rng.sample("abcd", 2)},
        "anyOf": lambda: [_random_schema(rng, depth + 1) for _ in range(rng.randrange(1, 4))],
    }
    nested = {"items", "additionalProperties", "properties", "anyOf"}
    names = [name for name in keywords if depth < 3 or name not in nested]
    return {name: keywords[name]() for name in rng.sample(names, rng.randrange(4))}


def test_schema_random_ones_agree(system):
    rng = random.Random(SEED)
    pairs = [(_random_schema(rng), [_random_value(rng) for _ in range(VALUES)]) for _ in range(SCHEMAS)]
    verdicts = [jsonschema.Draft202012Validator(schema).is_valid(value) for schema, values in pairs for value in values]
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.8, "they are no test of either verdict"
    assert not list(_disagreements(system, pairs))


# -- what is refused ---------------------------------------------------------------------------------

REFUSED = [
    ('{"type": "object"', r"/ \(line 1, column 18 of the schema\)"),
    ('{"type": "object", "type": "array"}', "second time"),
    ("[]", "expected a schema: an object, true or false"),
    ({"type": "strin"}, "/type .*expected a type"),
    ({"type": ["null", "null"]}, '/type .*"null" is here twice'),
    ({"type": []}, "/type .*expected a type"),
    ({"patern": "x"}, r'"patern" is no keyword of JSON Schema \(did you mean "pattern"\?\)'),
    ({"properties": {"a": {"minimun": 1}}}, r'/properties/a/minimun .*did you mean "minimum"'),
    ({"minimum": "1"}, "/minimum .*expected a number"),
    ({"minLength": -1}, "/minLength .*expected a whole number of 0 or more"),
    ({"maxItems": 1.5}, "/maxItems .*expected a whole number of 0 or more"),
    ({"multipleOf": 0}, "/multipleOf .*1 or more"),
    ({"multipleOf": 0.1}, "/multipleOf .*1 or more"),
    ({"required": "a"}, "/required .*expected a list of keys"),
    ({"required": ["a", "a"]}, '/required .*"a" is here twice'),
    ({"properties": []}, "/properties .*expected an object of schemas"),
    ({"properties": {"a": 1}}, "/properties/a .*expected a schema"),
    ({"items": [{}]}, "/items .*expected one schema"),
    ({"enum": []}, "/enum .*one value or more"),
    ({"anyOf": []}, "/anyOf .*one schema or more"),
    ({"anyOf": [{}, 1]}, "/anyOf/1 .*expected a schema"),
    ({"uniqueItems": 1}, "/uniqueItems .*expected true or false"),
    ({"title": 1}, "/title .*expected a string"),
    ({"deprecated": 1}, "/deprecated .*expected true or false"),
    ({"examples": 1}, "/examples .*expected a list"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
    ({"properties": {"a": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}}, "only the whole schema"),
    *[({keyword: {}}, f'"{re.escape(keyword)}" is not in the subset') for keyword in (
        "$ref", "$defs", "$id", "$anchor", "allOf", "oneOf", "not", "if", "patternProperties", "prefixItems",
        "dependentRequired", "contains", "unevaluatedProperties", "format")],
    *[({"pattern": pattern}, f"/pattern .*{words}") for pattern, words in [
        ("(a", "character 1 .*does not end"), ("a)", "character 2"), ("[a", r"expected \"\]\""), ("*a", "nothing to repeat"),
        ("a**", "nothing to repeat"), ("a{2,1}", "ends before it begins"), ("a{", "expected a count"), ("[b-a]", "ends before"),
        (r"(a)\1", "reference back"), ("(?=a)", "no lookarounds"), ("(?<n>a)", "named groups"), ("a*?", "lazy"),
        (r"\ba", r"\\\\b"), (r"\p{L}", r"\\\\p"), ("a{300}", "255"), ("(a{255}){255}", "too large"),
        ("((a{0}){255}){255}{2}", "nothing to repeat"), ("(((){255}){255}){255}", "too large"), ("a\\", "backslash"),
        (r"\xg1", "hexadecimal"), (r"\ud83d", "surrogate"), ("]", "with a backslash"), (r"\y", "unknown escape"),
        ("(" * 40 + ")" * 40, "too deep")]],
    ('{"items":' * 70 + "{}" + "}" * 70, "deeper than 64"),
    (json.dumps({"description": "x" * 300000}), "more than 262144 bytes"),
]


def test_schema_that_is_none_is_refused_with_its_place(system):
    answers = _run(system, [(schema, []) for schema, _ in REFUSED])
    wrong = [(schema if len(str(schema)) < 200 else "…", refused) for (schema, words), (refused, _) in zip(REFUSED, answers)
             if not refused or not re.search(words.replace("\\\\\\\\", "\\\\"), refused)]
    assert not wrong, "\n".join(map(str, wrong))


# -- words -------------------------------------------------------------------------------------------

WORDS = [
    ({"type": "object", "properties": {"root": {}}, "additionalProperties": False, "required": ["root"]}, {"rot": 1},
     ['/rot: unknown key (did you mean "root"?)', '/: the key "root" is missing']),
    ({"properties": {"a": {}, "b": {}}, "additionalProperties": False}, {"zzzz": 1},
     ['/zzzz: unknown key; known here: "a", "b"']),
    ({"type": "integer", "minimum": 1, "maximum": 9}, 12, ["/: expected a whole number from 1 to 9, found 12"]),
    ({"type": "integer", "minimum": 1}, "x", ['/: expected a whole number from 1, found "x"']),
    ({"type": "number", "exclusiveMinimum": 0}, 0, ["/: expected a number above 0, found 0"]),
    ({"enum": ["round-robin", "least", 3]}, "round-robbin",
     ['/: expected "round-robin" or "least" or 3, found "round-robbin" (did you mean "round-robin"?)']),
    ({"type": ["string", "array"]}, {}, ["/: expected an array or a string, found an object"]),
    ({"items": {"type": "string"}}, [1, "a", None],
     ["/0: expected a string, found 1", "/2: expected a string, found null"]),
    ({"properties": {"a/b~c": {"type": "null"}}}, {"a/b~c": 1}, ["/a~1b~0c: expected null, found 1"]),
    ({"uniqueItems": True}, ["a", "b", "a", "a"],
     ["/2: the same as item 0; each may be here once", "/3: the same as item 0; each may be here once"]),
    ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, ["a", 1],
     ["/1: expected a string, found 1"]),
    ({"anyOf": [{"properties": {"kind": {"const": "tcp"}}, "required": ["port"]},
                {"properties": {"kind": {"const": "unix"}}, "required": ["path"]}]}, {"kind": "unix"},
     ['/: the key "path" is missing']),
    ({"title": "t", "anyOf": [{"title": "small", "maximum": 1}, {"title": "large", "minimum": 9}]}, 5,
     ["/: 5 is none of the 2 forms that are allowed here: small; large"]),
    ({"pattern": "^[a-z]+$", "title": "a word"}, "X1", ['/: expected a word, found "X1"']),
    ({"minLength": 1}, "", ["/: expected a string of at least 1 character, found 0"]),
]


def test_schema_misfits_are_told_all_at_once(system):
    for (_, _, lines), (_, [words]) in zip(WORDS, _run(system, [(schema, [value]) for schema, value, _ in WORDS])):
        assert words.split("\v") == lines


def test_schema_errors_beyond_a_hundred_are_counted(system):
    lines = _check(system, {"items": {"type": "string"}}, [1] * 350)
    assert len(lines) == 101 and lines[-1] == "/: 250 more things are wrong"


LARGE = [
    ({"pattern": "^(a|aa|a*)*$"}, "a" * 100000 + "b"),
    ({"uniqueItems": True}, [*range(100000), 0]),
    ({"items": {"enum": [f"v{n}" for n in range(10000)]}}, [f"w{n}" for n in range(20000)]),
    ({"required": [f"k{n}" for n in range(5000)], "additionalProperties": False}, {f"x{n}": n for n in range(20000)}),
    ({"items": {"anyOf": [{"anyOf": [{"anyOf": [{"const": n} for n in range(10)]}]}]}}, list(range(10, 20000))),
]


def test_schema_large_misfits_end(system):
    """Each of them would take minutes if the work grew with the square of the size."""
    for refused, [words] in _run(system, [(schema, [value]) for schema, value in LARGE]):
        assert refused is None and words != "fits"
