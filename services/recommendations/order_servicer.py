"""`rapport.recommendations.v1.OrderService` and `CurrencyService`: message in, one call, message out."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from rapport.recommendations.v1 import (
    currency_service_pb2,
    currency_service_pb2_grpc,
    order_pb2,
    order_service_pb2,
    order_service_pb2_grpc,
)

from servicekit import money
from servicekit.database import Database
from servicekit.identity import caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.server import Registration
from servicekit.timestamps import moment, timestamp
from services.recommendations.currencies import Currencies
from services.recommendations.currency_store import Overview, Rate
from services.recommendations.customers import Customers
from services.recommendations.imports import OrderImports
from services.recommendations.order_listing import StoredOrder
from services.recommendations.orders import OrderImport, OrderLine, Parcel
from services.recommendations.service import Context

_PAGE_BYTES = 2 * 1024 * 1024
"""What a page of orders holds at most, but for its last order."""
_SHOWN_PARCELS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def registrations(
    database: Database, customers: Customers, imports: OrderImports, pages: PageTokens
) -> Sequence[Registration]:
    """Return the servicers of this module."""
    return (
        Registration(order_service_pb2_grpc.add_OrderServiceServicer_to_server, OrderServicer(imports, pages)),
        Registration(
            currency_service_pb2_grpc.add_CurrencyServiceServicer_to_server,
            CurrencyServicer(Currencies(database, customers)),
        ),
    )


class OrderServicer(order_service_pb2_grpc.OrderServiceServicer):
    """`rapport.recommendations.v1.OrderService`."""

    def __init__(self, imports: OrderImports, pages: PageTokens) -> None:
        self._imports = imports
        self._pages = pages

    async def ImportOrders(
        self, request: order_service_pb2.ImportOrdersRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Apply a few orders."""
        return _import(await self._imports.import_now(caller_tenant(), [_line(line) for line in request.lines]))

    async def CreateOrderImport(
        self, _request: order_service_pb2.CreateOrderImportRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Open an import."""
        return _import(await self._imports.create(caller_tenant()))

    async def AppendOrderLines(
        self, request: order_service_pb2.AppendOrderLinesRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Add a batch of lines to an open import."""
        lines = [_line(line) for line in request.lines]
        import_id = UUID(request.import_id)
        return _import(await self._imports.append(caller_tenant(), import_id, request.batch_number, lines))

    async def StreamOrderLines(
        self, requests: AsyncIterator[order_service_pb2.StreamOrderLinesRequest], _context: Context
    ) -> AsyncIterator[order_pb2.OrderImport]:
        """Add batches to open imports, one after the other."""
        async for request in requests:
            lines = [_line(line) for line in request.lines]
            import_id = UUID(request.import_id)
            yield _import(await self._imports.append(caller_tenant(), import_id, request.batch_number, lines))

    async def CommitOrderImport(
        self, request: order_service_pb2.CommitOrderImportRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Apply an import as a whole."""
        import_id = UUID(request.import_id)
        return _import(await self._imports.commit(caller_tenant(), import_id, request.expected_line_count))

    async def GetOrderImport(
        self, request: order_service_pb2.GetOrderImportRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Return how far an import is."""
        return _import(await self._imports.get(caller_tenant(), UUID(request.import_id)))

    async def GetOrder(self, request: order_service_pb2.GetOrderRequest, _context: Context) -> order_pb2.Order:
        """Return an order."""
        return _order(await self._imports.order(caller_tenant(), request.order_id))

    async def ListOrders(
        self, request: order_service_pb2.ListOrdersRequest, _context: Context
    ) -> order_service_pb2.ListOrdersResponse:
        """Return a page of a customer's orders."""
        tenant_id, size = caller_tenant(), page_size(request.page_size)
        scope = (tenant_id, "orders", request.customer_id)
        after = None
        if request.page_token:
            cursor = self._pages.open(request.page_token, scope=scope)
            after = datetime.fromisoformat(cursor["time"]), str(cursor["order"])
        found = await self._imports.orders_of(tenant_id, request.customer_id, size + 1, after)
        page = order_service_pb2.ListOrdersResponse()
        for one in found[:size]:
            page.orders.append(_order(one))
            if page.ByteSize() > _PAGE_BYTES:
                break
        if len(found) > len(page.orders):
            last = found[len(page.orders) - 1]
            cursor = {"time": last.order_time.isoformat(), "order": last.order_id}
            page.next_page_token = self._pages.seal(cursor, scope=scope)
        return page

    async def ChecksumOrders(
        self, request: order_service_pb2.ChecksumOrdersRequest, _context: Context
    ) -> order_service_pb2.ChecksumOrdersResponse:
        """Return checksums of orders as they stand here."""
        tenant_id, size = caller_tenant(), page_size(request.page_size)
        scope = (tenant_id, "order checksums")
        after = str(self._pages.open(request.page_token, scope=scope)["after"]) if request.page_token else ""
        found, more = await self._imports.checksums(tenant_id, after, size)
        return order_service_pb2.ChecksumOrdersResponse(
            checksums=[
                order_service_pb2.OrderChecksum(
                    order_id=one.order_id,
                    digest=one.digest,
                    line_count=one.line_count,
                    change_time=timestamp(one.change_time),
                )
                for one in found
            ],
            next_page_token=self._pages.seal({"after": found[-1].order_id}, scope=scope) if more else "",
        )

    async def RecordShipments(
        self, request: order_service_pb2.RecordShipmentsRequest, _context: Context
    ) -> order_service_pb2.RecordShipmentsResponse:
        """Store what is known about parcels."""
        parcels = [
            Parcel(one.order_id, one.tracking_number, one.tracking_url, one.carrier, one.status)
            for one in request.shipments
        ]
        stored = await self._imports.record_shipments(caller_tenant(), parcels)
        return order_service_pb2.RecordShipmentsResponse(stored_count=stored)


class CurrencyServicer(currency_service_pb2_grpc.CurrencyServiceServicer):
    """`rapport.recommendations.v1.CurrencyService`."""

    def __init__(self, currencies: Currencies) -> None:
        self._currencies = currencies

    async def SetExchangeRates(
        self, request: currency_service_pb2.SetExchangeRatesRequest, _context: Context
    ) -> currency_service_pb2.Currencies:
        """State rates."""
        rates = [Rate(one.currency_code, one.day, one.rate) for one in request.rates]
        return _currencies(await self._currencies.set(caller_tenant(), rates))

    async def GetCurrencies(
        self, _request: currency_service_pb2.GetCurrenciesRequest, _context: Context
    ) -> currency_service_pb2.Currencies:
        """Return the shop's currencies."""
        return _currencies(await self._currencies.get(caller_tenant()))


def _currencies(overview: Overview) -> currency_service_pb2.Currencies:
    use = currency_service_pb2.Currencies.Use
    return currency_service_pb2.Currencies(
        currency_code=overview.currency,
        rates=[
            currency_service_pb2.ExchangeRate(
                currency_code=one.currency, day=one.day, rate=one.rate, base_currency_code=overview.currency
            )
            for one in overview.rates
        ],
        uses=[
            use(
                currency_code=one.currency,
                order_count=one.order_count,
                uncounted_order_count=one.uncounted_order_count,
            )
            for one in overview.uses
        ],
    )


def _line(line: order_pb2.OrderLine) -> OrderLine:
    return OrderLine.of(
        line.order_id,
        line.customer_id,
        moment(line, "order_time") or _EPOCH,
        line.product_id,
        line.product_name,
        line.quantity,
        line.unit_price,
        line.currency_code,
        moment(line, "change_time"),
        line.refunded_amount,
        moment(line, "cancel_time"),
    )


def _import(one: OrderImport) -> order_pb2.OrderImport:
    states = order_pb2.OrderImport
    state = states.STATE_COMMITTING if one.committing else states.STATE_OPEN
    return order_pb2.OrderImport(
        import_id=one.import_id,
        state=states.STATE_COMMITTED if one.committed else state,
        line_count=one.line_count,
        order_count=one.order_count,
        new_order_count=one.new_order_count,
        changed_order_count=one.changed_order_count,
        customer_count=one.customer_count,
        create_time=timestamp(one.create_time),
        next_batch_number=one.next_batch_number,
    )


def _order(one: StoredOrder) -> order_pb2.Order:
    return order_pb2.Order(
        order_id=one.order_id,
        customer_id=one.customer_id,
        source_customer_id=one.source_customer_id,
        order_time=timestamp(one.order_time),
        currency_code=one.currency,
        state=_state(one),
        ordered_amount=money.text(one.ordered_minor, one.currency),
        returned_amount=money.text(one.returned_minor + one.cancelled_minor, one.currency),
        refunded_amount=money.text(one.refunded_minor, one.currency),
        total_amount=money.text(one.total_minor, one.currency),
        cancel_time=timestamp(one.cancel_time) if one.cancel_time else None,
        lines=[
            order_pb2.Order.Line(
                product_id=line.product_id,
                product_name=line.title,
                quantity=line.quantity,
                unit_price=money.text(line.unit_price_minor, one.currency),
                amount=money.text(line.amount_minor, one.currency),
            )
            for line in one.lines
        ],
        line_count=one.line_count,
        shipments=[
            order_pb2.Shipment(
                order_id=parcel.order_id,
                tracking_number=parcel.tracking_number,
                tracking_url=parcel.tracking_url,
                carrier=parcel.carrier,
                status=parcel.status,
            )
            for parcel in one.parcels[:_SHOWN_PARCELS]
        ],
    )


def _state(one: StoredOrder) -> "order_pb2.Order.State.ValueType":
    if one.cancel_time is not None:
        return order_pb2.Order.STATE_CANCELLED
    if one.returned_minor <= 0:
        return order_pb2.Order.STATE_PLACED
    if one.returned_minor >= one.ordered_minor:
        return order_pb2.Order.STATE_RETURNED
    return order_pb2.Order.STATE_PARTLY_RETURNED
