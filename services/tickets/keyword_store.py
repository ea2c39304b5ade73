"""All SQL on a shop's keyword rules."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.tickets.keyword_rules import DEFAULT, KeywordRule, KeywordRules
from services.tickets.rows import Row
from services.tickets.tables import keyword_rules


@dataclass(frozen=True, slots=True)
class StoredRules:
    """A shop's rules with who changed them last, and when; nobody, for the default."""

    rules: KeywordRules = DEFAULT
    principal: str = ""
    update_time: datetime | None = None


class KeywordStore:
    """The keyword rules of one tenant, in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._known: StoredRules | None = None

    def know(self, stored: StoredRules) -> None:
        """Use rules that were read in this transaction."""
        self._known = stored

    async def get(self) -> StoredRules:
        """Return the rules."""
        if self._known is not None:
            return self._known
        query = select(keyword_rules).where(keyword_rules.c.tenant_id == self._tenant_id)
        row = (await self._connection.execute(query)).mappings().first()
        return rules_of(row) if row else StoredRules()

    async def lock(self) -> StoredRules:
        """Return the rules; nobody else can change them until the transaction ends."""
        lock = func.hashtextextended(f"rapport.tickets.keyword_rules:{self._tenant_id}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(lock)))
        return await self.get()

    async def put(self, stored: StoredRules) -> None:
        """Replace the rules."""
        values: dict[str, Any] = {
            "revision": stored.rules.revision,
            "rules": [asdict(rule) for rule in stored.rules.rules],
            "member_tags": list(stored.rules.member_tags),
            "principal": stored.principal,
            "update_time": stored.update_time,
        }
        statement = insert(keyword_rules).values(tenant_id=self._tenant_id, **values)
        statement = statement.on_conflict_do_update(index_elements=[keyword_rules.c.tenant_id], set_=values)
        await self._connection.execute(statement)
        self._known = stored


def rules_of(row: Row) -> StoredRules:
    """Return the rules of a row, whichever of the two drivers read it."""
    kept, tags = (orjson.loads(one) if isinstance(one, str) else one for one in (row["rules"], row["member_tags"]))
    rules = tuple(KeywordRule(one["name"], tuple(one["phrases"]), one["level"]) for one in kept)
    return StoredRules(KeywordRules(rules, tuple(tags), row["revision"]), row["principal"], row["update_time"])
