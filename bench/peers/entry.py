"""How the peers with an ORM begin each request: the credential checked, and a transaction that sees one tenant."""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, HTTPException
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(
    os.environ["PEER_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The ORM's registry."""


class ApiKey(Base):
    """An API key."""

    __tablename__ = "api_keys"
    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]


@asynccontextmanager
async def tenant_session(tenant_id: UUID) -> AsyncIterator[AsyncSession]:
    """Open a transaction that sees one tenant."""
    async with sessions() as session, session.begin():
        await session.execute(text("SELECT set_config('peer.tenant_id', :id, true)"), {"id": str(tenant_id)})
        yield session


known_keys: dict[str, tuple[UUID, float]] = {}


async def tenant_of(x_api_key: Annotated[str, Header()]) -> UUID:
    """Find the tenant of an API key; kept for 30 seconds, as the gateway keeps it."""
    found = known_keys.get(x_api_key)
    if found and found[1] > time.monotonic():
        return found[0]
    async with sessions() as session:
        tenant_id = await session.scalar(
            select(ApiKey.tenant_id).where(ApiKey.key_hash == hashlib.sha256(x_api_key.encode()).digest())
        )
    if tenant_id is None:
        raise HTTPException(401, "The API key is not valid.")
    known_keys[x_api_key] = (tenant_id, time.monotonic() + 30)
    return tenant_id


Tenant = Annotated[UUID, Depends(tenant_of)]
"""The tenant of the caller."""
