"""Put what a run of the drills measured into the table of docs/drills.md.

`make drill` writes the report; `python -m tools.drills REPORT…` writes the table from it (several are put together).
"""

import json
import sys
from pathlib import Path
from typing import Any

from tools.documents import ROOT, table

PAGE = ROOT / "docs" / "drills.md"
BEGIN, END = "<!-- drills -->\n", "<!-- /drills -->"
HEAD = ("Drill", "Seconds", "What people and helpdesks see", "Recovery, s")


def seen(drill: dict[str, Any]) -> str:
    """Say in words what users of the suite noticed."""
    parts = []
    if drill["failed"]:
        failed = sum(drill["failed"].values())
        parts.append(f"{failed} of {drill['reads']} requests failed ({_named(drill['failed'])})")
    if drill["slow"]:
        parts.append(f"{drill['slow']} of {drill['reads']} took longer than a second")
    if drill["repeated"]:
        parts.append(f"webhooks were sent again ({_named(drill['repeated'])})")
    if fetched := drill["remarks"].get("fetched"):
        parts.append(f"{fetched} tickets that had to be fetched came after the outage")
    if not parts:
        return f"nothing (longest answer {drill['longest_ms'] / 1000:.2f} s)"
    return f"{'; '.join(parts)}; longest answer {drill['longest_ms'] / 1000:.1f} s"


def _named(statuses: dict[str, int]) -> str:
    return ", ".join(name for name, _ in sorted(statuses.items(), key=lambda item: -item[1]))


def rendered(drills: list[dict[str, Any]]) -> str:
    """Return the table."""
    rows = [
        (drill["name"], f"{drill['seconds']:g}" if drill["seconds"] else "at once", seen(drill), _recovered(drill))
        for drill in drills
    ]
    return table(HEAD, rows)


def _recovered(drill: dict[str, Any]) -> str:
    return f"{drill['recovery_seconds']:.1f}"


def main() -> None:
    """Write the table from the reports that are named."""
    drills = [drill for name in sys.argv[1:] for drill in json.loads(Path(name).read_text(encoding="utf-8"))["drills"]]
    if not drills:
        sys.exit(__doc__)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{rendered(drills)}{END}{after}", encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(drills)} drills")


if __name__ == "__main__":
    main()
