"""Money for calls: set aside before a call is made, and settled when it is over.

What is set aside is the most that a call can cost: a token for each byte of the question, and the longest answer. So a
month never costs more than its budget, however many calls are made at once; what was not used comes back at the end.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from servicekit.database import Database
from servicekit.errors import DomainError
from servicekit.ids import uuid7
from services.recommendations import writing_store
from services.recommendations.customers import Clock
from services.recommendations.writers.models import Model
from services.recommendations.writers.prices import Prices, Usage, month_of
from services.recommendations.writers.provider import Prompt

_FRAMING_TOKENS = 200
"""Tokens that a protocol adds to the texts of a question, at most."""

_FORGOTTEN_AFTER = timedelta(minutes=10)
"""No call takes so long: its process has died, and what it cost will never be known."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call."""

    tenant_id: UUID
    call_id: UUID
    prices: Prices


class Budgets:
    """The budgets of all tenants."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def reserve(self, tenant_id: UUID, model: Model, prompt: Prompt, budget: int) -> Reservation | None:
        """Set the most aside that a call can cost; None when the month's budget does not have that much left."""
        now = self._clock()
        most = model.prices.cost(Usage(prompt.size + _FRAMING_TOKENS, model.output_tokens))
        reservation = Reservation(tenant_id, uuid7(), model.prices)
        async with self._database.tenant(tenant_id) as connection:
            await writing_store.settle_forgotten(connection, tenant_id, now, _FORGOTTEN_AFTER)
            taken = await writing_store.reserve(
                connection, tenant_id, reservation.call_id, month_of(now), most, budget, now
            )
        return reservation if taken else None

    async def settle(self, reservation: Reservation, usage: Usage | None, *, free: bool) -> None:
        """Put what a call cost in the place of what was set aside: nothing when it was free, all when nobody says.

        When that cannot be written down now, the call counts as forgotten later on: at the most that it could cost.
        """
        spent = 0 if free else reservation.prices.cost(usage) if usage else None
        try:
            async with self._database.tenant(reservation.tenant_id) as connection:
                await writing_store.settle(connection, reservation.tenant_id, reservation.call_id, spent, usage)
        except DomainError as error:
            _log.warning("model_call_unsettled", error=type(error).__name__)
