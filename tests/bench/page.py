"""The report as one HTML page: tables, and bar charts as SVG; nothing is loaded from elsewhere."""

import html

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em;
       color: #1c2024; background: #fff; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.2em; }
table { border-collapse: collapse; margin: .6em 0 1em; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #d9dde2; }
th:first-child, td:first-child, .text { text-align: left; }
tr.berth td { font-weight: 600; background: #eef5ff; } tr.skipped td { color: #777; }
code, pre { font: 13px/1.4 ui-monospace, monospace; } pre { white-space: pre-wrap; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
@media (prefers-color-scheme: dark) {
  body { color: #e3e6ea; background: #15181c; } th, td { border-color: #333a42; }
  tr.berth td { background: #1c2b40; } }
"""

COLOURS = {"berth": "#2f6fd0", "model": "#6b7683", "peer": "#c2803a"}


def _bytes(value):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    return ""


def shown(key, value):
    """A figure as text."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if key in ("memory", "sockets", "kernel", "sent_per_second", "received_per_second"):
        return _bytes(value)
    if key == "cpu_share":
        return f"{100 * value:.0f} %"
    if key in ("cpu_us", "ratio", "requests", "requests_but_fd"):
        return f"{value:.2f}"
    if key in ("start_ms", "p50_us", "p99_us", "max_us", "arriving_p50_us", "arriving_p99_us",
               "arriving_max_us", "reply_p99_us"):
        return f"{value:,.1f}"
    return f"{value:,.0f}"


def samples_text(row):
    """How many were compared; fewer than were wanted when the machine gave no more of a kind."""
    wanted = row.get("wanted", row["samples"])
    return f"{row['samples']}" if row["samples"] >= wanted else f"{row['samples']} of {wanted} wanted"


def notes_of(row):
    """What went wrong with a server, beside its figures."""
    notes = [f"{row['name']}: a turn failed: {text}" for text in row.get("failed", [])]
    return notes + ([f"{row['name']}: {row['first_error']}"] if row.get("first_error") else [])


def _kind(key):
    return " class=text" if key == "said" else ""


def table(columns, rows):
    head = "".join(f"<th{_kind(key)}>{html.escape(title)}</th>" for key, title in columns)
    lines = [f"<table><tr><th>server</th>{head}<th>samples</th></tr>"]
    for row in rows:
        if "skipped" in row:
            lines.append(f"<tr class=skipped><td>{html.escape(row['name'])}</td>"
                         f"<td class=text colspan={len(columns) + 1}>skipped: "
                         f"{html.escape(row['skipped'])}</td></tr>")
            continue
        cells = "".join(f"<td{_kind(key)}>{html.escape(shown(key, row.get(key)))}</td>"
                        for key, _ in columns)
        lines.append(f"<tr class={row['kind']}><td>{html.escape(row['name'])}</td>{cells}"
                     f"<td>{samples_text(row)}</td></tr>")
    return "\n".join([*lines, "</table>"])


def chart(key, title, rows):
    """Bars, shortest first: less is better in every chart here."""
    bars = sorted((r for r in rows if r.get(key) is not None and "skipped" not in r),
                  key=lambda row: row[key])
    if not bars:
        return ""
    most = max(row[key] for row in bars) or 1
    height, parts = 22 * len(bars) + 6, []
    for index, row in enumerate(bars):
        y, width = 22 * index + 3, 420 * row[key] / most
        parts.append(
            f'<text x="170" y="{y + 13}" text-anchor="end">{html.escape(row["name"])}</text>'
            f'<rect x="178" y="{y}" width="{width:.1f}" height="17" '
            f'fill="{COLOURS[row["kind"]]}"/>'
            f'<text x="{183 + width:.1f}" y="{y + 13}">{html.escape(shown(key, row[key]))}</text>')
    return (f'<svg role="img" aria-label="{html.escape(title)}" width="680" height="{height}" '
            f'viewBox="0 0 680 {height}">{"".join(parts)}</svg>')


def _facts(report):
    facts = [("date", report["date"]), *report["machine"].items(), *report["versions"].items()]
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td class=text>{html.escape(str(text))}</td>"
                    "</tr>" for name, text in facts)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report["notes"])
    return f"<table>{cells}</table><ul>{notes}</ul>"


def _suite(suite):
    parts = [f"<h2>{html.escape(suite['title'])}</h2><p>{html.escape(suite['text'])}</p>",
             f"<p>Again: <code>{html.escape(suite['repeat'])}</code></p>"]
    titles = dict(suite["columns"])
    for case in suite["cases"]:
        parts.append(f"<h3>{html.escape(case['name'])}</h3>")
        parts.append(chart(suite["chart"], f"{case['name']}: {titles[suite['chart']]}",
                           case["rows"]))
        parts.append(table(suite["columns"], case["rows"]))
        lines = [f"core to core {case['latency_ns']:.0f} ns"] if case["latency_ns"] else []
        if case["left_out"]:
            lines.append(f"{case['left_out']} samples at another core-to-core latency left out")
        lines += [note for row in case["rows"] for note in notes_of(row)]
        parts.append(f"<p>{html.escape('; '.join(lines))}</p>")
        if case["command"]:
            parts.append(f"<pre>{html.escape(case['command'])}</pre>")
        parts.append(_commands(case["rows"]))
    return "\n".join(parts)


def _commands(rows):
    """How each server was started and configured, and how the client asked it."""
    parts = []
    for row in rows:
        if "server" not in row:
            continue
        texts = [" ".join(row["server"]["command"]), " ".join(row.get("command", []))]
        texts += [f"{name}:\n{text.strip()}" for name, text in row["server"]["files"].items()]
        parts.append(f"<h4>{html.escape(row['name'])}</h4>"
                     + "".join(f"<pre>{html.escape(text)}</pre>" for text in texts if text))
    return (f"<details><summary>commands and configurations</summary>{''.join(parts)}</details>"
            if parts else "")


def page(report):
    suites = "\n".join(_suite(suite) for suite in report["suites"])
    return (f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Berth, measured</title>"
            f"<meta name=viewport content='width=device-width'><style>{STYLE}</style></head><body>"
            f"<h1>Berth, measured</h1><p>Medians of interleaved samples, taken side by side in one "
            f"run. The main measure is the processor time of the server for each operation: user "
            f"and system together. Absolute figures are this machine's; the ratios travel better."
            f"</p>{_facts(report)}{suites}</body></html>\n")
