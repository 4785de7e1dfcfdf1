#!/usr/bin/env python3
"""The include graph of host/: units, rooms, arrows and cycles.

A unit is a header with the sources that implement it: NAME.h, NAME.c, and NAME_*.c without a header of
their own. A room is a folder.

    tests/support/include_graph.py             prints the rooms, the arrows between them, and the cycles
    tests/support/include_graph.py --dot       prints the rooms as a graph for Graphviz
    tests/support/include_graph.py --dot net   prints the units of the rooms that begin so
"""

import collections
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]

# Each may include from those after it.
ROOMS = ["control", "devkit", "command", "plugin", "net/run", "net/listen", "net/conn", "net/lib", "manifest",
         "engine", "os", "base"]


class Unit:
    def __init__(self, name, room):
        self.name = name
        self.room = room
        self.files = []
        self.includes = set()


def _owner(path, headers):
    """The header that a source implements: its own, else the one with the longest name it begins with."""
    stem = path.with_suffix("")
    if stem.with_suffix(".h") in headers:
        return stem
    words = path.stem.split("_")
    for count in range(len(words) - 1, 0, -1):
        other = path.with_name("_".join(words[:count]))
        if other.with_suffix(".h") in headers:
            return other
    return stem


def _room(stem):
    parts = stem.parts[:-1]
    return "/".join(parts[:2]) if parts[:1] == ("net",) else parts[0] if parts else "programs"


def units(top=TOP / "host"):
    """All units by their names, which are paths below host/."""
    files = [path.relative_to(top) for path in sorted(top.rglob("*.[ch]"))]
    headers = {path for path in files if path.suffix == ".h"}
    found = {}
    for path in files:
        stem = _owner(path, headers)
        unit = found.setdefault(str(stem), Unit(str(stem), _room(stem)))
        unit.files.append(path)
        for name in re.findall(r'^#include "([\w/]+)\.h"', (top / path).read_text(encoding="utf-8"), re.MULTILINE):
            if pathlib.Path(name + ".h") in headers and name != str(stem):
                unit.includes.add(name)
    return found


def cycles(edges):
    """The sets of more than one node that can all reach each other (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def unit_cycles(all_units):
    return cycles({unit.name: unit.includes for unit in all_units.values()})


def room_arrows(all_units):
    """How many includes lead from a room to another one."""
    arrows = collections.Counter()
    for unit in all_units.values():
        for name in unit.includes:
            if all_units[name].room != unit.room:
                arrows[unit.room, all_units[name].room] += 1
    return arrows


def room_cycles(all_units):
    edges = collections.defaultdict(set)
    for one, other in room_arrows(all_units):
        edges[one].add(other)
    return cycles(edges)


def wrong_arrows(all_units):
    """Includes that lead up in ROOMS, as lines."""
    for unit in all_units.values():
        for name in sorted(unit.includes):
            rooms = [unit.room, all_units[name].room]
            if all(room in ROOMS for room in rooms) and ROOMS.index(rooms[0]) > ROOMS.index(rooms[1]):
                yield f"{unit.name} ({rooms[0]}) includes {name} ({rooms[1]})"


def _print_table(all_units):
    rooms = collections.defaultdict(list)
    for unit in all_units.values():
        rooms[unit.room].append(unit)
    arrows = room_arrows(all_units)
    print(f"{'ROOM':12} {'UNITS':>5} {'FILES':>5}  INCLUDES FROM (UNIT TO UNIT)")
    for room in sorted(rooms, key=lambda one: (ROOMS.index(one) if one in ROOMS else -1, one)):
        to = ", ".join(f"{other} {count}" for (one, other), count in sorted(arrows.items()) if one == room)
        print(f"{room:12} {len(rooms[room]):5} {sum(len(u.files) for u in rooms[room]):5}  {to}")
    for what, found in (("cycles between rooms", room_cycles(all_units)),
                        ("cycles of units", unit_cycles(all_units))):
        print(f"\n{what}: {len(found)}")
        for one in found:
            print(f"  {len(one)}: {' '.join(one)}")
    wrong = list(wrong_arrows(all_units))
    print(f"\nincludes against the order of the rooms: {len(wrong)}")
    for line in wrong:
        print(f"  {line}")


def _print_dot(all_units, begin):
    print("digraph includes {\n  rankdir=TB; node [shape=box];")
    if begin is None:
        for (one, other), count in sorted(room_arrows(all_units).items()):
            print(f'  "{one}" -> "{other}" [label={count}];')
    else:
        shown = {unit.name: unit for unit in all_units.values() if unit.room.startswith(begin)}
        for room in sorted({unit.room for unit in shown.values()}):
            names = " ".join(f'"{u.name}";' for u in shown.values() if u.room == room)
            print(f'  subgraph "cluster_{room}" {{ label="{room}"; {names} }}')
        for unit in shown.values():
            for name in sorted(unit.includes & shown.keys()):
                print(f'  "{unit.name}" -> "{name}";')
    print("}")


def main(arguments):
    all_units = units()
    if arguments[:1] == ["--dot"]:
        _print_dot(all_units, arguments[1] if len(arguments) > 1 else None)
    else:
        _print_table(all_units)


if __name__ == "__main__":
    main(sys.argv[1:])
