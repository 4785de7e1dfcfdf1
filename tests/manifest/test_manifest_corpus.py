"""The manifest's language, twice: what `berth check` says and what the schema says must agree.

Every case is a manifest and, where it is bad, the exact lines that the checker must print. The schema
cannot say everything (duplicate keys, clashing addresses, the order of watermarks); such cases say so.
"""

import copy
import json
import re
import subprocess

import jsonschema
import pytest
from support.host import run_berth

pytestmark = pytest.mark.any_engine

GOOD = {
    "manifest": 1,
    "listeners": {"a": {"address": "127.0.0.1:0", "plugin": "echo"}},
}


def changed(path, value):
    """GOOD with a value put at a path of keys; `DROP` takes the key away."""
    manifest = copy.deepcopy(GOOD)
    at = manifest
    for key in path[:-1]:
        at = at.setdefault(key, {})
    if value is DROP:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return manifest


DROP = object()
A = ("listeners", "a")
HOST = ("host",)

# path, smallest, greatest
RANGES = [
    ((*HOST, "drain_timeout_ms"), 0, 3600000),
    ((*HOST, "generation_drain_timeout_ms"), 0, 2147483647),
    ((*A, "generation_drain_timeout_ms"), 0, 2147483647),
    ((*HOST, "generations_max"), 2, 1000),
    ((*HOST, "stall_warning_ms"), 0, 3600000),
    ((*HOST, "hang_timeout_ms"), 0, 3600000),
    ((*HOST, "crashes_max"), 1, 1000),
    ((*HOST, "crash_window_ms"), 1000, 86400000),
    ((*HOST, "crash_end_ms"), 100, 3600000),
    ((*HOST, "start_timeout_ms"), 0, 3600000),
    ((*HOST, "log", "queue_bytes"), 65536, 1073741824),
    ((*HOST, "log", "limit_lines"), 0, 1000000),
    ((*HOST, "log", "limit_window_ms"), 100, 3600000),
    ((*HOST, "log", "flush_timeout_ms"), 0, 60000),
    ((*HOST, "limits", "connections"), 1, 10000000),
    ((*HOST, "limits", "posts"), 1, 10000000),
    ((*HOST, "buffers", "retained_max"), 0, 1000000),
    ((*HOST, "turn", "receive_bytes"), 4096, 16777216),
    ((*HOST, "turn", "send_bytes"), 4096, 1073741824),
    ((*HOST, "limits", "descriptors_reserved"), 0, 65536),
    ((*HOST, "limits", "files"), 1, 10000000),
    ((*HOST, "direct_descriptors"), 0, 1048576),
    ((*A, "accept", "backlog"), 1, 65535),
    ((*A, "accept", "pending_max"), 1, 10000000),
    ((*A, "accept", "first_data_timeout_ms"), 100, 3600000),
    ((*A, "limits", "connections"), 1, 10000000),
    ((*A, "limits", "per_client"), 1, 10000000),
    ((*A, "limits", "clients_remembered"), 1, 10000000),
    ((*A, "limits", "refusing"), 0, 1000000),
    ((*A, "limits", "message_bytes"), 256, 16777216),
    ((*A, "limits", "works"), 1, 10000000),
    ((*A, "limits", "works_per_client"), 1, 10000000),
    ((*A, "limits", "send_queue_bytes"), 4096, 1073741824),
    ((*A, "limits", "send_queue_pieces"), 16, 1000000),
    ((*A, "limits", "linger_bytes"), 0, 1073741824),
    ((*A, "limits", "active_io"), 1, 10000000),
    ((*A, "limits", "outbound"), 0, 10000000),
    ((*A, "limits", "timers"), 0, 10000000),
    ((*A, "close_timeout_ms"), 0, 3600000),
    ((*A, "idle_timeout_ms"), 0, 2147483647),
    ((*A, "socket", "receive_buffer_bytes"), 2048, 1073741824),
    ((*A, "socket", "send_buffer_bytes"), 2048, 1073741824),
    ((*HOST, "work", "threads_max"), 1, 1024),
    ((*HOST, "work", "queue_max"), 1, 10000000),
    ((*HOST, "work", "idle_ms"), 1, 3600000),
    ((*A, "accept", "pool", "high"), 1, 10000),
]

