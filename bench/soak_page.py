"""The soak's report: one HTML page without anything from elsewhere, its plots as inline SVG."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 220, 56, 28
_COLOURS = ("#3366cc", "#dc3912", "#ff9900", "#109618", "#990099", "#0099c6", "#dd4477", "#66aa00", "#b82e2e")
_INTRODUCTION = (
    "Inbox 70 %, ticket 15 %, webhooks 10 %, drafts 5 %. A latency counts from the moment at which its request was "
    "due; percentiles are of all requests."
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .8rem; border-bottom: 1px solid #ddd;
text-align: right } td:first-child, th:first-child { text-align: left } svg { width: 100%; height: auto }
svg text { font-size: 11px; fill: #555 } .bad { color: #b00; font-weight: bold }
"""


def page(told: Mapping[str, Any]) -> str:
    """Return the page for what `bench.soak` told."""
    watched, times = told["watched"], told["over_time"]
    flat = {name: value for name, value in told["ratios"].items() if name.startswith(("memory.", "files."))}
    asked = (
        f"{told['rate']:g} requests a second, open loop, over {told['shops']} shops with {told['tickets']:,} tickets."
    )
    parts = [
        f"<h1>{told['minutes']:g} minutes of mixed traffic</h1>",
        f"<p>{asked} {_INTRODUCTION}</p>",
        "<h2>Latency, ms</h2>",
        _table(told["latency_ms"]),
        plot({"p50": (times["seconds"], times["p50"]), "p99": (times["seconds"], times["p99"])}, "inbox, ms"),
        "<h2>Inbox by size of the shop, ms</h2>",
        _table({f"{row['shops']} with {row['tickets']} tickets": row for row in told["inbox_by_size"]}),
        "<h2>Memory and open files</h2>",
        plot({name: (watched["seconds"], rows) for name, rows in watched["mib"].items()}, "MiB"),
        plot({name: (watched["seconds"], rows) for name, rows in watched["files"].items()}, "open files"),
        "<p>Middle of the last quarter of the time divided by that of the first:</p>",
        _pairs(flat, bad=lambda value: value > 1.1),  # noqa: PLR2004 - a tenth more is not flat
        "<h2>Answers</h2>",
        _pairs(told["statuses"]),
        "<h2>Webhooks</h2>",
        _pairs(told["webhooks"]),
        "<p>By how many milliseconds the generator itself was late:</p>",
        _pairs(told["generator_late_ms"]),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Soak</title><style>{_STYLE}</style>{body}</html>'
    )


def plot(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], unit: str) -> str:
    """Return lines over seconds as SVG, with a scale from zero to the highest value."""
    highest = max((max(ys, default=0.0) for _, ys in series.values()), default=0.0) or 1.0
    longest = max((max(xs, default=0.0) for xs, _ in series.values()), default=0.0) or 1.0
    parts = []
    for step in range(5):
        y = HEIGHT - BOTTOM - step / 4 * (HEIGHT - BOTTOM - 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{highest * step / 4:,.4g}</text>')
        x = LEFT + step / 4 * (WIDTH - LEFT - 30)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 10}">{longest * step / 4:,.0f} s</text>')
    for number, (name, (xs, ys)) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{LEFT + x / longest * (WIDTH - LEFT):.1f},{HEIGHT - BOTTOM - y / highest * (HEIGHT - BOTTOM - 10):.1f}"
            for x, y in zip(xs, ys, strict=True)
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        x, y = LEFT + 8 + number % 3 * 200, HEIGHT + 14 + number // 3 * 14
        parts.append(f'<text x="{x}" y="{y}" style="fill:{colour}">{html.escape(name)}</text>')
    height = HEIGHT + 20 + (len(series) + 2) // 3 * 14
    label = html.escape(unit)
    begin = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}"><title>{label}</title>'
    return f"{begin}{''.join(parts)}</svg>"


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = list(next(iter(rows.values())))
    columns = [column for column in columns if column not in ("shops", "tickets")]
    head = "".join(f"<th>{html.escape(column)}</th>" for column in ("", *columns))
    lines = []
    for name, row in rows.items():
        cells = "".join(f"<td>{row.get(column, '')}</td>" for column in columns)
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _pairs(pairs: Mapping[str, Any], bad: Callable[[Any], bool] | None = None) -> str:
    lines = [
        f"<tr><td>{html.escape(str(name))}</td>"
        f"<td{' class=bad' if bad is not None and bad(value) else ''}>{html.escape(str(value))}</td></tr>"
        for name, value in pairs.items()
    ]
    return f"<table>{''.join(lines)}</table>"
