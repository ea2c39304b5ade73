"""A study for people: a table, and a picture."""

from collections.abc import Iterator

from services.tickets.policies import BASE_RANGE, DEFAULT
from services.tickets.simulation.study import COSTS, EVERY, OURS, PREDECESSOR, Study

_WIDTH, _HEIGHT, _MARGIN, _PANEL = 360, 300, 48, 3


def table(found: Study) -> str:
    """Return the study as Markdown: one row for each policy, and what follows for the default."""
    letters = list(found.outcomes)
    heads = " | ".join(letters)
    rows = [f"| Policy | {heads} |", "| --- |" + " --- |" * len(letters)]
    rows += [
        f"| {name} | " + " | ".join(_cell(found, letter, name) for letter in letters) + " |"
        for name in found.outcomes[letters[0]]
    ]
    return "\n".join([*rows, "", *_findings(found)])


def _cell(found: Study, letter: str, name: str) -> str:
    """Return wTard / CoD / misses in % / longest wait."""
    mean = {measure: found.mean(letter, name, measure) for measure in ("wtard", "cod", "missed", "longest")}
    return f"{mean['wtard']:.2f} / {mean['cod']:.2f} / {100 * mean['missed']:.1f} / {mean['longest']:.0f}"


def _findings(found: Study) -> Iterator[str]:
    for letter in found.outcomes:
        differences = [found.difference(letter, OURS, PREDECESSOR, cost) for cost in COSTS]
        told = "; ".join(f"{mean:+.2f} ± {half:.2f}" for mean, half in differences)
        better = "beats the predecessor on both" if found.better(letter, OURS, PREDECESSOR) else "does not beat it"
        others = ", ".join(found.dominating(letter)) or "nothing"
        yield f"{letter} ({EVERY[letter].summary}): ours - predecessor {told}: {better}; better than ours: {others}"
    bound = BASE_RANGE / DEFAULT.gamma
    yield f"Latest overtaker in any run: {found.overtaken():.1f} h; bound {bound:.0f} h"


def plot(found: Study) -> str:
    """Return an SVG: for each scenario both costs of every policy, ours marked; nearer to the lower left is better."""
    letters = list(found.outcomes)
    lines = -(-len(letters) // _PANEL)
    width, height = _WIDTH * min(len(letters), _PANEL), _HEIGHT * lines
    size = f'width="{width}" height="{height}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="9">',
        f'<rect {size} fill="white"/>',
    ]
    for place, letter in enumerate(letters):
        drawn += _panel(found, letter, _WIDTH * (place % _PANEL), _HEIGHT * (place // _PANEL))
    return "\n".join([*drawn, "</svg>", ""])


def _panel(found: Study, letter: str, left: int, top: int) -> Iterator[str]:
    points = {
        name: (found.mean(letter, name, "wtard"), found.mean(letter, name, "cod")) for name in found.outcomes[letter]
    }
    # FIFO and its like are far out; what matters is near the default.
    farthest = [2.5 * max(points[OURS][axis], points[PREDECESSOR][axis] / 2.5) for axis in (0, 1)]
    nearest = [0.9 * min(point[axis] for point in points.values()) for axis in (0, 1)]
    inner_width, inner_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    yield f'<g transform="translate({left + _MARGIN},{top + _MARGIN})">'
    yield f'<rect width="{inner_width}" height="{inner_height}" fill="none" stroke="#999"/>'
    yield f'<text x="0" y="-8" font-size="11">{letter}: {EVERY[letter].summary}</text>'
    yield f'<text x="{inner_width / 2:.0f}" y="{inner_height + 26}" text-anchor="middle">weighted tardiness</text>'
    turned = f"translate(-34,{inner_height / 2:.0f}) rotate(-90)"
    yield f'<text transform="{turned}" text-anchor="middle">cost of delay</text>'
    for axis, x, y, anchor in ((0, 0, inner_height + 12, "start"), (1, -4, inner_height, "end")):
        yield f'<text x="{x}" y="{y}" text-anchor="{anchor}">{nearest[axis]:.2f}</text>'
    yield f'<text x="{inner_width}" y="{inner_height + 12}" text-anchor="end">{farthest[0]:.2f}</text>'
    yield f'<text x="-4" y="8" text-anchor="end">{farthest[1]:.2f}</text>'
    for name, point in points.items():
        if any(point[axis] > farthest[axis] for axis in (0, 1)):
            continue
        share = [(point[axis] - nearest[axis]) / (farthest[axis] - nearest[axis]) for axis in (0, 1)]
        across, down = share[0] * inner_width, (1 - share[1]) * inner_height
        colour, radius = {OURS: ("#c00", 5), PREDECESSOR: ("#06c", 5)}.get(name, ("#777", 3))
        yield f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{radius}" fill="{colour}"><title>{name}</title></circle>'
        yield f'<text x="{across + 6:.1f}" y="{down + 3:.1f}" fill="{colour}">{name}</text>'
    yield "</g>"
