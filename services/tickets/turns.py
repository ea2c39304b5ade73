"""Long work asked for by many: one at a time for each tenant, and no more than a few waiting."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from services.tickets.errors import TooManyReplaysError


class Turns:
    """Gives turns; what is asked for beyond `of_tenant`, or `overall`, under way or waiting is refused at once."""

    def __init__(self, of_tenant: int, overall: int) -> None:
        self._of_tenant = of_tenant
        self._overall = overall
        self._alone: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._asked: Counter[UUID] = Counter()

    @asynccontextmanager
    async def turn(self, tenant_id: UUID) -> AsyncIterator[None]:
        """Wait for the tenant's earlier turns to end, and have one for as long as the context lasts.

        Raises:
            TooManyReplaysError: as many as may are under way or wait already.
        """
        if self._asked[tenant_id] >= self._of_tenant or self._asked.total() >= self._overall:
            raise TooManyReplaysError
        self._asked[tenant_id] += 1
        try:
            async with self._alone.setdefault(tenant_id, asyncio.Lock()):
                yield
        finally:
            self._asked[tenant_id] -= 1
            # Tenants that ask for nothing leave nothing behind.
            self._asked += Counter()
