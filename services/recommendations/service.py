"""The servicer of the log, and what all servicers of this service share."""

from typing import Any, TypeAlias
from uuid import UUID

import grpc
import orjson
from google.api.httpbody_pb2 import HttpBody
from rapport.recommendations.v1 import (
    change_service_pb2,
    change_service_pb2_grpc,
)

from servicekit import outbox
from servicekit.database import Database
from servicekit.identity import caller_tenant
from servicekit.timestamps import timestamp
from services.recommendations import advice_store, store
from services.recommendations.advising import Advising
from services.recommendations.customers import Customers, Known

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CHANGES = 500

_KINDS = {
    store.KIND_CUSTOMER: change_service_pb2.Change.KIND_CUSTOMER,
    store.KIND_ADVICE: change_service_pb2.Change.KIND_ADVICE,
}


def json_body(value: bytes) -> HttpBody:
    """Return finished JSON as a body."""
    return HttpBody(content_type="application/json", data=value)


class ChangeServicer(change_service_pb2_grpc.ChangeServiceServicer):
    """`rapport.recommendations.v1.ChangeService`."""

    def __init__(self, database: Database, customers: Customers, advising: Advising) -> None:
        self._database = database
        self._customers = customers
        self._advising = advising

    async def ListChanges(
        self, request: change_service_pb2.ListChangesRequest, _context: Context
    ) -> change_service_pb2.ListChangesResponse:
        """Return references to what changed after a cursor."""
        async with self._database.spanning() as connection:
            entries, cursor = await outbox.read(connection, request.cursor, request.limit or _CHANGES)
        changes = [
            change_service_pb2.Change(tenant_id=str(entry.tenant_id), kind=_KINDS[entry.kind], subject=entry.subject)
            for entry in entries
        ]
        return change_service_pb2.ListChangesResponse(changes=changes, cursor=cursor)

    async def BatchGetCustomerCards(
        self, request: change_service_pb2.BatchGetCustomerCardsRequest, _context: Context
    ) -> change_service_pb2.BatchGetCustomerCardsResponse:
        """Return the finished profiles of customers."""
        found = await self._customers.find(caller_tenant(), list(request.customer_ids))
        return change_service_pb2.BatchGetCustomerCardsResponse(
            cards=[_card(named, known) for named, known in found.items()]
        )

    async def BatchGetAdvice(
        self, request: change_service_pb2.BatchGetAdviceRequest, _context: Context
    ) -> change_service_pb2.BatchGetAdviceResponse:
        """Return the current advice on tickets."""
        found = await self._advising.current(caller_tenant(), [UUID(ticket) for ticket in request.ticket_ids])
        advice = [
            change_service_pb2.Advice(
                ticket_id=str(ticket_id),
                recommendation_json=_text(kinds.get(advice_store.RECOMMENDATION)),
                draft_json=_text(kinds.get(advice_store.DRAFT)),
            )
            for ticket_id, kinds in found.items()
        ]
        return change_service_pb2.BatchGetAdviceResponse(advice=advice)


def _card(customer_id: str, known: Known) -> change_service_pb2.CustomerCard:
    history, churn = known.judged.history, known.judged.churn
    return change_service_pb2.CustomerCard(
        customer_id=customer_id,
        lifetime_value=known.profile["business_metrics"]["lifetime_value"] if history.last_at is not None else None,
        churn_probability=churn.probability,
        profile_json=known.profile_json.decode(),
        update_time=timestamp(known.profile_time),
        origin=churn.origin,
    )


def _text(values: dict[str, Any] | None) -> str:
    return orjson.dumps(values).decode() if values is not None else ""
