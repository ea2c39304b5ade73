"""The method `predecessor`: all tickets of the list are loaded, with three more queries for each one, and then sorted.

Its score is the predecessor's own: 3 for churn, 2 for each thousand spent, 1.5 for the priority, and the age.
"""

import os
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(
    os.environ["PEER_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10
)
URGENCY = {"low": 0.5, "normal": 1.0, "high": 3.0, "urgent": 4.0}
app = FastAPI()

TENANT = "SELECT tenant_id FROM api_keys WHERE key_hash = sha256(cast(:key AS bytea))"
TICKETS = "SELECT * FROM tickets WHERE tenant_id = :tenant AND status = :status"
COUNT = "SELECT count(*) FROM messages WHERE tenant_id = :tenant AND ticket_id = :ticket"
LAST = "SELECT * FROM messages WHERE tenant_id = :tenant AND ticket_id = :ticket ORDER BY created_at DESC LIMIT 1"
PROFILE = "SELECT value, churn FROM profiles WHERE tenant_id = :tenant AND customer_id = :customer"


@app.get("/api/tickets")
async def inbox(request: Request, status: str = "open", page: int = 1, limit: int = 50) -> dict[str, Any]:
    """Return a page of the inbox; 3N + 2 queries for N tickets of the list."""
    async with engine.begin() as connection:
        key = request.headers.get("x-api-key", "").encode()
        tenant: UUID = (await connection.execute(text(TENANT), {"key": key})).scalar_one()
        await connection.execute(text("SELECT set_config('peer.tenant_id', :id, true)"), {"id": str(tenant)})
        found = (await connection.execute(text(TICKETS), {"tenant": tenant, "status": status})).mappings().all()
        cards = []
        for row in found:
            here = {"tenant": tenant, "ticket": row["id"]}
            count = (await connection.execute(text(COUNT), here)).scalar_one()
            last = (await connection.execute(text(LAST), here)).mappings().one()
            who = {"tenant": tenant, "customer": row["customer_id"]}
            profile = (await connection.execute(text(PROFILE), who)).mappings().one_or_none()
            cards.append(card(dict(row), count, last, profile))
    cards.sort(key=lambda one: -one["smart_score"])
    first = (page - 1) * limit
    pagination = {"page": page, "limit": limit, "total": len(cards), "total_pages": -(-len(cards) // limit)}
    return {"tickets": cards[first : first + limit], "pagination": pagination, "smart_order_enabled": True}


def card(row: dict[str, Any], count: int, last: Any, profile: Any) -> dict[str, Any]:
    """Return a ticket as the inbox shows it, with its score."""
    hours = (datetime.now(UTC) - row["created_at"]).total_seconds() / 3600
    value, churn = (profile["value"], profile["churn"]) if profile else (0.0, 0.0)
    score = 3 * churn + 2 * value / 1000 + 1.5 * URGENCY[row["priority"]] + 1 / max(hours, 0.1)
    row.pop("card")
    row.pop("rank_key")
    return {
        **row,
        "message_count": count,
        "last_message_preview": last["content"][:100],
        "smart_score": round(score, 3),
        "scored_at": time.time(),
    }
