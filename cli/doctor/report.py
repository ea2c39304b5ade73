"""What the doctor found, and how it is graded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from servicekit.diagnosis import Finding, State

COLOURS: Mapping[State, str] = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}
_ORDER = (State.OK, State.WARNING, State.FAILED)

DEFAULT_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as too little or too old.

    Attributes:
        free_bytes: the least free space on each disk that the suite writes to; half as much again is a warning.
        backup_hours: how old the newest backup may be; a quarter more is a failure.
        verified_days: how long ago a backup may have been restored for proof.
    """

    free_bytes: int = DEFAULT_FREE_BYTES
    backup_hours: float = 26.0
    verified_days: float = 35.0


@dataclass(frozen=True, slots=True)
class Located:
    """A finding, and where it was made: a process, or a part of the machine."""

    where: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one examination."""

    found: Sequence[Located]
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def state(self) -> State:
        """The worst there is."""
        return max((one.finding.state for one in self.found), key=_ORDER.index, default=State.OK)

    def of(self, state: State) -> list[Located]:
        """Return the findings of a state."""
        return [one for one in self.found if one.finding.state is state]

    def as_dict(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "state": COLOURS[self.state],
            "time": self.time.isoformat(timespec="seconds"),
            "counts": {COLOURS[state]: len(self.of(state)) for state in _ORDER},
            "findings": [
                {
                    "where": one.where,
                    "check": one.finding.check,
                    "state": COLOURS[one.finding.state],
                    "summary": one.finding.summary,
                    "remedy": one.finding.remedy,
                    "evidence": dict(one.finding.evidence),
                }
                for one in self.found
            ],
        }


def at(where: str, findings: Iterable[Finding]) -> list[Located]:
    """Return findings with the place where they were made."""
    return [Located(where, finding) for finding in findings]