# path, allowed words
CHOICES = [
    ((*HOST, "engine"), ["auto", "io_uring", "epoll"]),
    ((*HOST, "log", "level"), ["error", "warn", "info", "debug"]),
    ((*HOST, "log", "format"), ["text", "json"]),
    ((*A, "accept", "when"), ["connect", "data"]),
    ((*A, "accept", "at_limit"), ["backlog", "refuse"]),
    ((*A, "transport"), ["tcp", "udp"]),
    ((*A, "limits", "send_queue_full"), ["pause", "close"]),
    ((*A, "socket", "linger"), ["finish", "reset"]),
    ((*A, "receive"), ["zero-byte", "buffered"]),
]

BOOLS = [(*HOST, "control"), (*A, "v6_only"), (*A, "accept_own_datagrams"), (*A, "accept", "reuse_sockets"), (*A, "no_delay")]

OBJECTS = [
    HOST, (*HOST, "limits"), (*HOST, "buffers"), (*HOST, "log"),
    A, (*A, "accept"), (*A, "accept", "pool"), (*A, "limits"), (*A, "config"), (*A, "socket"),
    (*HOST, "work"), ("listeners",),
]

GOOD_ADDRESSES = [
    "0.0.0.0:65535", "[::]:0", "[::1]:5001", "[fe80::1%1]:80", "[1:2:3:4:5:6:7:8]:1",
    "[::1%1]:80", ["127.0.0.1:0", "[::1]:0"], ["127.0.0.1:5001"],
]

BAD_ADDRESSES = [
    "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:080", "256.0.0.1:1", "1.2.3:4",
    "localhost:80", "::1:80", "[::1]", "[::1:80", "[1::2::3]:1", "[12345::]:1", "[::1%]:1",
    " 127.0.0.1:1", "127.0.0.1:1 ", "*:80", "127.0.0.1:-1",
]

GOOD_NETWORKS = [
    ["10.0.0.0/8", "192.168.1.7", "0.0.0.0/0", "255.255.255.255/32"],
    ["2001:db8::/32", "::/0", "::1", "fe80::/10", "::ffff:10.0.0.0/104"], ["fe80::%1/10"],
    ["10.0.0.0/8", "10.0.0.0/8"], ["10.0.0.0/8"] * 1024,
]

BAD_NETWORKS = [
    "", "10.0.0.0/33", "10.0.0.0/08", "10.0.0/8", "10.0.0.0/", "10.0.0.0:80", "[::1]/128", "::/129",
    "fe80::1%/64", "10.0.0.1%1", "everybody", "10.0.0.0/8 ",
]

RATE = (*A, "limits", "accept_rate_per_client")


def pointer(path):
    return "/" + "/".join(path)


def name_of(path):
    return "-".join(path)


def found(value):
    names = {str: "a string", dict: "an object", list: "an array", type(None): "null",
             bool: str(value).lower(), int: "a number", float: "a number"}
    return names[type(value)]


class Case:
    def __init__(self, name, text, messages=(), schema_is_silent=None):
        self.name = name
        self.text = text if isinstance(text, bytes) else text.encode()
        self.messages = list(messages)  # "pointer: message", or "line:column: pointer: message"
        self.schema_is_silent = schema_is_silent


def of(name, manifest, *messages, **more):
    return Case(name, json.dumps(manifest, indent=2), messages, **more)


