"""An operator's calls about a shop's customers."""

from collections.abc import Sequence
from dataclasses import dataclass

from rapport.crm.v1 import delivery_service_pb2, delivery_service_pb2_grpc
from rapport.recommendations.v1 import customer_service_pb2, customer_service_pb2_grpc

from cli.operator import operator_of
from cli.suite.folder import SuiteFolder

SHORTEST_MENTION = 3
"""The fewest characters of a text by which deliveries are searched: a shorter one would be found in all of them."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed with a customer; `deliveries` are those that lost their content."""

    customer: str
    known: bool
    orders: int
    deliveries: int


async def erase_customer(folder: SuiteFolder, tenant: str, customer: str, also: Sequence[str]) -> Erased:
    """Forget a customer: contact, orders and profile, and what the inbox holds that mentions the id or one of `also`.

    The inbox comes first: what it holds could otherwise be replayed into a profile that is gone.
    """
    mentioned = [text for text in dict.fromkeys((customer, *also)) if len(text) >= SHORTEST_MENTION]
    async with operator_of(folder) as operator:
        inbox = operator.stub(delivery_service_pb2_grpc.DeliveryServiceStub, "crm")
        request = delivery_service_pb2.EraseCustomerDeliveriesRequest(mentioned=mentioned)
        deliveries = 0
        while mentioned:
            part = await inbox.EraseCustomerDeliveries(request, metadata=await operator.metadata(tenant), timeout=60)
            deliveries += part.erased
            request.page_token = part.next_page_token
            if not part.next_page_token:
                break
        customers = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
        done = await customers.EraseCustomer(
            customer_service_pb2.EraseCustomerRequest(customer_id=customer),
            metadata=await operator.metadata(tenant),
            timeout=60,
        )
    return Erased(customer, done.known, done.order_count, deliveries)
