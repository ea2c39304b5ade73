"""Shows a shop's inbox in the order in which it should be answered."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from cli.demo.world import ShopRecord, gateway_client
from cli.errors import CommandError
from cli.output import print_table

_ARRIVAL_SECONDS = 30.0
_PROFILE_SECONDS = 5.0
_LOOK_SECONDS = 0.2
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


async def show_inbox(record: ShopRecord, https_url: str, ca_file: str, *, expected: int) -> None:
    """Wait until so many tickets have arrived and print the ordered inbox as a table.

    Raises:
        CommandError: the gateway refused, or the tickets did not arrive in time.
    """
    async with gateway_client(https_url, ca_file, **{"x-api-key": record.api_key}) as client:
        found = await _arrived(client, expected)
    rows = [_row(rank, ticket, full) for rank, (ticket, full) in enumerate(found, start=1)]
    print_table(f"{record.name}: the inbox, first what can least afford to wait", _COLUMNS, rows)


async def _arrived(client: httpx.AsyncClient, expected: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each ticket as the inbox shows it and in full, as soon as all have arrived and their customers are known.

    A ticket may be there a moment before its customer's profile; that is waited for, but not for ever.
    """
    started = time.monotonic()
    while True:
        tickets = (await _get(client, "/api/tickets?status=open&smart_order=true&limit=100"))["tickets"]
        waited = time.monotonic() - started
        if len(tickets) >= expected:
            full = await asyncio.gather(*(_get(client, f"/api/tickets/{ticket['id']}") for ticket in tickets))
            if not expected or waited > _PROFILE_SECONDS or all(ticket["customer_profile"] for ticket in full):
                return list(zip(tickets, full, strict=True))
        elif waited > _ARRIVAL_SECONDS:
            raise CommandError(
                f"Only {len(tickets)} of {expected} demo tickets arrived within {_ARRIVAL_SECONDS:.0f} s: "
                "see `rapport logs crm` and `rapport logs tickets`.",
                reason="DEMO_INCOMPLETE",
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    if not answer.is_success:
        raise CommandError(f"The gateway answered {answer.status_code} to GET {path}.", reason="GATEWAY_REFUSED")
    found: dict[str, Any] = answer.json()
    return found


def _row(rank: int, ticket: dict[str, Any], full: dict[str, Any]) -> list[str]:
    profile = full["customer_profile"]
    return [
        str(rank),
        f"{ticket['smart_score']:.2f}",
        ticket["ticket_number"],
        ticket["subject"],
        ticket["priority"],
        f"{profile['business_metrics']['lifetime_value']:,.2f}" if profile else "",
        f"{profile['churn_risk']['churn_risk_score']:.0%}" if profile else "",
        _age(ticket["created_at"]),
        "; ".join(ticket["reasons"]),
    ]


def _age(created_at: str) -> str:
    minutes = int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds() // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 - minutes of an hour
