"""The report as Markdown, to be kept with the sources: a part for each suite, of its latest run."""

import re

import page

HEAD = """# Berth, measured

Written by `./dev bench`: each part is of the latest run of its suite, on the machine that it names.
Medians of interleaved samples, taken side by side in one run. The main measure is the processor time
of the server for each operation, user and system together. Absolute figures are that machine's; the
ratios (× best raw: to the best of the raw models) travel better. How long a cache line takes from the
server's core to the client's is measured before and after each sample, and only samples are compared
between which that differs by less than half; others are taken again. How every server was started and
configured stands in `build/bench/report.html`, which the same commands write.
"""

PART = re.compile(r"^<!-- suite ([\w-]+) -->\n(.*?)(?=^<!-- suite |\Z)", re.M | re.S)


def _cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def _table(columns, rows):
    titles = [title for _, title in columns]
    lines = ["| server | " + " | ".join(map(_cell, titles)) + " | samples |",
             "|---|" + "---:|" * (len(titles) + 1)]
    for row in rows:
        name = f"**{row['name']}**" if row["kind"] == "berth" else row["name"]
        if "skipped" in row:
            cells = ["skipped: " + row["skipped"], *[""] * len(titles)]
        else:
            cells = [page.shown(key, row.get(key)) for key, _ in columns] + [page.samples_text(row)]
        lines.append("| " + " | ".join(map(_cell, [name, *cells])) + " |")
    return "\n".join(lines)


def plain(command):
    """A command without the folders of this machine, and without what is another in every run."""
    words = re.sub(r" --(json|server-pid) \S+", "", command).split(" ")
    return " ".join([words[0].rpartition("/")[2], *words[1:-1], "ADDRESS"])


def part(report, suite):
    """The text of one suite."""
    facts = {**report["machine"], **report["versions"]}
    lines = [f"## {suite['title']}", "", suite["text"], "",
             f"{report['date']}. " + "; ".join(f"{name} {text}" for name, text in facts.items())
             + ". " + "; ".join(report["notes"]) + ".", "", f"Again: `{suite['repeat']}`."]
    for case in suite["cases"]:
        lines += ["", f"### {case['name']}", ""]
        if case["latency_ns"]:
            lines += [f"Core to core {case['latency_ns']:.0f} ns; samples at another latency, left "
                      f"out: {case['left_out']}.", ""]
        lines.append(_table(suite["columns"], case["rows"]))
        if case["command"]:
            lines += ["", f"Client: `{plain(case['command'])}`"]
        errors = [note for row in case["rows"] for note in page.notes_of(row)]
        if errors:
            lines += ["", *(f"- {_cell(error)}" for error in errors)]
    return "\n".join(lines) + "\n"


def parts(text):
    """The suites that a text has, by name."""
    return {name: body.strip() + "\n" for name, body in PART.findall(text)}


def merged(old, report, order):
    """The old text with the suites of this report in place of their like."""
    all_parts = parts(old)
    all_parts.update((suite["name"], part(report, suite)) for suite in report["suites"])
    known = [name for name in order if name in all_parts]
    return "\n".join([HEAD, *(f"<!-- suite {name} -->\n{all_parts[name]}" for name in known)])
