"""What is read before a ticket is placed: the rankings, what is known of its customer, and what its shop has set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.tickets.facts import Customer
from services.tickets.keyword_store import StoredRules, rules_of
from services.tickets.place_store import customer_of, rankings_of
from services.tickets.places import Rankings
from services.tickets.sla_rows import settings_of
from services.tickets.targets import SlaSettings
from services.tickets.topic_store import COLUMNS, IN_FORCE
from services.tickets.topics import TopicAlert

_SLA = ("revision", "calendar", "priorities", "tags", "principal", "update_time")
_RULES = ("revision", "rules", "member_tags", "principal", "update_time")
_BEFORE = f"""
SELECT r.number, r.policy_version, r.state, c.lifetime_value, c.churn_probability, c.origin, c.update_time,
    {", ".join(f"s.{name} AS sla_{name}" for name in _SLA)},
    {", ".join(f"k.{name} AS rules_{name}" for name in _RULES)},
    ARRAY(
        SELECT ROW({COLUMNS}) FROM tickets.topic_alerts WHERE tenant_id = $1 AND {IN_FORCE} ORDER BY id DESC
    ) AS alerts
FROM tickets.rankings r
LEFT JOIN tickets.customer_copies c ON c.tenant_id = $1 AND c.customer_id = $3
LEFT JOIN tickets.sla_settings s ON s.tenant_id = $1
LEFT JOIN tickets.keyword_rules k ON k.tenant_id = $1
WHERE r.tenant_id = $1 AND r.state <> 'retired'
"""  # noqa: S608 - only names of ours


@dataclass(frozen=True, slots=True)
class BeforePlacing:
    """All that placing a ticket needs but the ticket itself and its messages."""

    rankings: Rankings
    customer: Customer
    sla: SlaSettings
    rules: StoredRules
    alerts: Sequence[TopicAlert]


async def before_placing(
    driver: asyncpg.Connection, tenant_id: UUID, customer_id: str, now: datetime
) -> BeforePlacing | None:
    """Return it, in one statement; None when the tenant has no ranking yet. The placing lock must be held."""
    rows = await driver.fetch(_BEFORE, tenant_id, now, customer_id)
    if not rows:
        return None
    known = rows[0]
    return BeforePlacing(
        rankings_of(rows),
        customer_of(known),
        SlaSettings() if known["sla_revision"] is None else settings_of(_part(known, "sla_", _SLA)),
        StoredRules() if known["rules_revision"] is None else rules_of(_part(known, "rules_", _RULES)),
        [TopicAlert(*alert) for alert in known["alerts"]],
    )


def _part(row: Any, prefix: str, names: Sequence[str]) -> dict[str, Any]:
    return {name: row[prefix + name] for name in names}
