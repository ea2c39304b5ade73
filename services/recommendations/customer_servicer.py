"""`rapport.recommendations.v1.CustomerService` and `IdentityService`: message in, one call, message out."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from rapport.recommendations.v1 import (
    customer_pb2,
    customer_service_pb2,
    customer_service_pb2_grpc,
    identity_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
)

from servicekit.database import Database
from servicekit.identity import caller, caller_tenant
from servicekit.server import Registration
from servicekit.timestamps import moment, timestamp
from services.recommendations.customers import Customers
from services.recommendations.exporting import Exporting
from services.recommendations.merge_store import PERSON, Merge
from services.recommendations.people import GivenContact, People, Person
from services.recommendations.service import Context, json_body
from services.recommendations.store import Contact

_JSON_LINES = "application/x-ndjson"


def registrations(database: Database, customers: Customers) -> Sequence[Registration]:
    """Return the servicers of this module."""
    people = People(database, customers)
    exporting = Exporting(database, customers, people)
    return (
        Registration(
            customer_service_pb2_grpc.add_CustomerServiceServicer_to_server,
            CustomerServicer(customers, people, exporting),
        ),
        Registration(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, IdentityServicer(people)),
    )


class CustomerServicer(customer_service_pb2_grpc.CustomerServiceServicer):
    """`rapport.recommendations.v1.CustomerService`."""

    def __init__(self, customers: Customers, people: People, exporting: Exporting) -> None:
        self._customers = customers
        self._people = people
        self._exporting = exporting

    async def GetCustomer(self, request: customer_service_pb2.GetCustomerRequest, _context: Context) -> HttpBody:
        """Return a customer's profile."""
        return json_body(await self._customers.profile_json(caller_tenant(), request.customer_id))

    async def SetCustomerContact(
        self, request: customer_service_pb2.SetCustomerContactRequest, _context: Context
    ) -> customer_pb2.CustomerContact:
        """Set how a customer can be reached."""
        changed = moment(request, "change_time")
        contact = await self._people.set_contact(
            caller_tenant(),
            request.customer_id,
            request.email,
            request.display_name,
            changed,
            phone=request.phone,
            provider_ids=dict(request.provider_ids),
        )
        return _contact(contact)

    async def SetCustomerContacts(
        self, request: customer_service_pb2.SetCustomerContactsRequest, _context: Context
    ) -> customer_service_pb2.SetCustomerContactsResponse:
        """Set how customers can be reached."""
        given = [
            GivenContact(
                one.customer_id,
                one.email,
                one.display_name,
                moment(one, "change_time"),
                one.phone,
                dict(one.provider_ids),
            )
            for one in request.contacts
        ]
        kept = await self._people.set_contacts(caller_tenant(), given)
        return customer_service_pb2.SetCustomerContactsResponse(contacts=[_contact(one) for one in kept])

    async def ExportCustomer(
        self, request: customer_service_pb2.ExportCustomerRequest, _context: Context
    ) -> AsyncIterator[HttpBody]:
        """Return everything that is kept of a customer."""
        tickets = [UUID(ticket) for ticket in request.tickets]
        async for piece in self._exporting.export(caller_tenant(), request.customer_id, tickets):
            yield HttpBody(content_type=_JSON_LINES, data=piece)

    async def EraseCustomer(
        self, request: customer_service_pb2.EraseCustomerRequest, _context: Context
    ) -> customer_service_pb2.EraseCustomerResponse:
        """Forget a customer."""
        if request.validate_only:
            known = await self._people.known(caller_tenant(), request.customer_id)
        else:
            tickets = [UUID(ticket) for ticket in request.tickets]
            known = await self._people.erase(caller_tenant(), request.customer_id, tickets)
        return customer_service_pb2.EraseCustomerResponse(
            order_count=known.order_count, known=known.known, email=known.email, customer_ids=known.customer_ids
        )


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """`rapport.recommendations.v1.IdentityService`."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def RecordIdentities(
        self, request: identity_service_pb2.RecordIdentitiesRequest, _context: Context
    ) -> identity_pb2.CustomerIdentities:
        """State stable ids of a customer."""
        stated = [(one.kind, one.value) for one in request.identities]
        return _person(
            await self._people.record(
                caller_tenant(), request.customer_id, stated, request.source, replace=request.replace
            )
        )

    async def GetCustomerIdentities(
        self, request: identity_service_pb2.GetCustomerIdentitiesRequest, _context: Context
    ) -> identity_pb2.CustomerIdentities:
        """Return who a customer is."""
        return _person(await self._people.describe(caller_tenant(), request.customer_id))

    async def MergeCustomers(
        self, request: identity_service_pb2.MergeCustomersRequest, _context: Context
    ) -> identity_pb2.CustomerMerge:
        """Make two customers one."""
        principal = caller().subject
        return _merge(await self._people.merge(caller_tenant(), request.survivor_id, request.customer_id, principal))

    async def UndoMerge(
        self, request: identity_service_pb2.UndoMergeRequest, _context: Context
    ) -> identity_pb2.CustomerMerge:
        """Take a merge back."""
        return _merge(await self._people.undo_merge(caller_tenant(), UUID(request.merge_id)))


def _person(person: Person) -> identity_pb2.CustomerIdentities:
    return identity_pb2.CustomerIdentities(
        customer_id=person.customer_id,
        customer_ids=person.customer_ids,
        identities=[
            identity_pb2.Identity(
                kind=one.identity.kind,
                value=one.identity.value,
                source=one.source,
                create_time=timestamp(one.create_time),
                customer_count=one.customer_count,
            )
            for one in person.identities
        ],
        merges=[_merge(one) for one in person.merges],
        possible_matches=[
            identity_pb2.PossibleMatch(customer_id=one.customer_id, kind=one.kind, value=one.value, against=one.against)
            for one in person.matches
        ],
    )


def _merge(merge: Merge) -> identity_pb2.CustomerMerge:
    message = identity_pb2.CustomerMerge
    return message(
        merge_id=str(merge.merge_id),
        customer_id=merge.customer_id,
        survivor_id=merge.survivor_id,
        origin=message.ORIGIN_PERSON if merge.origin == PERSON else message.ORIGIN_EVIDENCE,
        evidence=[
            message.Evidence(kind=one.kind, value=one.value, shared_with=one.shared_with) for one in merge.evidence
        ],
        principal=merge.principal,
        create_time=timestamp(merge.create_time),
        undo_time=timestamp(merge.undo_time) if merge.undo_time else None,
        undo_reason=merge.undo_reason,
    )


def _contact(kept: Contact) -> customer_pb2.CustomerContact:
    return customer_pb2.CustomerContact(
        customer_id=kept.customer_id,
        email=kept.email,
        display_name=kept.display_name,
        update_time=timestamp(kept.update_time),
        phone=kept.phone,
    )
