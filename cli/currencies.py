"""An operator's calls about currencies."""

from typing import Any

from rapport.recommendations.v1 import currency_service_pb2, currency_service_pb2_grpc

from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 60


async def currencies_of(folder: SuiteFolder, tenant: str) -> dict[str, Any]:
    """Return a shop's currencies and rates."""
    async with operator_of(folder) as operator:
        service = operator.stub(currency_service_pb2_grpc.CurrencyServiceStub, "recommendations")
        request = currency_service_pb2.GetCurrenciesRequest()
        return as_dict(await service.GetCurrencies(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


async def set_rate(folder: SuiteFolder, tenant: str, code: str, day: str, rate: str) -> dict[str, Any]:
    """State a rate, or take it back when it is empty; return the shop's currencies and rates.

    Raises:
        CommandError: the rate makes no sense, or no order has come in yet.
    """
    async with operator_of(folder) as operator:
        service = operator.stub(currency_service_pb2_grpc.CurrencyServiceStub, "recommendations")
        stated = currency_service_pb2.ExchangeRate(currency_code=code, day=day, rate=rate)
        request = currency_service_pb2.SetExchangeRatesRequest(rates=[stated])
        return as_dict(
            await service.SetExchangeRates(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
        )
