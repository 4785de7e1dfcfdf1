"""The ABI is what its snapshots say, on both systems, in C and in C++; and what may follow them. Runs
once, whatever builds are under test."""

import copy
import re
import shutil
import subprocess

import headers
import pytest
import snapshot

SYSTEMS = list(snapshot.COMPILERS)


@pytest.mark.parametrize("target", [pytest.param(name, marks=pytest.mark.quick if name == SYSTEMS[0] else ())
                                    for name in SYSTEMS])
def test_abi_is_as_its_snapshot(target):
    lines = snapshot.differences(snapshot.stored(target), snapshot.take(target))
    told = "\n".join(lines)
    assert not lines, f'{told}\nif that is what you want, "./dev abi renew" takes it over'


@pytest.mark.parametrize("target", SYSTEMS)
def test_abi_is_the_same_in_cpp(target):
    in_c, in_cpp = snapshot.take(target), snapshot.take(target, "c++")
    in_cpp["constants"] = {name: in_cpp["constants"][name] for name in in_c["constants"]}
    assert snapshot.differences(in_c, in_cpp) == []


def test_abi_is_laid_out_alike_on_both_systems():
    linux, windows = (snapshot.take(target) for target in SYSTEMS)
    assert linux["structs"] == windows["structs"]


@pytest.mark.parametrize("target", SYSTEMS)
def test_abi_has_no_holes(target, tmp_path):
    """A hole is a member that nobody has named: its bytes are anything at all."""
    source = tmp_path / "holes.c"
    lines = [f'#include "{name}"\n' for name in headers.headers()]
    source.write_text("".join(lines), encoding="ascii")
    compiler = snapshot.COMPILERS[target] + "gcc"
    done = subprocess.run(
        [compiler, "-std=c11", "-Wpadded", "-Werror", "-fsyntax-only", f"-I{headers.API}", source],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr


def test_abi_struct_that_may_grow_is_no_member_of_another():
    assert snapshot.embedded(snapshot.stored(SYSTEMS[0])) == []


def test_abi_struct_is_sized_or_said_never_to_change():
    """Every struct either begins with its size (the descriptor, with its magic before it) or stands
    under the words that it never changes."""
    texts = "".join((headers.API / name).read_text(encoding="utf-8") for name in headers.headers())
    for name, members in headers.structs().items():
        if "struct_size" in members:
            assert list(members).index("struct_size") == (1 if name == "berth_plugin" else 0), name
        else:
            comment = texts[: texts.index(f"struct {name} {{")].rsplit("/*", 1)[1]
            assert "Never changes" in comment, name


def test_abi_headers_hold_nothing_that_is_not_in_the_snapshot():
    """The reader of the headers has missed none of what the eye sees there."""
    stored = snapshot.stored(SYSTEMS[0])
    for name in headers.headers():
        text = (headers.API / name).read_text(encoding="utf-8")
        assert set(re.findall(r"^struct (\w+) \{", text, re.MULTILINE)) <= set(stored["structs"])
        assert set(re.findall(r"^typedef .*\*(\w+)\)\(", text, re.MULTILINE)) <= set(
            stored["functions"]
        )
        assert not re.search(r"\b(enum|union|long|wchar_t|size_t)\b.*;", headers._text(headers.API, name))


# -- what may follow a snapshot -----------------------------------------------------------------------


def member(offset, kind="uint32_t", size=4):
    return {"offset": offset, "size": size, "type": kind}


@pytest.fixture
def frozen():
    return {
        "constants": {"BERTH_ABI_DRAFT": 0, "BERTH_ABI_MAJOR": 1, "BERTH_ABI_MINOR": 0, "BERTH_E_OLD": -1},
        "structs": {
            "table": {"size": 8, "members": {"struct_size": member(0), "reserved": member(4)}},
            "pair": {"size": 8, "members": {"one": member(0), "other": member(4)}},
        },
        "functions": {"done_fn": "void(int32_t)"},
    }


@pytest.fixture
def grown(frozen):
    """One that has grown as it may."""
    new = copy.deepcopy(frozen)
    new["constants"].update(BERTH_ABI_MINOR=1, BERTH_E_NEW=-2)
    new["structs"]["table"]["size"] = 16
    new["structs"]["table"]["members"]["more"] = member(8, "void *", 8)
    new["structs"]["fresh"] = {"size": 4, "members": {"struct_size": member(0)}}
    new["functions"]["other_fn"] = "void(void)"
    return new


def test_frozen_abi_may_stay_as_it_is(frozen):
    assert snapshot.violations(frozen, copy.deepcopy(frozen)) == []


def test_frozen_abi_may_grow_at_the_end(frozen, grown):
    assert snapshot.violations(frozen, grown) == []


def test_release_candidate_may_change_in_any_way(frozen, grown):
    frozen["constants"]["BERTH_ABI_DRAFT"] = 1
    del grown["structs"]["pair"]
    assert snapshot.violations(frozen, grown) == []


def _melt(new):
    new["constants"]["BERTH_ABI_DRAFT"] = 1


def _keep_minor(new):
    new["constants"]["BERTH_ABI_MINOR"] = 0


def _change_major(new):
    new["constants"]["BERTH_ABI_MAJOR"] = 2


def _change_constant(new):
    new["constants"]["BERTH_E_OLD"] = -3


def _remove_constant(new):
    del new["constants"]["BERTH_E_OLD"]


def _change_function(new):
    new["functions"]["done_fn"] = "void(int64_t)"


def _remove_struct(new):
    del new["structs"]["pair"]


def _grow_the_unsized(new):
    new["structs"]["pair"]["size"] = 12
    new["structs"]["pair"]["members"]["third"] = member(8)


def _shrink(new):
    new["structs"]["table"] = {"size": 4, "members": {"struct_size": member(0)}}


def _insert(new):
    members = {"struct_size": member(0), "inserted": member(4), "reserved": member(8)}
    new["structs"]["table"] = {"size": 12, "members": members}


def _name_what_was_reserved(new):
    members = new["structs"]["table"]["members"]
    members["flags"] = members.pop("reserved")


def _change_type(new):
    new["structs"]["table"]["members"]["reserved"]["type"] = "int32_t"


FORBIDDEN = [
    _melt, _keep_minor, _change_major, _change_constant, _remove_constant, _change_function,
    _remove_struct, _grow_the_unsized, _shrink, _insert, _name_what_was_reserved, _change_type,
]


@pytest.mark.parametrize("change", FORBIDDEN, ids=lambda change: change.__name__.strip("_"))
def test_frozen_abi_refuses(frozen, grown, change):
    change(grown)
    assert snapshot.violations(frozen, grown) != []


def _replace(api, name, old, new):
    text = (api / name).read_text(encoding="utf-8")
    assert old in text
    (api / name).write_text(text.replace(old, new), encoding="utf-8")


def _define(api, name, value):
    path = api / "berth/abi.h"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(rf"{name} \d+", f"{name} {value}", text), encoding="utf-8")


