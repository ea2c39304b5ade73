"""What this process remembers of tenants that are refused: their data keys and addresses must not outlive them here."""

import asyncio
from collections.abc import Callable, Collection
from uuid import UUID

from services.crm.directory import Directory
from services.crm.keyring import Keyring

_SECONDS = 5.0


class Memory:
    """Drops what is remembered of tenants that are suspended, deleted or erased."""

    def __init__(self, keyring: Keyring, directory: Directory, refused_tenants: Callable[[], Collection[UUID]]) -> None:
        self._keyring = keyring
        self._directory = directory
        self._refused_tenants = refused_tenants

    def forget(self, tenant_id: UUID) -> None:
        """Forget a tenant's keys, and all addresses: they are looked up again within a second or two anyway."""
        self._keyring.forget(tenant_id)
        self._directory.forget()

    async def run(self) -> None:
        """Forget the keys of whoever is refused, and those that may not be used any more, every few seconds.

        An erasure is told to one process of the service; this is how the others come to drop the keys.
        """
        while True:
            for tenant_id in self._refused_tenants():
                self._keyring.forget(tenant_id)
            self._keyring.drop_ended()
            await asyncio.sleep(_SECONDS)
