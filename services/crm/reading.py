"""From a claimed job to what it means: opens the stored bytes and has the provider module translate them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
from rapport.tickets.v1 import ingest_service_pb2 as pb

from servicekit.errors import UnavailableError
from services.crm.admission import trace_of, unpack
from services.crm.credentials import open_payload
from services.crm.deliveries import State
from services.crm.events import Event, Requester, ShopEvent, TicketEvent
from services.crm.ingest import event_message
from services.crm.keyring import Keyring
from services.crm.outcomes import again, final
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import NotUnderstoodError, Proof, Provider, Request
from services.crm.store import Job, Outcome, StoredDelivery

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed job with the events that it means: those of tickets, those of a shop system, and who asks."""

    job: Job
    tickets: Sequence[pb.TicketEvent]
    shop: Sequence[ShopEvent]
    requesters: Sequence[Requester] = ()


@dataclass(frozen=True, slots=True)
class Hint:
    """A claimed job that only names a ticket, which has to be fetched.

    `instead` is what the delivery itself says, where a signature proves it: it counts when nothing can be fetched. None
    where that is nothing.
    """

    job: Job
    delivery: StoredDelivery
    ticket: str
    instead: Sequence[Event] | None


class Reader:
    """Reads what was admitted."""

    def __init__(self, keyring: Keyring, *, most_attempts: int) -> None:
        self._keyring = keyring
        self._most_attempts = most_attempts

    async def read(self, job: Job, delivery: StoredDelivery | None) -> Work | Hint | Outcome:
        """Return what a delivery means, or what becomes of it when it cannot be read.

        Raises:
            UnavailableError: nothing can be read now.
        """
        provider = PROVIDERS.get(delivery.provider) if delivery else None
        if delivery is None or provider is None:
            return final(job, State.DEAD, "DELIVERY_WITHOUT_PROVIDER")
        if job.attempts > self._most_attempts:
            # The last attempt never ended: it may be the one that took a worker down.
            return final(job, State.DEAD, "ATTEMPTS_EXHAUSTED")
        try:
            request = await self._request(job.tenant_id, delivery)
            # How old a replayed one is says how long people left it aside.
            received = None if delivery.replay_count else delivery.received
            job = replace(job, trace=trace_of(request), received=received)
            return _meaning(job, delivery, provider, request)
        except NotUnderstoodError as error:
            return final(job, State.QUARANTINED, error.reason)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad delivery must not stop the others
            _log.error("delivery_unreadable", delivery_id=str(job.delivery_id), error=type(error).__name__)
            return again(job, "PAYLOAD_UNREADABLE", most_attempts=self._most_attempts)

    async def _request(self, tenant_id: UUID, delivery: StoredDelivery) -> Request:
        sealer = await self._keyring.sealer(tenant_id, delivery.key_version)
        return unpack(open_payload(sealer, delivery.payload, tenant_id=tenant_id, delivery=delivery.id))


def _meaning(job: Job, delivery: StoredDelivery, provider: Provider, request: Request) -> Work | Hint | Outcome:
    """Return what a request says, as far as it is believed."""
    ticket = provider.hint(request)
    believed = provider.proof is Proof.SIGNATURE
    if ticket is not None:
        said = provider.events(request, delivery.received) if believed else ()
        return Hint(job, delivery, ticket, said or None)
    return work_of(job, delivery, provider.events(request, delivery.received) if believed else ())


def work_of(job: Job, delivery: StoredDelivery, events: Sequence[Event]) -> Work | Outcome:
    """Return events as they are sent; without any the job is done."""
    if not events:
        return final(job, State.PROCESSED)
    tickets = [
        event_message(event, index, connection_id=delivery.connection_id, provider=delivery.provider)
        for index, event in enumerate(events)
        if isinstance(event, TicketEvent)
    ]
    shop = [event for event in events if not isinstance(event, TicketEvent | Requester)]
    return Work(job, tickets, shop, [event for event in events if isinstance(event, Requester)])
