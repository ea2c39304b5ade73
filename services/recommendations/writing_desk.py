"""What a tenant lets language models do, and what they have cost it: reading and changing the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from servicekit.database import Database
from servicekit.errors import FieldViolation
from servicekit.etag import EtagMismatchError, etag, require
from services.recommendations import advice_store, writing_store
from services.recommendations.customers import Clock, utc_now
from services.recommendations.errors import WritingBudgetMissingError, WritingModelUnknownError
from services.recommendations.writers.models import Model, Models
from services.recommendations.writing_store import Spend, WritingSettings


@dataclass(frozen=True, slots=True)
class Shown:
    """A tenant's settings beside the models that it can choose from."""

    settings: WritingSettings
    models: Sequence[Model]
    currency: str

    @property
    def etag(self) -> str:
        """Changes with every change of the settings."""
        return etag("writing", self.settings.revision)


class WritingDesk:
    """Keeps the settings of all tenants."""

    def __init__(self, database: Database, models: Models, clock: Clock = utc_now) -> None:
        self._database = database
        self._models = models
        self._clock = clock

    async def show(self, tenant_id: UUID) -> Shown:
        """Return the settings of a tenant."""
        async with self._database.tenant(tenant_id) as connection:
            return self._shown(await writing_store.settings(connection, tenant_id))

    async def change(self, tenant_id: UUID, wanted: WritingSettings, expected: str = "") -> Shown:
        """Replace the settings of a tenant; `expected` is the etag that the caller has seen, empty for any.

        Raises:
            WritingModelUnknownError: no configured model has that name.
            WritingBudgetMissingError: calls would be allowed that no money is there for.
            EtagMismatchError: the settings have changed since the caller saw them.
        """
        self._check(wanted)
        async with self._database.tenant(tenant_id) as connection:
            known = await writing_store.settings(connection, tenant_id)
            require(expected, self._shown(known).etag)
            stored = await writing_store.put_settings(connection, tenant_id, wanted, seen=known.revision)
            # How much may be spent changes no draft; one that fell back for it is tried again by itself.
            if stored is not None and (known.allowed, known.model) != (stored.allowed, stored.model):
                await advice_store.outdate(connection, tenant_id)
        if stored is None:
            raise EtagMismatchError("It has changed in between; read it again.")
        return self._shown(stored)

    async def spend(self, tenant_id: UUID) -> tuple[Shown, list[Spend]]:
        """Return the settings of a tenant, and the months in which a model was asked, the newest first."""
        async with self._database.tenant(tenant_id) as connection:
            settings = await writing_store.settings(connection, tenant_id)
            return self._shown(settings), await writing_store.spend(connection, tenant_id)

    def now(self, wanted: WritingSettings, principal: str) -> WritingSettings:
        """Return settings as of now, by whom they are changed."""
        return WritingSettings(
            allowed=wanted.allowed,
            model=wanted.model,
            monthly_budget_micros=wanted.monthly_budget_micros,
            principal=principal,
            update_time=self._clock(),
        )

    def _check(self, wanted: WritingSettings) -> None:
        names = ",".join(self._models.by_name)
        if (wanted.model or wanted.allowed) and wanted.model not in self._models.by_name:
            raise WritingModelUnknownError(
                "No configured model has this name." if self._models.by_name else "No model is configured.",
                metadata={"model": wanted.model, "configured": names},
                violations=[FieldViolation("model", f"is none of: {names}" if names else "cannot be chosen")],
            )
        if wanted.allowed and wanted.monthly_budget_micros == 0:
            raise WritingBudgetMissingError(
                "A model may write only within a budget.",
                violations=[FieldViolation("monthly_budget", "must be more than zero while a model is allowed")],
            )

    def _shown(self, settings: WritingSettings) -> Shown:
        return Shown(settings, tuple(self._models.by_name.values()), self._models.currency)