def test_renewing_ends_with_the_freeze(tmp_path):
    """The whole way: taken, changed, renewed, frozen, changed, refused, grown."""
    api = shutil.copytree(headers.API / "berth", tmp_path / "api" / "berth").parent
    folder = tmp_path / "snapshots"
    folder.mkdir()
    _define(api, "BERTH_ABI_DRAFT", 1)
    _define(api, "BERTH_ABI_MINOR", 0)
    assert snapshot.renew(folder, api) == [] == snapshot.compare(folder, api)

    _replace(api, "berth/timer.h", "    uint32_t reserved;", "    uint32_t reserve;")
    assert len(snapshot.compare(folder, api)) == 4  # gone and new, on both systems
    assert snapshot.renew(folder, api) == [] == snapshot.compare(folder, api)

    _define(api, "BERTH_ABI_DRAFT", 0)
    assert snapshot.renew(folder, api) == []
    _replace(api, "berth/timer.h", "    uint32_t reserve;", "    uint32_t reserved;")
    assert snapshot.renew(folder, api) and snapshot.compare(folder, api)
    _replace(api, "berth/timer.h", "    uint32_t reserved;", "    uint32_t reserve;")
    assert snapshot.compare(folder, api) == []

    end = "    void(BERTH_CALL *destroy)(struct berth_timer *timer);\n"
    _replace(api, "berth/timer.h", end, end + "    void(BERTH_CALL *more)(void *argument);\n")
    assert all("BERTH_ABI_MINOR" in line for line in snapshot.renew(folder, api))
    _define(api, "BERTH_ABI_MINOR", 1)
    assert snapshot.renew(folder, api) == [] == snapshot.compare(folder, api)
