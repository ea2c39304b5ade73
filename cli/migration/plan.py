"""The plan of a migration: what `rapport migrate plan` found, what `run` does, and what `verify` checks against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cli.errors import CommandError
from cli.migration.mapping import Rules

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 1
"""The version of the file's format."""

State = Literal["green", "yellow", "red"]
Capture = Literal["logical", "delta"]
Kind = Literal["shared", "half", "single"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The source as it was found, without its address and without anybody's password.

    Attributes:
        fingerprint: the server's system identifier and the database's name: a run refuses another source.
        kind: "shared" (several shops with tenants), "half" (tenant columns added and filled in part), or "single".
        version: of Postgres, as the server says it.
        tables: where each table of the predecessor lies, "schema.table" by its own name.
        rows: how many rows each has.
        bytes: how much each takes with its indexes.
    """

    fingerprint: str
    kind: Kind
    version: str
    tables: Mapping[str, str]
    rows: Mapping[str, int]
    bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """A connection that the run makes.

    Attributes:
        provider: the helpdesk.
        source_tenant: the predecessor's tenant (id) whose `crm_config` holds the credentials.
        config: what is not secret, in Rapport's names.
        secrets: the names of the secrets, in Rapport's names; empty without the key. Only the run reads their values.
        unknown: names of the predecessor's that have no counterpart and stay behind.
        problem: why it cannot be made as it stands; empty when it can.
    """

    provider: str
    source_tenant: str
    config: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ShopPlan:
    """A shop that rows move to.

    Attributes:
        slug: its slug in Rapport; it is created when it is not there.
        name: its name for people.
        environment: "production", "staging" or "development".
        stores: the stores that are it.
        source_tenants: the predecessor's tenants (ids) that are it.
        connections: its connections.
        counts: what moves to it: customers, tickets, messages, notes, orders, order_lines, profiles.
        has_api_key: whether the predecessor knows a key of it; that key ends, and the run hands out a new one.
    """

    slug: str
    name: str
    environment: str = "production"
    stores: tuple[str, ...] = ()
    source_tenants: tuple[str, ...] = ()
    connections: tuple[ConnectionPlan, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    has_api_key: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one kind that share a reason, with the first few keys of them.

    Attributes:
        what: customers, tickets, messages, notes, orders, order_lines, tenants or connections.
        table: where they stand, "schema.table".
        reason: a fixed word.
        text: the reason in words.
        count: how many rows.
        examples: the keys of the first ones, with what is said of each.
    """

    what: str
    table: str
    reason: str
    text: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A prerequisite: its state, what was seen, and what to do where it is not green."""

    name: str
    state: State
    evidence: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """When to move: the quietest hours of the week, in UTC, from the times of messages.

    Attributes:
        weekday: 0 is Monday.
        hour: when it begins, 0 to 23.
        hours: how long it is.
        share: which part of a week's traffic falls into it, from 0 to 1.
        messages_per_hour: what it sees per hour on average.
        weeks: how many weeks were looked at.
        by_hour: messages in each hour of the week, from Monday 00:00 UTC on.
    """

    weekday: int
    hour: int
    hours: int
    share: float
    messages_per_hour: float
    weeks: float
    by_hour: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long the run may take, from a sample that was read and the rate at which Rapport is counted to take rows in.

    Attributes:
        sampled: how many tickets and order lines were read for it.
        read_seconds: what reading all would take at the pace of the sample.
        tickets_per_second: at which pace tickets are written.
        lines_per_second: the same for order lines.
        seconds: the whole run.
    """

    sampled: Mapping[str, int]
    read_seconds: float
    tickets_per_second: float
    lines_per_second: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the predecessor, translated; `ours` is what to set or to run, and holds no secret."""

    theirs: str
    ours: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it.

    Attributes:
        format: the version of the file's format.
        made: when, ISO 8601 in UTC.
        origin: the source.
        rules: what decides about rows; the run uses exactly these.
        shops: where rows move to.
        capture: how changes during the run are followed: "logical" replication, or repeated "delta".
        capture_reason: why.
        unmapped: rows that stay behind because nobody knows whose they are.
        conflicts: rows that stay behind because evidence points to several shops.
        invalid: rows that Rapport would not take.
        adapted: rows that move with a change, for example a channel that has another name.
        dropped: what is not moved at all, and why.
        checks: the prerequisites.
        window: when to move; None where there are no messages to tell from.
        estimate: how long it takes.
        settings: the predecessor's settings, translated.
    """

    format: int
    made: str
    origin: Origin
    rules: Rules
    shops: tuple[ShopPlan, ...]
    capture: Capture
    capture_reason: str
    unmapped: tuple[Group, ...] = ()
    conflicts: tuple[Group, ...] = ()
    invalid: tuple[Group, ...] = ()
    adapted: tuple[Group, ...] = ()
    dropped: tuple[Group, ...] = ()
    checks: tuple[Check, ...] = ()
    window: Window | None = None
    estimate: Estimate | None = None
    settings: tuple[Setting, ...] = ()

    def shop(self, slug: str) -> ShopPlan:
        """Return the shop with that slug.

        Raises:
            CommandError: the plan has none.
        """
        for shop in self.shops:
            if shop.slug == slug:
                return shop
        raise CommandError(f"The plan has no shop {slug}.", reason="SHOP_UNKNOWN")

    def to_json(self) -> str:
        """Return the file's text."""
        return _adapter().dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read a file's text.

        Raises:
            CommandError: it is no plan, or one of another version of this command.
        """
        from pydantic import ValidationError

        try:
            plan = _adapter().validate_json(text)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise CommandError(
                f"This is no plan of a migration: see {place or 'its beginning'}.", reason="PLAN_INVALID"
            ) from None
        if plan.format != FORMAT:
            raise CommandError("The plan was made by another version: make it anew.", reason="PLAN_INVALID")
        return plan

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Read a file.

        Raises:
            CommandError: it cannot be read, or is no plan.
        """
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"Cannot read the plan {path}.", reason="FILE_UNREADABLE") from error


def _adapter() -> "TypeAdapter[Plan]":
    from pydantic import TypeAdapter

    return TypeAdapter(Plan)
