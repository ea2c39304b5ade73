"""An operator's calls about who a shop's customers are."""

import json
from typing import Any

from rapport.recommendations.v1 import (
    customer_service_pb2,
    customer_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
)
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from cli.customers import tickets_of
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 30
_EXPORT_SECONDS = 600
_TICKETS_AT_ONCE = 1000


async def identities_of(folder: SuiteFolder, tenant: str, customer: str) -> dict[str, Any]:
    """Return who a customer is.

    Raises:
        CommandError: nobody is known under this id.
    """
    async with operator_of(folder) as operator:
        return await _who(operator, tenant, customer)


async def merge_customers(folder: SuiteFolder, tenant: str, survivor: str, customer: str) -> dict[str, Any]:
    """Make a customer one with another one; return the merge.

    Raises:
        CommandError: one of them is not known, or is merged already.
    """
    async with operator_of(folder) as operator:
        service = operator.stub(identity_service_pb2_grpc.IdentityServiceStub, "recommendations")
        request = identity_service_pb2.MergeCustomersRequest(survivor_id=survivor, customer_id=customer)
        return as_dict(
            await service.MergeCustomers(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
        )


async def undo_merge(folder: SuiteFolder, tenant: str, merge: str) -> dict[str, Any]:
    """Take a merge back and return it.

    Raises:
        CommandError: there is no such merge.
    """
    async with operator_of(folder) as operator:
        service = operator.stub(identity_service_pb2_grpc.IdentityServiceStub, "recommendations")
        request = identity_service_pb2.UndoMergeRequest(merge_id=merge)
        return as_dict(await service.UndoMerge(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


async def export_customer(folder: SuiteFolder, tenant: str, customer: str) -> list[dict[str, Any]]:
    """Return everything that is kept of a customer, each {"kind": …, "value": …}: history, advice, and the tickets.

    Raises:
        CommandError: nobody is known under this id.
    """
    async with operator_of(folder) as operator:
        ids = (await _who(operator, tenant, customer))["customer_ids"]
        tickets = [ticket.id for one in ids for ticket in (await tickets_of(operator, tenant, one))[0]]
        service = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
        lines: dict[bytes, None] = {}
        for start in range(0, max(len(tickets), 1), _TICKETS_AT_ONCE):
            some = tickets[start : start + _TICKETS_AT_ONCE]
            request = customer_service_pb2.ExportCustomerRequest(customer_id=customer, tickets=some)
            call = service.ExportCustomer(request, metadata=await operator.metadata(tenant), timeout=_EXPORT_SECONDS)
            async for body in call:
                lines.update(dict.fromkeys(body.data.splitlines()))
        conversations = operator.stub(conversation_service_pb2_grpc.ConversationServiceStub, "tickets")
        for ticket in tickets:
            asked = conversation_service_pb2.GetConversationRequest(ticket=ticket)
            found = await conversations.GetConversation(
                asked, metadata=await operator.metadata(tenant), timeout=_SECONDS
            )
            lines[json.dumps({"kind": "conversation", "value": as_dict(found)}, ensure_ascii=False).encode()] = None
    return [json.loads(line) for line in lines]


async def _who(operator: Operator, tenant: str, customer: str) -> dict[str, Any]:
    service = operator.stub(identity_service_pb2_grpc.IdentityServiceStub, "recommendations")
    request = identity_service_pb2.GetCustomerIdentitiesRequest(customer_id=customer)
    return as_dict(
        await service.GetCustomerIdentities(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
    )