def good_cases():
    yield of("least", GOOD)
    yield of("schema-key", {"$schema": "berth.schema.json", **GOOD})
    yield Case("byte-order-mark", b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    yield of("workers-auto", changed((*HOST, "workers"), "auto"))
    yield of("workers-64", changed((*HOST, "workers"), 64))
    yield of("buffers-bytes", changed((*HOST, "buffers", "bytes"), 1048576))
    yield of("name", changed((*HOST, "name"), "a" * 63))
    yield of("plugins-folder", changed((*HOST, "plugins"), "plugins"))
    yield of("plugin-files", changed((*HOST, "plugin_files"),
                                     {"bytes_max": 16 << 20, "untrusted": "load"}))
    yield of("config", changed((*A, "config"), {"any": ["thing", 1.5, None, {"deep": True}]}))
    yield of("listener-name", changed(("listeners", "B.2_x-y"), GOOD["listeners"]["a"]))
    yield of("whole-numbers-written-otherwise", changed((*A, "accept", "backlog"), 100.0))
    yield of("pool", changed((*A, "accept", "pool"), {"initial": 1, "low": 2, "high": 3}))
    yield of("pool-high-alone", changed((*A, "accept", "pool"), {"high": 8}))
    yield of("pool-low-alone", changed((*A, "accept", "pool"), {"low": 500}))
    yield of("rate", changed(RATE, 10))
    yield of("rate-object", changed(RATE, {"per_second": 10}))
    yield of("rate-burst", changed(RATE, {"per_second": 1, "burst": 1000000}))
    for index, networks in enumerate(GOOD_NETWORKS):
        yield of(f"allow-{index}", changed((*A, "allow"), networks))
        yield of(f"deny-{index}", changed((*A, "deny"), networks))
    deep = {}
    for _ in range(60):
        deep = {"d": deep}  # document, listeners, a, config, and 60 below it: 64
    yield of("depth-64", changed((*A, "config"), deep))
    for path, low, high in RANGES:
        yield of(f"{name_of(path)}-least", changed(path, low))
        yield of(f"{name_of(path)}-most", changed(path, high))
    for path, words in CHOICES:
        for word in (word for word in words if word != "udp"):  # the plugin here serves connections
            yield of(f"{path[-1]}-{word}", changed(path, word))
    for path in BOOLS:
        yield of(f"{path[-1]}-false", changed(path, False))
    for index, address in enumerate(GOOD_ADDRESSES):
        yield of(f"address-{index}", changed((*A, "address"), address))


def bad_range_cases():
    for path, low, high in RANGES:
        rule = f"{pointer(path)}: expected a whole number from {low} to {high}, found "
        name = name_of(path)
        yield of(f"{name}-below", changed(path, low - 1), rule + str(low - 1))
        yield of(f"{name}-above", changed(path, high + 1), rule + str(high + 1))
        yield of(f"{name}-fraction", changed(path, low + 0.5), rule + f"{low + 0.5:.17g}")
        for value in ("1", None, True, []):
            yield of(f"{name}-{found(value)}", changed(path, value), rule + found(value))


def bad_value_cases():
    for path, words in CHOICES:
        allowed = " or ".join(f'"{word}"' for word in words)
        yield of(f"{path[-1]}-another", changed(path, "nonsense"),
                 f'{pointer(path)}: expected {allowed}, found "nonsense"')
        yield of(f"{path[-1]}-number", changed(path, 1),
                 f"{pointer(path)}: expected {allowed}, found a number")
        typo = words[0][:-1]
        yield of(f"{path[-1]}-typo", changed(path, typo),
                 f'{pointer(path)}: expected {allowed}, found "{typo}" (did you mean '
                 f'"{words[0]}"?)')
    for path in BOOLS:
        yield of(f"{path[-1]}-string", changed(path, "yes"),
                 f"{pointer(path)}: expected true or false, found a string")
    for path in OBJECTS:
        yield of(f"{name_of(path)}-is-array", changed(path, []),
                 f"{pointer(path)}: expected an object, found an array")
    for index, address in enumerate(BAD_ADDRESSES):
        yield of(f"bad-address-{index}", changed((*A, "address"), address), f"{pointer(A)}/address: ")
    yield of("address-number", changed((*A, "address"), 5001), f"{pointer(A)}/address: expected an "
             'address like "127.0.0.1:5001" or "[::1]:5001", found a number')
    yield of("address-none", changed((*A, "address"), []),
             f"{pointer(A)}/address: expected 1 to 16 addresses, found 0")
    yield of("address-second-bad", changed((*A, "address"), ["127.0.0.1:0", "x"]),
             f"{pointer(A)}/address/1: ")
    for key in ("allow", "deny"):
        at = f"{pointer(A)}/{key}"
        for index, network in enumerate(BAD_NETWORKS):
            yield of(f"bad-{key}-{index}", changed((*A, key), ["::1", network]), f"{at}/1: ")
        yield of(f"{key}-number", changed((*A, key), [8]), f"{at}/0: expected a network like "
                 '"10.0.0.0/8" or "2001:db8::/32", found a number')
        yield of(f"{key}-text", changed((*A, key), "10.0.0.0/8"),
                 f"{at}: expected an array of networks, found a string")
        yield of(f"{key}-empty", changed((*A, key), []), f"{at}: expected 1 to 1024 networks, found 0; "
                 "leave the key out to have no such list")
        yield of(f"{key}-too-many", changed((*A, key), ["::1"] * 1025),
                 f"{at}: expected 1 to 1024 networks, found 1025")
    rule = "expected a whole number from 1 to 1000000"
    yield of("rate-0", changed(RATE, 0), f"{pointer(RATE)}: {rule}, found 0")
    yield of("rate-text", changed(RATE, "10"), f"{pointer(RATE)}: {rule} (connections a second), or an "
             'object with "per_second" and "burst", found a string')
    yield of("rate-burst-alone", changed(RATE, {"burst": 5}),
             f'{pointer(RATE)}: the key "per_second" is missing')
    yield of("rate-burst-0", changed(RATE, {"per_second": 1, "burst": 0}),
             f"{pointer(RATE)}/burst: {rule}, found 0")
    yield of("rate-typo", changed(RATE, {"per_second": 1, "bursts": 1}),
             f'{pointer(RATE)}/bursts: unknown key (did you mean "burst"?)')
    yield of("proxy-without-from", changed((*A, "proxy_protocol"), {}),
             f'{pointer(A)}/proxy_protocol: the key "from" is missing')
    yield of("proxy-from-nobody", changed((*A, "proxy_protocol"), {"from": []}),
             f"{pointer(A)}/proxy_protocol/from: expected 1 to 1024 networks, found 0")
    yield of("proxy-timeout-0", changed((*A, "proxy_protocol"), {"from": ["::1"], "timeout_ms": 0}),
             f"{pointer(A)}/proxy_protocol/timeout_ms: expected a whole number from 100 to ")
    yield of("keepalive-without-idle", changed((*A, "socket"), {"keepalive": {}}),
             f'{pointer(A)}/socket/keepalive: the key "idle_s" is missing')
    yield of("keepalive-idle-0", changed((*A, "socket"), {"keepalive": {"idle_s": 0}}),
             f"{pointer(A)}/socket/keepalive/idle_s: expected a whole number from 1 to 32767, found 0")
    yield of("keepalive-in-ms", changed((*A, "socket"), {"keepalive": {"idle_s": 1, "idle_ms": 1}}),
             f'{pointer(A)}/socket/keepalive/idle_ms: unknown key (did you mean "idle_s"?)')
    yield of("plugin-path", changed((*A, "plugin"), "../echo"), f"{pointer(A)}/plugin: expected a "
             "plugin's id (1 to 63 of a-z, 0-9 and -; no path, no suffix), found something else")
    yield of("plugin-suffix", changed((*A, "plugin"), "echo.so"), f"{pointer(A)}/plugin: ")
    yield of("plugin-null", changed((*A, "plugin"), None), f"{pointer(A)}/plugin: ")
    yield of("workers-0", changed((*HOST, "workers"), 0), "/host/workers: expected \"auto\" or a "
             "whole number from 1 to 64, found 0")
    yield of("workers-word", changed((*HOST, "workers"), "many"), "/host/workers: ")
    yield of("buffers-bytes-odd", changed((*HOST, "buffers", "bytes"), 5000),
             "/host/buffers/bytes: expected a multiple of 4096, found 5000")
    yield of("host-name-bad", changed((*HOST, "name"), "a b"), "/host/name: expected a name ")
    yield of("plugin-files-too-small", changed((*HOST, "plugin_files"), {"bytes_max": 4095}),
             "/host/plugin_files/bytes_max: expected a whole number from 4096 to 1073741824, found 4095")
    yield of("plugin-files-untrusted", changed((*HOST, "plugin_files"), {"untrusted": "lod"}),
             '/host/plugin_files/untrusted: expected "refuse" or "load", found "lod" (did you mean "load"?)')
    yield of("plugin-files-copies-empty", changed((*HOST, "plugin_files"), {"copies": ""}),
             "/host/plugin_files/copies: expected a string that is not empty, found an empty one")
    yield of("plugins-empty", changed((*HOST, "plugins"), ""),
             "/host/plugins: expected a string that is not empty, found an empty one")
    yield of("version-2", changed(("manifest",), 2), "/manifest: expected 1, the version of the "
             "manifest that this host reads")
    yield of("version-text", changed(("manifest",), "1"), "/manifest: expected 1, ")
    yield of("schema-number", {"$schema": 1, **GOOD}, "/$schema: expected a string, found a number")
    yield of("document-array", [GOOD], "/: expected an object, found an array")
    yield of("no-listeners", changed(("listeners",), {}), "/listeners: expected at least one listener")
    yield of("listener-bad-name", changed(("listeners", "a b"), GOOD["listeners"]["a"]),
             "/listeners/a b: not a listener's name ")


def bad_key_cases():
    for path in OBJECTS[:4] + OBJECTS[4:8]:
        key = "nothing_like_it"
        yield of(f"{name_of(path)}-unknown-key", changed((*path, key), 1),
                 f"{pointer((*path, key))}: unknown key; known here: ")
    yield of("typo-listeners", {**GOOD, "listenrs": {}},
             '/listenrs: unknown key (did you mean "listeners"?)')
    yield of("typo-accept", changed((*A, "acept"), {}),
             f'{pointer(A)}/acept: unknown key (did you mean "accept"?)')
    for path, typo in [
        ((*HOST, "limits", "descriptors_reserved"), "descriptor_reserved"),
        ((*HOST, "direct_descriptors"), "direct_descriptor"),
        ((*A, "accept", "pending_max"), "pendingmax"),
        ((*A, "accept", "at_limit"), "at_limits"),
        ((*A, "limits", "refusing"), "refusin"),
        (RATE, "accept_rate_per_clients"),
        ((*A, "limits", "clients_remembered"), "client_remembered"),
        ((*A, "allow"), "alow"),
        ((*A, "deny"), "denny"),
        ((*A, "idle_timeout_ms"), "idle_timeout"),
        ((*A, "proxy_protocol"), "proxy_protokol"),
        ((*A, "limits", "send_queue_full"), "send_queue_ful"),
    ]:
        wrong = (*path[:-1], typo)
        yield of(f"typo-{typo}", changed(wrong, 1),
                 f'{pointer(wrong)}: unknown key (did you mean "{path[-1]}"?)')
    yield of("typo-case", changed((*A, "Plugin"), "echo"),
             f'{pointer(A)}/Plugin: unknown key (did you mean "plugin"?)')
    yield of("key-with-control-characters", changed((*A, "a\nb\x7f"), 1),
             f"{pointer(A)}/a\\u000ab\\u007f: unknown key")
    yield of("address-with-control-characters", changed((*A, "address"), "1\x1b[31m\r"),
             f'{pointer(A)}/address: "1\\u001b[31m\\u000d": ')
    for key in ("address", "allow"):
        long = "x" * 63 + "\u00e9"  # what is quoted ends within the last character
        yield of(f"{key}-cut-within-a-character", changed((*A, key), [long]),
                 f'{pointer(A)}/{key}/0: "{"x" * 63}": ')
    yield of("key-with-slash", changed((*A, "a/b~c"), 1), f"{pointer(A)}/a~1b~0c: unknown key")
    yield of("no-manifest", changed(("manifest",), DROP), '/: the key "manifest" is missing')
    yield of("no-listeners-key", changed(("listeners",), DROP), '/: the key "listeners" is missing')
    yield of("no-address", changed((*A, "address"), DROP), '/listeners/a: the key "address" is missing')
    yield of("no-plugin", changed((*A, "plugin"), DROP), '/listeners/a: the key "plugin" is missing')
    yield Case(
        "everything-at-once",
        '{\n  "manifest": 3,\n  "hots": {},\n  "listeners": {\n    "a": { "adress": 1, "plugin": 2 }\n'
        "  }\n}\n",
        [
            "2:15: /manifest: expected 1, ",
            '3:3: /hots: unknown key (did you mean "host"?)',
            '5:10: /listeners/a: the key "address" is missing',
            '5:12: /listeners/a/adress: unknown key (did you mean "address"?)',
            "5:35: /listeners/a/plugin: expected a plugin's id ",
        ],
    )


def text_of_good(old, new):
    text = json.dumps(GOOD)
    assert old in text
    return text.replace(old, new)


def bad_syntax_cases():
    not_json = "not JSON: there is nothing to compare"
    for name, text, message in [
        ("empty", "", "1:1: /: the file ends where a value is expected"),
        ("comma-last", text_of_good('"echo"}', '"echo",}'), ": a comma behind the last item"),
        ("comment", "// hello\n" + json.dumps(GOOD), "1:1: /: expected a value; JSON has no comments"),
        ("single-quotes", "{'manifest': 1}", "1:2: /: expected a key in double quotes; JSON's quotes"),
        ("garbage-behind", json.dumps(GOOD) + "x", "expected nothing more behind the document"),
        ("two-documents", "{}{}", "1:3: /: expected nothing more behind the document"),
        ("bad-escape", text_of_good('"echo"', '"\\x"'), "/listeners/a/plugin: an unknown escape"),
        ("short-escape", text_of_good('"echo"', '"\\u12"'), "\\u needs four hexadecimal digits"),
        ("lone-surrogate", text_of_good('"echo"', '"\\ud800"'), "half of a surrogate pair"),
        ("nul-escape", text_of_good('"echo"', '"a\\u0000b"'), "must not hold the character \\u0000"),
        ("control-character", text_of_good('"echo"', '"a\nb"'), "a control character in a string"),
        ("leading-zero", text_of_good(" 1,", " 01,"), "/manifest: a number must not begin with a zero"),
        ("plus", text_of_good(" 1,", " +1,"), "/manifest: expected a value, found '+'"),
        ("point-alone", text_of_good(" 1,", " 1.,"), "expected a digit behind the point"),
        ("exponent-alone", text_of_good(" 1,", " 1e,"), "expected a digit in the exponent"),
        ("nan", text_of_good(" 1,", " NaN,"), "/manifest: expected a value, found 'N'"),
        ("word", text_of_good(" 1,", " tru,"), "/manifest: expected a value"),
        ("no-colon", '{"manifest" 1}', "expected ':' behind the key"),
        ("no-comma", '{"manifest": 1 "listeners": {}}', "expected ',' or '}'"),
        ("unclosed", '{"manifest": 1', "the file ends where ',' or '}' is expected"),
        ("unclosed-string", '{"manifest', "this string does not end"),
        ("not-utf8", b'{"manifest": "\xff"}', "not UTF-8"),
        ("overlong-utf8", b'{"manifest": "\xc0\x80"}', "not UTF-8"),
        ("utf16", json.dumps(GOOD).encode("utf-16"), "1:1: /: expected a value, found the byte 0x"),
        ("deep", "[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ("very-deep", "[" * 500000, "nested deeper than 64 levels"),
    ]:
        yield Case(name, text, [message], schema_is_silent=not_json)
    yield Case("over-a-mebibyte", json.dumps(GOOD) + " " * 1048576, ["1:1: /: the file "],
               schema_is_silent="the size of the text is no part of the document")
    deep = {}
    for _ in range(61):
        deep = {"d": deep}
    yield of("depth-65", changed((*A, "config"), deep), "nested deeper than 64 levels",
             schema_is_silent="the depth is a limit of the reader")


def bad_together_cases():
    twice = "JSON Schema sees one of two equal keys"
    yield Case("key-twice", text_of_good('"plugin"', '"plugin": "x", "plugin"'),
               ["/listeners/a/plugin: this key is here a second time: keep one of them"],
               schema_is_silent=twice)
    yield Case("address-twice", text_of_good('"address"', '"address": ["127.0.0.1:1"], "address"'),
               ["/listeners/a/address: this key is here a second time: keep one of them"],
               schema_is_silent=twice)
    yield Case("listeners-twice", text_of_good('"listeners"', '"listeners": {"b": 1}, "listeners"'),
               ["/listeners/b: expected an object, found a number",
                "/listeners: this key is here a second time: keep one of them"],
               schema_is_silent=twice)
    yield Case("key-twice-by-escape", text_of_good('"plugin"', '"plugin": "x", "plu\\u0067in"'),
               ["/listeners/a/plugin: this key is here a second time: keep one of them"],
               schema_is_silent=twice)
    yield Case("listener-twice",
               '{"manifest": 1, "listeners": {"a": {"address": "127.0.0.1:0", "plugin": "echo"},\n'
               ' "a": {"address": "127.0.0.1:0", "plugin": "echo"}}}',
               ["2:2: /listeners/a: this key is here a second time: keep one of them"],
               schema_is_silent=twice)
    for key in ("allow", "deny"):
        yield of(f"{key}-bits-behind", changed((*A, key), ["10.1.2.3/8"]), f'{pointer(A)}/{key}/0: '
                 '"10.1.2.3/8": bits are set behind the prefix; the network is "10.0.0.0/8"',
                 schema_is_silent="JSON Schema does not compute")
        yield Case(f"{key}-twice", text_of_good('"plugin"', f'"{key}": ["::1"], "{key}": ["::2"], "plugin"'),
                   [f"/listeners/a/{key}: this key is here a second time: keep one of them"],
                   schema_is_silent=twice)
    order = "JSON Schema does not compare values"
    pool = f"{pointer(A)}/accept/pool"
    yield of("pool-low-above-high", changed((*A, "accept", "pool"), {"low": 9, "high": 8}),
             f"{pool}/low: 9 is above the pool's \"high\", which is 8", schema_is_silent=order)
    yield of("pool-initial-above-high", changed((*A, "accept", "pool"), {"initial": 9, "high": 8}),
             f"{pool}/initial: 9 is above the pool's \"high\", which is 8", schema_is_silent=order)
    yield of("direct-on-epoll", changed(HOST, {"engine": "epoll", "direct_descriptors": 1000}),
             '/host/direct_descriptors: only the engine "io_uring" has them, and "engine" is "epoll"',
             schema_is_silent=order)
    yield of("work-min-above-max", changed((*HOST, "work"), {"threads_min": 17}),
             "/host/work/threads_min: 17 is above \"threads_max\", which is 16",
             schema_is_silent=order)
    yield of("proxy-bits-behind", changed((*A, "proxy_protocol"), {"from": ["10.1.2.3/8"]}),
             f'{pointer(A)}/proxy_protocol/from/0: "10.1.2.3/8": bits are set behind the prefix',
             schema_is_silent=order)
    for path, value in [
        (("accept", "when"), "data"), (("proxy_protocol",), {"from": ["::1"]}),
        (("limits", "active_io"), 1), (("idle_timeout_ms",), 1),
    ]:
        manifest = changed((*A, *path), value)
        manifest["listeners"]["a"]["transport"] = "udp"
        yield of(f"udp-with-{name_of(path)}", manifest,
                 f'{pointer((*A, *path))}: this is about connections, and "transport" is "udp"',
                 schema_is_silent=order)
    yield of("v6-only-without-ipv6", changed((*A, "v6_only"), True),
             f"{pointer(A)}/v6_only: true, but the listener has no IPv6 address",
             schema_is_silent=order)
    of_machine = "what a machine has, and what an address means, is no matter of its form"
    for name, address, says in [
        ("zone-unknown", "[fe80::1%nowhere]:1", 'this machine has no network interface "nowhere"'),
        ("zone-of-loopback-unknown", "[::1%nowhere]:1", "this machine has no network interface"),
        ("zone-number-unknown", "[fe80::1%4000000]:1", "this machine has no network interface"),
        ("zone-is-missing", "[fe80::1]:1", "a link-local address needs the network interface"),
        ("mapped", "[::ffff:1.2.3.4]:9", 'no socket can listen at; write "1.2.3.4:9"'),
        ("mapped-any", "[::ffff:0:0]:9", 'no socket can listen at; write "0.0.0.0:9"'),
    ]:
        yield of(f"address-{name}", changed((*A, "address"), address),
                 f'{pointer(A)}/address: "{address}": {says}' if "mapped" not in name else
                 f'{pointer(A)}/address: "{address}": an IPv4 address in the form of an IPv6 one, which {says}',
                 schema_is_silent=of_machine)
    for key in ("allow", "deny"):
        yield of(f"{key}-zone-unknown", changed((*A, key), ["fe80::%nowhere/64"]),
                 f'{pointer(A)}/{key}/0: "fe80::%nowhere/64": this machine has no network interface',
                 schema_is_silent=of_machine)
    for name, first, second in [
        ("same", "127.0.0.1:5001", "127.0.0.1:5001"),
        ("any", "0.0.0.0:5001", "127.0.0.1:5001"),
        ("dual-stack", "[::]:5001", "127.0.0.1:5001"),
    ]:
        manifest = changed(("listeners", "b"), {"address": second, "plugin": "echo"})
        manifest["listeners"]["a"]["address"] = first
        yield of(f"clash-{name}", manifest,
                 "/listeners/b/address/0: the same address and port are taken by listener \"a\"",
                 schema_is_silent=order)


BAD = [
    *bad_range_cases(), *bad_value_cases(), *bad_key_cases(), *bad_syntax_cases(),
    *bad_together_cases(),
]
CASES = [*good_cases(), *BAD]

def _refuse(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("a key is there twice")
    return dict(pairs)


@pytest.fixture(scope="module")
def validator(request):
    path = request.config.rootpath / "config" / "berth.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_corpus_is_large_and_its_names_are_unique():
    names = [case.name for case in CASES]
    assert len(CASES) >= 60 and len(names) == len(set(names)), sorted(names)


def test_corpus_schema_agrees(validator):
    """Where it is silent the reason stands in the case; the checker's word is tested below."""
    wrong = []
    for case in CASES:
        if not case.schema_is_silent:
            document = json.loads(case.text.decode("utf-8-sig"), object_pairs_hook=_refuse)
            if validator.is_valid(document) != (not case.messages):
                wrong.append(case.name)
    assert not wrong


def _answers(system, paths):
    """What the checker says of each file: its lines, without the file's name."""
    program = system.fixtures.parent / "corpus" / ("corpus.exe" if system.is_windows else "corpus")
    system.hold()
    names = [system.path(path) for path in paths]
    result = subprocess.run([*system.runner(), str(program)], input="\n".join(names), encoding="utf-8",
                            capture_output=True, timeout=300, env=system.environment(), check=False)
    assert result.returncode == 0, result
    _, *parts = re.split(r"^= ", result.stderr, flags=re.MULTILINE)
    assert len(parts) == len(names), result.stderr[-2000:]
    for name, part in zip(names, parts):
        heading, *lines = part.splitlines()
        assert heading == name
        yield [line.removeprefix(f"{name}:") for line in lines]


def _is_as_told(lines, messages):
    for line, message in zip(lines, messages):
        place, _, rest = line.partition(": ")
        if not re.fullmatch(r"\d+:\d+", place) or message not in f"{place}: {rest}":
            return False
    return len(lines) == len(messages)


def test_corpus_checker_says(system, tmp_path):
    paths = [tmp_path / f"{index}.json" for index in range(len(CASES))]
    for path, case in zip(paths, CASES):
        path.write_bytes(case.text)
    wrong = [f"{case.name}: {lines}, expected {case.messages}"
             for case, lines in zip(CASES, _answers(system, paths)) if not _is_as_told(lines, case.messages)]
    assert not wrong, "\n".join(wrong)


ONE_OF_EACH = ("least", "everything-at-once", "key-twice", "no-plugin", "bad-address-0", "very-deep")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_corpus_verb_says_the_same(name, system, tmp_path):
    case = next(case for case in CASES if case.name == name)
    path = tmp_path / "m.json"
    path.write_bytes(case.text)
    result = run_berth(system, ["check", system.path(path)], tmp_path)
    if not case.messages:
        assert result.code == 0 and result.output.rstrip().endswith("ok"), result
        return
    lines = [line.removeprefix(f"{system.path(path)}:") for line in result.errors.splitlines()]
    assert result.code == 78 and _is_as_told(lines, case.messages), result
