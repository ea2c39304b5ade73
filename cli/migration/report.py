"""What a check of a migration found: findings in sections, green or red with evidence, as JSON and as one page."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.migration.plan import State

MOST_DETAILS = 20
"""How many single rows a finding names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what must be so, as a short sentence.
        state: "green", "yellow" for what was not looked at or must be looked at by a person, or "red".
        evidence: what was seen.
        advice: what to do where it is not green.
        details: single rows, at most `MOST_DETAILS`.
    """

    name: str
    state: State
    evidence: str
    advice: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Findings that belong together."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ShopTable:
    """What moved to a shop, on both sides, and the checksums of all its tickets and of all its orders."""

    slug: str
    tickets: tuple[int, int]
    messages: tuple[int, int]
    notes: tuple[int, int]
    checksums: tuple[str, str]
    orders: tuple[int, int]
    order_lines: tuple[int, int]
    order_checksums: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it; `seconds` is how long it took."""

    sections: tuple[Section, ...]
    shops: tuple[ShopTable, ...] = ()
    seconds: float = 0.0
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def green(self) -> bool:
        """Whether nothing is red."""
        return not any(one.state == "red" for section in self.sections for one in section.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, with the result: the worst of what was found."""
        return {"result": self.result} | asdict(self)

    @property
    def result(self) -> State:
        """The worst state of all findings."""
        if not self.green:
            return "red"
        return "yellow" if self._to_look_at else "green"

    @property
    def verdict(self) -> str:
        """The result as a sentence."""
        if not self.green:
            return "Not everything is green."
        return f"Nothing is red; {self._to_look_at} need a look." if self._to_look_at else "Everything is green."

    @property
    def _to_look_at(self) -> int:
        return sum(one.state == "yellow" for section in self.sections for one in section.findings)

    def as_html(self) -> str:
        """Return it as one page without scripts and without anything from elsewhere."""
        parts = [*(_section(section) for section in self.sections), _shops(self.shops)]
        verdict = f'<span class="{self.result}">{self.verdict}</span>'
        head = f"<h1>Migration: {verdict}</h1><p>{escape(self.made)}, {self.seconds:.0f} s</p>"
        opening = f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>Migration</title><style>{_STYLE}</style>"
        return "\n".join([opening, head, *parts, ""])

    def lines(self) -> Iterable[str]:
        """Give it as lines of text."""
        for section in self.sections:
            yield section.title
            for one in section.findings:
                yield f"  {one.state:<7}{one.name}: {one.evidence}"
                if one.advice and one.state != "green":
                    yield f"         → {one.advice}"
                yield from (f"         {detail}" for detail in one.details)


def bounded(details: Sequence[str]) -> tuple[str, ...]:
    """Return the first details, and how many there are more."""
    more = len(details) - MOST_DETAILS
    return (*details[:MOST_DETAILS], *([f"and {more} more"] if more > 0 else []))


def write_page(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        CommandError: the file cannot be written.
    """
    try:
        path.write_text(report.as_html(), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror}.", reason="FILE_UNWRITABLE") from error


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;width:100%;margin-bottom:1.5rem}
td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #dde3ea}
.green{color:#0a7d33}.yellow{color:#9a6700}.red{color:#c01c28}td.green,td.yellow,td.red{font-weight:600}
code,small{color:#52606d}ul{margin:.3rem 0 0;padding-left:1.1rem}
"""


def _section(section: Section) -> str:
    rows = "".join(
        f'<tr><td class="{one.state}">{one.state}</td><td>{escape(one.name)}</td><td>{escape(one.evidence)}'
        f"{_advice(one)}{_details(one)}</td></tr>"
        for one in section.findings
    )
    return f"<h2>{escape(section.title)}</h2><table>{rows}</table>"


def _advice(one: Finding) -> str:
    return f"<br><small>{escape(one.advice)}</small>" if one.advice and one.state != "green" else ""


def _details(one: Finding) -> str:
    if not one.details:
        return ""
    return f"<ul>{''.join(f'<li><small>{escape(detail)}</small></li>' for detail in one.details)}</ul>"


def _shops(shops: Sequence[ShopTable]) -> str:
    if not shops:
        return ""
    rows = "".join(
        f"<tr><td>{escape(shop.slug)}</td>"
        + _counts(shop.tickets, shop.messages, shop.notes)
        + _checksums(shop.checksums)
        + _counts(shop.orders, shop.order_lines)
        + _checksums(shop.order_checksums)
        + "</tr>"
        for shop in shops
    )
    checksums = "<th>checksum, old<th>checksum, new"
    head = f"<th>tickets, old / new<th>messages<th>notes{checksums}<th>orders<th>lines{checksums}"
    return f"<h2>Shops</h2><table><tr><th>shop{head}</tr>{rows}</table>"


def _counts(*both: tuple[int, int]) -> str:
    return "".join(f"<td>{old:,} / {new:,}</td>" for old, new in both)


def _checksums(both: tuple[str, str]) -> str:
    return "".join(f"<td><code>{escape(one[:16])}</code></td>" for one in both)
