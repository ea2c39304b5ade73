"""All SQL about what is kept of requests that were refused: nothing of it is processed unless a person says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.admission import Admission
from services.crm.deliveries import State
from services.crm.judging import INTERESTS
from services.crm.tables import connections, dedupe_keys, deliveries


@dataclass(frozen=True, slots=True)
class Late:
    """A delivery that came too late for its proof, and the key that it has if it was admitted before."""

    admission: Admission
    admitted_key: bytes


class Kept(Enum):
    """What became of a delivery: it is kept now, is a copy of a kept or an admitted one, or its connection is full."""

    NEW = auto()
    COPY = auto()
    FULL = auto()


class QuarantineStore:
    """The deliveries that are kept without processing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, tenant_id: UUID, late: Sequence[Late], *, reason: str, most: int) -> list[Kept]:
        """Keep deliveries of one tenant for a person's decision; return what became of each.

        A connection has `most` of them at a time at the most. Copies of what was admitted are not kept.
        """
        async with self._database.tenant(tenant_id) as transaction:
            return [await self._keep(transaction, each, reason, most) for each in late]

    async def _keep(self, transaction: AsyncConnection, late: Late, reason: str, most: int) -> Kept:
        new = late.admission
        here = (connections.c.tenant_id == new.tenant_id, connections.c.id == new.connection_id)
        # What is admitted meanwhile refers to the connection, and does not wait for this.
        held = select(connections.c.id).where(*here).with_for_update(key_share=True)
        if (await transaction.execute(held)).first() is None:
            return Kept.FULL
        kept = select(func.count()).where(
            deliveries.c.tenant_id == new.tenant_id,
            deliveries.c.state == State.QUARANTINED.value,
            deliveries.c.connection_id == new.connection_id,
            deliveries.c.reason.in_(INTERESTS),
        )
        admitted = select(dedupe_keys.c.key).where(
            dedupe_keys.c.tenant_id == new.tenant_id, dedupe_keys.c.key == late.admitted_key
        )
        if (await transaction.execute(kept)).scalar_one() >= most:
            return Kept.FULL
        if (await transaction.execute(admitted)).first():
            return Kept.COPY
        key = upsert(dedupe_keys).values(
            tenant_id=new.tenant_id, key=new.dedupe_key, duplicates=0, create_time=new.received
        )
        counted = key.on_conflict_do_update(
            index_elements=[dedupe_keys.c.tenant_id, dedupe_keys.c.key],
            set_={"duplicates": dedupe_keys.c.duplicates + 1},
        ).returning(dedupe_keys.c.duplicates)
        if (await transaction.execute(counted)).scalar_one():
            return Kept.COPY
        await transaction.execute(
            insert(deliveries).values(
                tenant_id=new.tenant_id,
                id=new.delivery_id,
                connection_id=new.connection_id,
                provider=new.provider,
                state=State.QUARANTINED.value,
                reason=reason,
                attempts=0,
                secret_version=new.secret_version,
                dedupe_key=new.dedupe_key,
                conversation=new.conversation,
                key_version=new.key_version,
                payload=new.payload,
                receive_time=new.received,
                state_time=new.received,
            )
        )
        return Kept.NEW
