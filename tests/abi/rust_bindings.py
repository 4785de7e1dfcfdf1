"""Writes plugin-api/rust/src/raw.rs from the snapshot of the ABI's layout on Linux. That on Windows is the
same but for the functions' calling convention, which `extern "C"` is."""

import json
import pathlib
import re

HEAD = """//! The plugin ABI as it is, member by member: plugin-api/berth/*.h say what each means. Needs no `std`.
//!
//! Written by `./dev abi renew` from the snapshot of the layouts; do not edit.
#![allow(non_camel_case_types)]

use core::ffi::c_void;

#[cfg(all(target_arch = "aarch64", not(windows)))]
pub type c_char = u8;
#[cfg(not(all(target_arch = "aarch64", not(windows))))]
pub type c_char = i8;
"""

SCALARS = {"char": "c_char", "void": "c_void", "int32_t": "i32", "int64_t": "i64", "uint8_t": "u8",
           "uint16_t": "u16", "uint32_t": "u32", "uint64_t": "u64"}
U16 = ("BERTH_ABI_MAJOR", "BERTH_ABI_MINOR", "BERTH_ABI_DRAFT")
LEFT_OUT = ("BERTH_EXPORT", "BERTH_PLUGIN_ENTRY", "BERTH_PLUGIN_ENTRY_NAME", "BERTH_PLUGIN_MAGIC_DRAFT",
            "BERTH_PLUGIN_MAGIC_RELEASED")


def rust_type(text, functions):
    text = text.strip()
    call = re.fullmatch(r"(.*?)\((.*)\)", text)
    if call:
        return f"Option<{function_type(call, functions)}>"
    array = re.fullmatch(r"(.*)\[(\d+)\]", text)
    if array:
        return f"[{rust_type(array[1], functions)}; {array[2]}]"
    if text.endswith("*"):
        inner = text[:-1].strip()
        is_const = inner.startswith("const ") and not inner.endswith("*")
        inner = inner.removeprefix("const ") if is_const else inner
        return f"*{'const' if is_const else 'mut'} {rust_type(inner, functions)}"
    if text in functions:
        return f"Option<{text}>"
    return SCALARS.get(text, text.removeprefix("struct "))


def function_type(call, functions):
    arguments = [] if call[2] == "void" else [rust_type(one, functions) for one in call[2].split(",")]
    result = "" if call[1].strip() == "void" else f" -> {rust_type(call[1], functions)}"
    return f'unsafe extern "C" fn({", ".join(arguments)}){result}'


def constant(name, value):
    short = name.removeprefix("BERTH_")
    if isinstance(value, str):
        text = value.strip('"')
        return f'pub const {short}: &[u8] = b"{text}\\0";'
    if name in U16:
        return f"pub const {short}: u16 = {value};"
    kind = "i32" if name == "BERTH_OK" or name.startswith("BERTH_E_") else "u32"
    return f"pub const {short}: {kind} = {value};"


def source(snapshot):
    functions, structs = snapshot["functions"], snapshot["structs"]
    lines = [HEAD]
    lines += [constant(name, value) for name, value in sorted(snapshot["constants"].items())
              if name not in LEFT_OUT]
    text = json.dumps([functions, structs])
    opaque = sorted(set(re.findall(r"struct (berth_\w+)", text)) - set(structs))
    for name in opaque:
        lines += ["", "#[repr(C)]", f"pub struct {name} {{", "    _private: [u8; 0],", "}"]
    lines.append("")
    for name, signature in sorted(functions.items()):
        call = re.fullmatch(r"(.*?)\((.*)\)", signature)
        lines.append(f"pub type {name} = {function_type(call, functions)};")
    for name, struct in sorted(structs.items()):
        lines += ["", "#[repr(C)]", "#[derive(Clone, Copy)]", f"pub struct {name} {{"]
        lines += [f"    pub {member}: {rust_type(about['type'], functions)},"
                  for member, about in struct["members"].items()]
        lines.append("}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    top = pathlib.Path(__file__).parents[2]
    stored = (top / "tests" / "abi" / "linux-x86_64.json").read_text(encoding="utf-8")
    (top / "plugin-api" / "rust" / "src" / "raw.rs").write_text(source(json.loads(stored)), encoding="utf-8")
