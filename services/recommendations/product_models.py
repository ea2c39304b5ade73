"""What shops and operators do with product models: seeing their versions, asking for one, going back, settings."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.etag import etag, require
from services.recommendations import product_model_store, product_store
from services.recommendations.errors import ProductModelNotFoundError
from services.recommendations.merchandise import ModelVersion, Settings

BELL = "recommendations.product_models"
"""The doorbell that rings when a fit is asked for."""


class ProductModels:
    """Shows and steers the product models of all tenants."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell

    async def list(self, tenant_id: UUID) -> Sequence[ModelVersion]:
        """Return the versions that are kept, newest first."""
        async with self._database.driver_tenant(tenant_id) as connection:
            return await product_model_store.versions(connection, tenant_id)

    async def want(self, tenant_id: UUID) -> None:
        """Ask for a new version; it is fitted in the background."""
        async with self._database.driver_tenant(tenant_id) as connection:
            await product_model_store.want(connection, tenant_id)
        await self._doorbell.ring(BELL)

    async def roll_back(self, tenant_id: UUID, version: int) -> ModelVersion:
        """Put an earlier version in service and fix it.

        Raises:
            ProductModelNotFoundError: it is not kept.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            if not await product_model_store.serve(connection, tenant_id, version):
                raise ProductModelNotFoundError(
                    "There is no such version of the model.", metadata={"version": str(version)}
                )
            found = await product_model_store.versions(connection, tenant_id)
        return next(one for one in found if one.version == version)

    async def settings(self, tenant_id: UUID) -> Settings:
        """Return how products are suggested where a request does not say it."""
        async with self._database.driver_tenant(tenant_id) as connection:
            return (await product_store.state(connection, tenant_id)).settings

    async def set_settings(self, tenant_id: UUID, wanted: Settings, expected: str) -> Settings:
        """Set them.

        Raises:
            EtagMismatchError: they have changed since the caller saw them.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            # Whoever else changes the shop's products waits until this is done.
            await product_store.next_revision(connection, tenant_id)
            present = (await product_store.state(connection, tenant_id)).settings
            require(expected, settings_etag(present))
            return await product_store.save_settings(connection, tenant_id, wanted)


def settings_etag(settings: Settings) -> str:
    """Return the etag of settings."""
    return etag("product_settings", settings.revision)
