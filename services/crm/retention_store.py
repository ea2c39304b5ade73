"""The SQL of retention: every statement is a function of the migrations, which sees partitions and keys whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import func, select

from servicekit.database import Database


class RetentionStore:
    """What is too old, in the service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Be the only process that does this, for as long as the context lasts; False when another one does."""
        async with self._database.alone("crm.retention") as holds:
            yield holds is not None

    async def make_partitions(self, ahead: timedelta) -> int:
        """Make the partitions of the weeks to come; return how many were missing."""
        async with self._database.spanning() as connection:
            return int(await connection.scalar(select(func.crm.make_delivery_partitions(ahead))) or 0)

    async def drop_oldest(self, keep: timedelta) -> str | None:
        """Drop the oldest partition that ended before so long; return its name, None when there is none."""
        async with self._database.spanning() as connection:
            return await connection.scalar(select(func.crm.retire_deliveries(keep)))

    async def trim_kept(self, keep: timedelta, at_most: int) -> int:
        """Drop what outlived its partition and is done by now; return how many deliveries."""
        async with self._database.spanning() as connection:
            return int(await connection.scalar(select(func.crm.trim_kept_deliveries(keep, at_most))) or 0)

    async def forget_writes(self, keep: timedelta, at_most: int) -> int:
        """Drop changes of tickets at helpdesks that were done before so long; return how many."""
        async with self._database.spanning() as connection:
            return int(await connection.scalar(select(func.crm.forget_writes(keep, at_most))) or 0)

    async def drop_keys(self, keep: timedelta, at_most: int) -> int:
        """Drop deduplication keys that are older; return how many."""
        async with self._database.spanning() as connection:
            return int(await connection.scalar(select(func.crm.drop_dedupe_keys(keep, at_most))) or 0)

    async def forget_erasures(self, keep: timedelta) -> int:
        """Drop what is remembered of older erasures; return how many hashes."""
        async with self._database.spanning() as connection:
            return int(await connection.scalar(select(func.crm.forget_erasures(keep))) or 0)
