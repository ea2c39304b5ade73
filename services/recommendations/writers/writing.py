"""Drafts of all tenants by language models: who may, by which model, for how much money, and what became of it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from servicekit.database import Database
from services.recommendations import sentences, writing_store
from services.recommendations.customers import Clock, utc_now
from services.recommendations.drafts import Draft
from services.recommendations.writers.budgets import Budgets, Reservation
from services.recommendations.writers.calling import Calls
from services.recommendations.writers.composing import CHECKS, NotWrittenError, Told, compose
from services.recommendations.writers.exchange import Task
from services.recommendations.writers.models import Model, Models
from services.recommendations.writers.prices import Usage, month_of
from services.recommendations.writers.provider import Delta, Limits, Prompt, Provider, ProviderError

BUDGET = "fallback: the month's budget for models is used up"
SILENT = "fallback: the model did not answer"
REFUSED = "fallback: the model refused to answer"
CROWDED = "fallback: too many drafts are being written by models"

_CHARACTERS = 20_000
"""Characters of an answer that are read: far more than the longest draft with all its citations."""

_LEAST_SECONDS = 3.0
"""With less time than this no model is asked: it would be paid for an answer that nobody waits for."""

_SOON, _LATER = timedelta(minutes=1), timedelta(hours=1)
_AGAIN = {BUDGET: _SOON, SILENT: _SOON, CROWDED: _SOON, REFUSED: _LATER, CHECKS: _LATER}
"""After which time a model is asked again for a draft that fell back: what may be over in a minute costs nothing to
try, what was answered and not taken costs money each time. The other reasons stay until something changes."""

_log = structlog.get_logger(__name__)
_CALLS = Counter("rapport_model_calls", "Calls of language models, by how they ended.", ("model", "outcome"))
_SIZES = Counter("rapport_model_bytes", "Bytes sent to language models and received of them.", ("model", "direction"))
_SECONDS = Histogram(
    "rapport_model_call_seconds",
    "Time from a call of a language model to the end of its answer.",
    ("model",),
    buckets=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 20.0),
)
_DRAFTS = Counter("rapport_model_drafts", "Drafts that models were asked for, by what became of them.", ("outcome",))

Connect = Callable[[Model], Provider]


class Writing:
    """Writes drafts by the models that the operator has configured, for the tenants that allow it."""

    def __init__(
        self,
        database: Database,
        models: Models,
        connect: Connect,
        *,
        timeout_seconds: float = 12.0,
        concurrency: int = 16,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self.models = models
        self._calls: Mapping[str, Calls] = {name: Calls(connect(model)) for name, model in models.by_name.items()}
        self._timeout = timeout_seconds
        self._room = concurrency
        self._clock = clock
        self._budgets = Budgets(database, clock)

    async def write(self, tenant_id: UUID, task: Task) -> Draft:
        """Return a draft: the model's if the tenant allows one and its answer holds, else the rules' own, labelled.

        A tenant that allows none gets the rules' draft as it is. A provider's faults never come out of here.
        """
        draft = task.fallback
        async for told in self.stream(tenant_id, task):
            if isinstance(told, Draft):
                draft = told
        return draft

    async def stream(self, tenant_id: UUID, task: Task) -> AsyncGenerator[Told, None]:
        """Yield a draft's text by pieces that passed the checks, None where all is taken back, and last the draft."""
        chosen = await self._chosen(tenant_id)
        if chosen is None or self._room <= 0:
            label = () if chosen is None else (CROWDED,)
            for piece in sentences.pieces(task.fallback.text):
                yield piece
            yield replace(task.fallback, labels=(*task.fallback.labels, *label))
            return
        model, budget = chosen
        until = asyncio.get_running_loop().time() + self._timeout
        self._room -= 1
        try:
            ask = partial(self._ask, tenant_id, model, budget, until)
            async with aclosing(compose(task, ask, model.source)) as tellings:
                async for told in tellings:
                    if isinstance(told, Draft):
                        await self._count(tenant_id, taken=told.source == model.source)
                    yield told
        finally:
            self._room += 1

    async def source(self, tenant_id: UUID) -> str:
        """Return the source of a draft that would be written now: the model's, or nothing for the rules' own."""
        chosen = await self._chosen(tenant_id)
        return chosen[0].source if chosen is not None else ""

    async def close(self) -> None:
        """Let go of all connections."""
        for calls in self._calls.values():
            await calls.close()

    async def _chosen(self, tenant_id: UUID) -> tuple[Model, int] | None:
        """Return the model that a tenant lets write and its budget; None when it lets none."""
        if not self.models.by_name:
            return None
        async with self._database.tenant(tenant_id) as connection:
            settings = await writing_store.settings(connection, tenant_id)
        model = self.models.by_name.get(settings.model)
        return (model, settings.monthly_budget_micros) if settings.allowed and model else None

    async def _ask(
        self, tenant_id: UUID, model: Model, budget: int, until: float, prompt: Prompt
    ) -> AsyncGenerator[str, None]:
        """Yield the answer to one question, paid for.

        Raises:
            NotWrittenError: there is none.
        """
        if until - asyncio.get_running_loop().time() < min(_LEAST_SECONDS, self._seconds(model) / 2):
            raise NotWrittenError(SILENT)
        reservation = await self._budgets.reserve(tenant_id, model, prompt, budget)
        if reservation is None:
            raise NotWrittenError(BUDGET)
        call = _Call(model, prompt)
        try:
            async with aclosing(self._deltas(model, prompt, until)) as deltas:
                async for delta in deltas:
                    if isinstance(delta, Usage):
                        call.usage = delta
                    else:
                        call.received += len(delta.encode())
                        yield delta
            call.outcome = "answered"
        except ProviderError as error:
            call.outcome, call.free = error.fault, error.free
            raise NotWrittenError(REFUSED if error.fault == "refused" else SILENT) from error
        finally:
            await self._settle(reservation, call)

    def _deltas(self, model: Model, prompt: Prompt, until: float) -> AsyncGenerator[Delta, None]:
        limits = Limits(model.output_tokens, _CHARACTERS, self._seconds(model))
        return self._calls[model.name].stream(prompt, limits, until)

    def _seconds(self, model: Model) -> float:
        """Return how long one call of a model may take."""
        return min(model.timeout_seconds, self._timeout)

    async def _settle(self, reservation: Reservation, call: "_Call") -> None:
        call.tell()
        await self._budgets.settle(reservation, call.usage, free=call.free)

    async def _count(self, tenant_id: UUID, *, taken: bool) -> None:
        _DRAFTS.labels("taken" if taken else "fallback").inc()
        async with self._database.tenant(tenant_id) as connection:
            await writing_store.count_draft(connection, tenant_id, self._month(), taken=taken)

    def _month(self) -> date:
        return month_of(self._clock())


def again_after(draft: Draft) -> timedelta | None:
    """Return after which time it is worth asking a model again for this draft; None if it is not."""
    return next((_AGAIN[label] for label in draft.labels if label in _AGAIN), None)


class _Call:
    """What is told of a call: sizes, never words."""

    def __init__(self, model: Model, prompt: Prompt) -> None:
        self._model = model
        self._sent = prompt.size
        self._started = time.monotonic()
        self.received = 0
        self.usage: Usage | None = None
        self.outcome = "given_up"
        self.free = False

    def tell(self) -> None:
        """Tell metrics and log."""
        name, seconds = self._model.name, time.monotonic() - self._started
        _CALLS.labels(name, self.outcome).inc()
        _SIZES.labels(name, "sent").inc(self._sent)
        _SIZES.labels(name, "received").inc(self.received)
        _SECONDS.labels(name).observe(seconds)
        _log.info(
            "model_called",
            model=name,
            outcome=self.outcome,
            sent_bytes=self._sent,
            received_bytes=self.received,
            seconds=round(seconds, 3),
        )
