"""The servicers of products and their models: message in, one call, message out."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
from rapport.recommendations.v1 import (
    product_model_service_pb2,
    product_model_service_pb2_grpc,
    product_pb2,
    product_service_pb2,
    product_service_pb2_grpc,
)

from servicekit import money
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.identity import caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.server import Registration
from servicekit.timestamps import timestamp
from services.recommendations.customers import Clock, utc_now
from services.recommendations.merchandise import ModelVersion, Product, Settings
from services.recommendations.product_desk import Answer, Asked, ProductDesk, Suggested
from services.recommendations.product_models import ProductModels, settings_etag
from services.recommendations.product_shelf import ProductShelf
from services.recommendations.products.suggesting import Kind, Owned, Wish

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_LIMIT = 10
_REASONS = product_pb2.SuggestionReason
_KINDS: dict[Kind, Any] = {
    "bought_with": _REASONS.KIND_BOUGHT_WITH,
    "bought_before": _REASONS.KIND_BOUGHT_BEFORE,
    "similar": _REASONS.KIND_SIMILAR,
    "popular": _REASONS.KIND_POPULAR,
    "new": _REASONS.KIND_NEW,
}
_SENTENCES: dict[Kind, str] = {
    "bought_with": "Often bought by customers who bought {title}.",
    "bought_before": "Bought before.",
    "similar": "Its name is like that of {title}.",
    "popular": "Bought by many in the last 30 days.",
    "new": "Few have bought it yet.",
}
_OWNED: dict[int, Owned] = {
    product_service_pb2.RecommendProductsRequest.OWNED_EXCLUDED: "excluded",
    product_service_pb2.RecommendProductsRequest.OWNED_ONLY: "only",
}


def registrations(
    database: Database, doorbell: Doorbell, shelf: ProductShelf, tokens: PageTokens, clock: Clock = utc_now
) -> Sequence[Registration]:
    """Return the servicers of products and their models."""
    return (
        Registration(
            product_service_pb2_grpc.add_ProductServiceServicer_to_server,
            ProductServicer(ProductDesk(database, shelf, clock), tokens),
        ),
        Registration(
            product_model_service_pb2_grpc.add_ProductModelServiceServicer_to_server,
            ProductModelServicer(ProductModels(database, doorbell)),
        ),
    )


class ProductServicer(product_service_pb2_grpc.ProductServiceServicer):
    """`rapport.recommendations.v1.ProductService`."""

    def __init__(self, desk: ProductDesk, tokens: PageTokens) -> None:
        self._desk = desk
        self._tokens = tokens

    async def UpsertProducts(
        self, request: product_service_pb2.UpsertProductsRequest, _context: Context
    ) -> product_service_pb2.UpsertProductsResponse:
        """Keep products in the catalogue."""
        new, changed = await self._desk.upsert(caller_tenant(), [_product(one) for one in request.products])
        return product_service_pb2.UpsertProductsResponse(new_count=new, changed_count=changed)

    async def GetProduct(
        self, request: product_service_pb2.GetProductRequest, _context: Context
    ) -> product_pb2.Product:
        """Return a product."""
        return _shown(await self._desk.get(caller_tenant(), request.product_id))

    async def ListProducts(
        self, request: product_service_pb2.ListProductsRequest, _context: Context
    ) -> product_service_pb2.ListProductsResponse:
        """List products."""
        size = page_size(request.page_size)
        scope = (caller_tenant(), "products", request.category, request.with_unlisted)
        after = self._tokens.open(request.page_token, scope=scope)["id"] if request.page_token else ""
        found = await self._desk.list(
            caller_tenant(), after, request.category, size + 1, with_unlisted=request.with_unlisted
        )
        token = self._tokens.seal({"id": found[size - 1].product_id}, scope=scope) if len(found) > size else ""
        return product_service_pb2.ListProductsResponse(
            products=[_shown(one) for one in found[:size]], next_page_token=token
        )

    async def DeleteProduct(
        self, request: product_service_pb2.DeleteProductRequest, _context: Context
    ) -> product_service_pb2.DeleteProductResponse:
        """Take a product out of the catalogue."""
        await self._desk.delete(caller_tenant(), request.product_id)
        return product_service_pb2.DeleteProductResponse()

    async def RecommendProducts(
        self, request: product_service_pb2.RecommendProductsRequest, _context: Context
    ) -> product_service_pb2.RecommendProductsResponse:
        """Return what a customer may buy next."""
        wish = Wish(
            limit=request.limit or _LIMIT,
            categories=tuple(request.categories),
            with_out_of_stock=request.with_out_of_stock,
            owned=_OWNED.get(request.owned, "included"),
            excluded=tuple(request.excluded_product_ids),
        )
        asked = Asked(
            wish,
            request.diversity if request.HasField("diversity") else None,
            request.exploration if request.HasField("exploration") else None,
        )
        answer = await self._desk.recommend(caller_tenant(), request.customer_id, asked)
        return product_service_pb2.RecommendProductsResponse(
            suggestions=_suggestions(answer), model_version=answer.model_version
        )

    async def ListSimilarProducts(
        self, request: product_service_pb2.ListSimilarProductsRequest, _context: Context
    ) -> product_service_pb2.ListSimilarProductsResponse:
        """Return what goes with a product."""
        wish = Wish(limit=request.limit or _LIMIT, with_out_of_stock=request.with_out_of_stock)
        answer = await self._desk.similar(caller_tenant(), request.product_id, wish)
        return product_service_pb2.ListSimilarProductsResponse(
            suggestions=_suggestions(answer), model_version=answer.model_version
        )


class ProductModelServicer(product_model_service_pb2_grpc.ProductModelServiceServicer):
    """`rapport.recommendations.v1.ProductModelService`."""

    def __init__(self, models: ProductModels) -> None:
        self._models = models

    async def ListProductModels(
        self, _request: product_model_service_pb2.ListProductModelsRequest, _context: Context
    ) -> product_model_service_pb2.ListProductModelsResponse:
        """List the versions that are kept."""
        found = await self._models.list(caller_tenant())
        return product_model_service_pb2.ListProductModelsResponse(product_models=[_version(one) for one in found])

    async def FitProductModel(
        self, _request: product_model_service_pb2.FitProductModelRequest, _context: Context
    ) -> product_model_service_pb2.FitProductModelResponse:
        """Ask for a new version."""
        await self._models.want(caller_tenant())
        return product_model_service_pb2.FitProductModelResponse()

    async def RollbackProductModel(
        self, request: product_model_service_pb2.RollbackProductModelRequest, _context: Context
    ) -> product_model_service_pb2.ProductModel:
        """Put an earlier version in service."""
        return _version(await self._models.roll_back(caller_tenant(), request.version))

    async def GetProductSettings(
        self, _request: product_model_service_pb2.GetProductSettingsRequest, _context: Context
    ) -> product_model_service_pb2.ProductSettings:
        """Return the settings."""
        return _settings(await self._models.settings(caller_tenant()))

    async def SetProductSettings(
        self, request: product_model_service_pb2.SetProductSettingsRequest, _context: Context
    ) -> product_model_service_pb2.ProductSettings:
        """Set the settings."""
        wanted = Settings(request.product_settings.diversity, request.product_settings.exploration)
        return _settings(await self._models.set_settings(caller_tenant(), wanted, request.etag))


def _product(one: product_pb2.Product) -> Product:
    return Product(
        one.product_id,
        one.title,
        one.category,
        money.minor_units(one.price, one.currency_code) if one.price else None,
        one.currency_code,
        one.stock if one.HasField("stock") else None,
        one.url,
    )


def _shown(one: Product) -> product_pb2.Product:
    return product_pb2.Product(
        product_id=one.product_id,
        title=one.title,
        category=one.category,
        price=one.price,
        currency_code=one.currency,
        stock=one.stock,
        url=one.url,
        listed=one.listed,
        update_time=timestamp(one.update_time),
    )


def _suggestions(answer: Answer) -> list[product_pb2.ProductSuggestion]:
    return [_suggestion(one) for one in answer.suggested]


def _suggestion(one: Suggested) -> product_pb2.ProductSuggestion:
    found = one.suggestion
    return product_pb2.ProductSuggestion(
        product=_shown(one.product),
        score=found.score,
        reason=product_pb2.SuggestionReason(
            kind=_KINDS[found.kind],
            product_id=found.because,
            product_title=one.because_title,
            share=found.share,
            sentence=_SENTENCES[found.kind].format(title=one.because_title),
        ),
        explored=found.explored,
    )


def _version(one: ModelVersion) -> product_model_service_pb2.ProductModel:
    recipes = product_model_service_pb2.ProductModel
    return recipes(
        version=one.version,
        in_service=one.in_service,
        fixed=one.fixed and one.in_service,
        recipe=recipes.RECIPE_NEIGHBOURS if one.neighbours else recipes.RECIPE_POPULARITY,
        create_time=timestamp(one.create_time),
        until=timestamp(one.until),
        customer_count=one.customer_count,
        item_count=one.item_count,
        purchase_count=one.purchase_count,
        held_back_days=one.held_back_days,
        judged_customers=one.judged_customers,
        qualities=[
            product_model_service_pb2.RankingQuality(name=name, ndcg10=value)
            for name, value in sorted(one.qualities.items())
        ],
    )


def _settings(one: Settings) -> product_model_service_pb2.ProductSettings:
    return product_model_service_pb2.ProductSettings(
        diversity=one.diversity, exploration=one.exploration, etag=settings_etag(one)
    )
