"""An operator's calls about a shop's products and their models."""

import asyncio
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from rapport.recommendations.v1 import (
    product_model_service_pb2,
    product_model_service_pb2_grpc,
    product_pb2,
    product_service_pb2,
    product_service_pb2_grpc,
)

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder

_PAGE = 200
_BATCH = 500
_SECONDS = 60
_LOOK_SECONDS = 0.5


async def import_products(folder: SuiteFolder, tenant: str, products: Iterable[product_pb2.Product]) -> dict[str, int]:
    """Put products into the catalogue, some at a time; return the counts."""
    counts = {"products": 0, "new": 0, "changed": 0}
    async with operator_of(folder) as operator:
        left = iter(products)
        while batch := list(islice(left, _BATCH)):
            request = product_service_pb2.UpsertProductsRequest(products=batch)
            answer = await _products(operator).UpsertProducts(
                request, metadata=await operator.metadata(tenant), timeout=_SECONDS
            )
            counts["products"] += len(batch)
            counts["new"] += answer.new_count
            counts["changed"] += answer.changed_count
    return counts


async def list_products(
    folder: SuiteFolder, tenant: str, category: str, limit: int, *, with_unlisted: bool
) -> list[dict[str, Any]]:
    """Return products in the order of their ids."""
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        while True:
            request = product_service_pb2.ListProductsRequest(
                page_size=min(_PAGE, limit - len(found)),
                page_token=token,
                category=category,
                with_unlisted=with_unlisted,
            )
            page = await _products(operator).ListProducts(
                request, metadata=await operator.metadata(tenant), timeout=_SECONDS
            )
            found += [as_dict(one) for one in page.products]
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found


async def get_product(folder: SuiteFolder, tenant: str, product: str) -> dict[str, Any]:
    """Return a product."""
    return await _ask(folder, tenant, "GetProduct", product_service_pb2.GetProductRequest(product_id=product))


async def delete_product(folder: SuiteFolder, tenant: str, product: str) -> dict[str, Any]:
    """Take a product out of the catalogue."""
    return await _ask(folder, tenant, "DeleteProduct", product_service_pb2.DeleteProductRequest(product_id=product))


async def recommend(folder: SuiteFolder, tenant: str, request: Any) -> dict[str, Any]:
    """Return what a customer may buy next."""
    return await _ask(folder, tenant, "RecommendProducts", request)


async def similar(folder: SuiteFolder, tenant: str, product: str, limit: int) -> dict[str, Any]:
    """Return what goes with a product."""
    request = product_service_pb2.ListSimilarProductsRequest(product_id=product, limit=limit)
    return await _ask(folder, tenant, "ListSimilarProducts", request)


async def list_models(folder: SuiteFolder, tenant: str) -> list[dict[str, Any]]:
    """Return the versions of the model, newest first."""
    answer = await _ask(folder, tenant, "ListProductModels", product_model_service_pb2.ListProductModelsRequest())
    models: list[dict[str, Any]] = answer["product_models"]
    return models


async def fit(folder: SuiteFolder, tenant: str, wait: float) -> dict[str, Any]:
    """Ask for a new version and return it when it is there.

    Raises:
        CommandError: it was not there in time; it may come later.
    """
    newest = max((one["version"] for one in await list_models(folder, tenant)), default=0)
    await _ask(folder, tenant, "FitProductModel", product_model_service_pb2.FitProductModelRequest())
    ends = time.monotonic() + wait
    while True:
        fresh = [one for one in await list_models(folder, tenant) if one["version"] > newest]
        if fresh:
            return fresh[0]
        if time.monotonic() > ends:
            raise CommandError(
                "The model is not fitted yet; `rapport product models` shows when it is.", reason="NOT_FITTED_YET"
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def roll_back(folder: SuiteFolder, tenant: str, version: int) -> dict[str, Any]:
    """Put an earlier version in service."""
    request = product_model_service_pb2.RollbackProductModelRequest(version=version)
    return await _ask(folder, tenant, "RollbackProductModel", request)


async def settings(
    folder: SuiteFolder, tenant: str, diversity: float | None, exploration: float | None
) -> dict[str, Any]:
    """Return the settings, changed if asked for."""
    known = await _ask(folder, tenant, "GetProductSettings", product_model_service_pb2.GetProductSettingsRequest())
    if diversity is None and exploration is None:
        return known
    wanted = product_model_service_pb2.ProductSettings(
        diversity=known["diversity"] if diversity is None else diversity,
        exploration=known["exploration"] if exploration is None else exploration,
    )
    request = product_model_service_pb2.SetProductSettingsRequest(product_settings=wanted, etag=known["etag"])
    return await _ask(folder, tenant, "SetProductSettings", request)


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Any) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        stub = _products(operator) if hasattr(_products(operator), method) else _models(operator)
        return as_dict(await getattr(stub, method)(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


def _products(operator: Operator) -> Any:
    return operator.stub(product_service_pb2_grpc.ProductServiceStub, "recommendations")


def _models(operator: Operator) -> Any:
    return operator.stub(product_model_service_pb2_grpc.ProductModelServiceStub, "recommendations")
