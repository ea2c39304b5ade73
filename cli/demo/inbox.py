"""Shows a shop's inbox in the order in which it should be answered."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from cli.demo.letters import TICKETS
from cli.demo.world import ShopRecord, gateway_client
from cli.errors import CommandError
from cli.output import print_table

_ARRIVAL_SECONDS = 30.0
_PROFILE_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_REASONS = 2
_COLUMNS = [
    ("#", "right"),
    ("score", "right"),
    ("number", "left"),
    ("subject", "left"),
    ("priority", "left"),
    ("customer value", "right"),
    ("churn", "right"),
    ("age", "right"),
    ("why", "left"),
]


async def show_inbox(record: ShopRecord, https_url: str, ca_file: str) -> None:
    """Wait until the demo tickets have arrived and print the ordered inbox as a table.

    Raises:
        CommandError: the gateway refused, or the tickets did not arrive in time.
    """
    async with gateway_client(https_url, ca_file, **{"x-api-key": record.api_key}) as client:
        tickets = await _arrived(client)
        details = await asyncio.gather(*(_details(client, ticket) for ticket in tickets))
    rows = [_row(rank, *found) for rank, found in enumerate(zip(tickets, details, strict=True), start=1)]
    print_table(f"{record.name}: the inbox, first what can least afford to wait", _COLUMNS, rows)


async def _arrived(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return the inbox as soon as all tickets stand in it, and their customers are known (or have had time to be)."""
    started = time.monotonic()
    while True:
        tickets = await _get(client, "/api/tickets?status=open&smart_order=true&limit=100")
        found: list[dict[str, Any]] = tickets["tickets"]
        waited = time.monotonic() - started
        complete = len(found) >= TICKETS
        if complete and (waited > _PROFILE_SECONDS or await _all_known(client, found)):
            return found
        if waited > _ARRIVAL_SECONDS:
            raise CommandError(
                f"Only {len(found)} of {TICKETS} demo tickets arrived within {_ARRIVAL_SECONDS:.0f} s: "
                "see `rapport logs crm` and `rapport logs tickets`.",
                reason="DEMO_INCOMPLETE",
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def _all_known(client: httpx.AsyncClient, tickets: list[dict[str, Any]]) -> bool:
    tickets_in_full = await asyncio.gather(*(_get(client, f"/api/tickets/{ticket['id']}") for ticket in tickets))
    return all(ticket.get("customer_profile") for ticket in tickets_in_full)


async def _details(client: httpx.AsyncClient, ticket: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a ticket in full and the breakdown of its score."""
    path = f"/api/tickets/{ticket['id']}"
    return await _get(client, path), await _get(client, f"{path}/score-breakdown")


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    if not answer.is_success:
        raise CommandError(f"The gateway answered {answer.status_code} to GET {path}.", reason="GATEWAY_REFUSED")
    found: dict[str, Any] = answer.json()
    return found


def _row(rank: int, ticket: dict[str, Any], details: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    full, breakdown = details
    profile = full.get("customer_profile") or {}
    value = profile.get("business_metrics", {}).get("lifetime_value")
    churn = profile.get("churn_risk", {}).get("churn_risk_score")
    return [
        str(rank),
        f"{ticket['smart_score']:.2f}",
        str(full.get("ticket_number", "")),
        ticket["subject"],
        ticket["priority"],
        "" if value is None else f"{value:,.2f}",
        "" if churn is None else f"{churn:.0%}",
        _age(ticket["created_at"]),
        _why(breakdown),
    ]


def _age(created_at: str) -> str:
    minutes = int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds() // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 - minutes of an hour


def _why(breakdown: dict[str, Any]) -> str:
    """Return the strongest parts of a score."""
    parts = breakdown.get("components") or []
    strongest = sorted(parts, key=lambda part: -abs(float(part.get("points", 0))))[:_REASONS]
    return "; ".join(str(part.get("label") or part.get("name", "")) for part in strongest)
