"""`rapport.recommendations.v1.WritingService`: messages in, one call, messages out; decides nothing."""

from typing import Any, TypeAlias

import grpc
from rapport.recommendations.v1 import writing_service_pb2, writing_service_pb2_grpc

from servicekit.identity import caller, caller_tenant
from servicekit.timestamps import timestamp
from services.recommendations.writers.models import Model
from services.recommendations.writers.prices import decimal, micros
from services.recommendations.writing_desk import Shown, WritingDesk
from services.recommendations.writing_store import Spend, WritingSettings

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class WritingServicer(writing_service_pb2_grpc.WritingServiceServicer):
    """`rapport.recommendations.v1.WritingService`."""

    def __init__(self, desk: WritingDesk) -> None:
        self._desk = desk

    async def GetWritingSettings(
        self, _request: writing_service_pb2.GetWritingSettingsRequest, _context: Context
    ) -> writing_service_pb2.WritingSettings:
        """Return the settings of the caller's tenant."""
        return _message(await self._desk.show(caller_tenant()))

    async def SetWritingSettings(
        self, request: writing_service_pb2.SetWritingSettingsRequest, _context: Context
    ) -> writing_service_pb2.WritingSettings:
        """Replace the settings of the caller's tenant."""
        wanted = WritingSettings(
            allowed=request.allowed, model=request.model, monthly_budget_micros=micros(request.monthly_budget)
        )
        changed = self._desk.now(wanted, caller().subject)
        return _message(await self._desk.change(caller_tenant(), changed, request.etag))

    async def GetWritingSpend(
        self, _request: writing_service_pb2.GetWritingSpendRequest, _context: Context
    ) -> writing_service_pb2.WritingSpend:
        """Return what language models have cost the caller's tenant."""
        shown, months = await self._desk.spend(caller_tenant())
        return writing_service_pb2.WritingSpend(
            months=[_month(one) for one in months],
            currency_code=shown.currency,
            monthly_budget=decimal(shown.settings.monthly_budget_micros),
        )


def _message(shown: Shown) -> writing_service_pb2.WritingSettings:
    settings = shown.settings
    return writing_service_pb2.WritingSettings(
        allowed=settings.allowed,
        model=settings.model,
        monthly_budget=decimal(settings.monthly_budget_micros),
        currency_code=shown.currency,
        models=[_model(one) for one in shown.models],
        revision=settings.revision,
        principal=settings.principal,
        etag=shown.etag,
        update_time=timestamp(settings.update_time),
    )


def _model(model: Model) -> writing_service_pb2.WritingModel:
    return writing_service_pb2.WritingModel(
        name=model.name,
        provider=model.provider,
        model=model.model,
        input_price=decimal(model.prices.input_micros),
        output_price=decimal(model.prices.output_micros),
    )


def _month(spend: Spend) -> writing_service_pb2.WritingMonth:
    return writing_service_pb2.WritingMonth(
        month=f"{spend.month:%Y-%m}",
        spent=decimal(spend.spent_micros),
        reserved=decimal(spend.reserved_micros),
        call_count=spend.call_count,
        unsettled_count=spend.unsettled_count,
        input_tokens=spend.input_tokens,
        output_tokens=spend.output_tokens,
        draft_count=spend.draft_count,
        fallback_count=spend.fallback_count,
    )
