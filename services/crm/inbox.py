"""The webhook inbox: receive, authenticate, admit, acknowledge. What was acknowledged is stored durably.

Before a request has proved itself, nothing of it touches the database but the search for its address. An unknown
address, a wrong provider and a bad signature cost the same work and get the same answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter
from structlog.contextvars import bind_contextvars

from servicekit.identity import Credential
from servicekit.ids import uuid7
from servicekit.tracing import recorded_here
from services.crm.accounts import Accounts, Destination
from services.crm.admission import Admission, conversation_of, dedupe_key, pack
from services.crm.allowed import SETTING as ALLOWED_ADDRESSES
from services.crm.allowed import allows
from services.crm.apps import Account
from services.crm.credentials import seal_payload
from services.crm.directory import Directory, Recipient
from services.crm.entrance import Entrance
from services.crm.errors import WebhookRefusedError, WebhookTooLargeError
from services.crm.judging import Decision, Judgement, Step, decide, is_owned, owned_parts, refuse_stranger, weigh
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import (
    MAX_BODY_BYTES,
    Answer,
    Part,
    Proof,
    Provider,
    Request,
)
from services.crm.providers.zendesk import ZENDESK
from services.crm.quarantine import Quarantine
from services.crm.refusals import Refusals
from services.crm.threshold import Threshold
from services.crm.usage import PredecessorUses

_log = structlog.get_logger(__name__)
RECEIVED = Counter("rapport_webhooks_total", "Webhooks received, by provider and outcome.", ("provider", "outcome"))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook as it came in.

    `token` is the one in the address (or, at the predecessor's path, in its header), and `found_by` the hash under
    which a connection is looked for. `path` is the path and query that the provider called; `headers` hold lower-case
    names; `host` is the host that was called and `client` the address that called, both as the gateway says them, None
    where it does not. `predecessor` says that it came by the predecessor's path.
    """

    provider: str
    token: str = field(repr=False)
    found_by: bytes
    method: str
    path: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    host: str | None = None
    client: str | None = None
    predecessor: bool = False


@dataclass(frozen=True, slots=True)
class _Case:
    """A webhook with all that it is decided by."""

    provider: Provider
    recipient: Recipient
    request: Request
    arrival: Arrival
    decision: Decision
    now: datetime


class Inbox:
    """Takes webhooks in."""

    def __init__(
        self,
        directory: Directory,
        entrance: Entrance,
        refusals: Refusals,
        *,
        accounts: Accounts,
        quarantine: Quarantine,
        uses: PredecessorUses,
        threshold: Threshold,
        public_url: str,
        admitted: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._entrance = entrance
        self._refusals = refusals
        self._accounts = accounts
        self._quarantine = quarantine
        self._uses = uses
        self._public_url = public_url.rstrip("/")
        self._threshold = threshold
        self._admitted = admitted

    async def receive(self, arrival: Arrival) -> Answer:
        """Verify a webhook and store it; return what its provider wants to hear.

        Raises:
            WebhookTooLargeError: the body is larger than is looked at.
            WebhookRefusedError: the webhook does not prove itself.
            DatabaseUnavailableError: it could not be stored; the provider is to come again.
            AddressesBusyError: too many unknown addresses are looked up; the provider is to come again.
            AuditUnavailableError: it came as the predecessor's do, and the audit log is out of reach.
            TrustStaleError, grpc.aio.AioRpcError: whether the host is the tenant's is not known now.
        """
        if len(arrival.body) > MAX_BODY_BYTES:
            raise WebhookTooLargeError(
                f"The body is larger than {MAX_BODY_BYTES} bytes.", metadata={"limit": str(MAX_BODY_BYTES)}
            )
        now = datetime.now(UTC)
        request = Request(arrival.method, self._public_url + arrival.path, arrival.headers, arrival.body)
        recipient = await self._directory.find(arrival.found_by)
        provider = PROVIDERS.get(arrival.provider)
        if provider is None or recipient is None or not recipient.takes(arrival.provider, now):
            refuse_stranger(provider or ZENDESK, request, now)
            if recipient is not None:
                self._refusals.count(recipient.tenant_id, recipient.connection_id, "address_mismatch")
            raise _refusal("unknown")
        if not recipient.is_app:
            bind_contextvars(tenant_id=str(recipient.tenant_id))
        objection = await self._objection(recipient, arrival)
        decision = _decision(provider, recipient, request, arrival, now, objected=bool(objection))
        case = _Case(provider, recipient, request, arrival, decision, now)
        if decision.step is Step.REFUSED:
            if not objection:
                await self._keep_late(case)
            verdict = decision.judgement.verdict
            self._count(case, objection if verdict.accepted else verdict.reason)
            raise _refusal(provider.name)
        if decision.step is Step.DELIVERIES:
            await self._admit(case)
        return decision.answer or provider.acknowledge(request)

    async def _objection(self, recipient: Recipient, arrival: Arrival) -> str:
        """Return what there is against a request whatever proves it, as a fixed word; "" if nothing.

        An app has no tenant; what there is against those of its deliveries is asked for each.
        """
        if not allows(recipient.config.get(ALLOWED_ADDRESSES, ""), arrival.client):
            return "address_not_allowed"
        return "" if recipient.is_app else await self._threshold.objection(recipient.tenant_id, arrival.host)

    async def _admit(self, case: _Case) -> None:
        """Store the deliveries of an authentic request, all together.

        Of an app's request that may be none: it is acknowledged all the same, since vendors pause an app for all its
        accounts when it is refused, and since nobody but the vendor can have proved it.
        """
        destined = await self._destined(case, case.decision.parts)
        judgement = case.decision.judgement
        if judgement.predecessor or case.arrival.predecessor:
            await self._uses.note(case.recipient.tenant_id, case.recipient.connection_id, case.provider.name)
        version = judgement.verdict.secret_version
        fresh = await self._entrance.admit([_admission(case, to, part, version) for to, part in destined])
        for new in fresh:
            RECEIVED.labels(case.provider.name, "admitted" if new else "duplicate").inc()
        if any(fresh):
            self._admitted()

    async def _keep_late(self, case: _Case) -> None:
        """Keep in quarantine what is signed by an ended secret or at another time; it is refused whatever happens."""
        judgement = case.decision.judgement
        if not judgement.interest:
            return
        name, late = case.provider.name, []
        try:
            parts = owned_parts(case.provider, case.recipient.config, case.request)
            for to, part in await self._destined(case, parts):
                key = dedupe_key(name, to.connection_id, part.delivery)
                if self._quarantine.has_room(to.connection_id, key if part.delivery else None):
                    part_late = replace(part, delivery=part.delivery and ("late", *part.delivery))
                    late.append((_admission(case, to, part_late, judgement.late_version), key))
            await self._quarantine.keep(late, judgement.interest)
        except Exception as error:  # noqa: BLE001 - a refusal is answered as one, whatever happens to its copy
            _log.warning("quarantine_not_written", error=type(error).__name__)

    async def _destined(self, case: _Case, parts: Sequence[Part]) -> list[tuple[Destination, Part]]:
        """Return deliveries of an authentic request, each with the connection that it goes to.

        Of an app's request those are left out that are about accounts which nobody here has proved to own, or whose
        owners take none of it.
        """
        it = case.recipient
        if not it.is_app:
            here = Destination(it.tenant_id, it.connection_id, it.config, it.sealer, it.key_version)
            return [(here, part) for part in parts]
        name = case.provider.name
        owners = await self._accounts.owners({Account(name, each) for part in parts for each in _names(part)})
        destined = []
        for part in parts:
            to = _owner_of(part, {account.id: owner for account, owner in owners.items()})
            if to is None:
                self._count(case, "account_unknown")
            elif objection := await self._owners_objection(case, to, part):
                self._refusals.count(to.tenant_id, to.connection_id, objection)
            else:
                destined.append((to, part))
        return destined

    async def _owners_objection(self, case: _Case, to: Destination, part: Part) -> str:
        """Return what an account's owner has against a delivery that an app received, as a fixed word; "" if nothing.

        It takes no more of an app than at an address of its own.
        """
        if not is_owned(case.provider, to.config, part):
            return "account_mismatch"
        if not allows(to.config.get(ALLOWED_ADDRESSES, ""), case.arrival.client):
            return "address_not_allowed"
        return await self._threshold.objection(to.tenant_id, case.arrival.host, Credential.WEBHOOK_ACCOUNT)

    def _count(self, case: _Case, reason: str) -> None:
        self._refusals.count(case.recipient.tenant_id, case.recipient.connection_id, reason)


def _names(part: Part) -> tuple[str, ...]:
    return (*part.accounts, *part.spellings)


def _owner_of(part: Part, owners: Mapping[str, Destination]) -> Destination | None:
    """Return the one owner of all accounts that a delivery names; None where one is nobody's, or they have several."""
    found = {owners[each].connection_id: owners[each] for each in _names(part) if each in owners}
    spelled = any(each in owners for each in part.spellings)
    if len(found) != 1 or not (spelled or all(each in owners for each in part.accounts)):
        return None
    return next(iter(found.values()))


def _decision(
    provider: Provider, recipient: Recipient, request: Request, arrival: Arrival, now: datetime, *, objected: bool
) -> Decision:
    """Decide about a request by what proves those of its connection; what is objected to costs as much as any other."""
    proofs = recipient.proofs(arrival.token, by_address=provider.proof is Proof.ADDRESS)

    def judged() -> Judgement:
        mode = recipient.predecessor_until is not None and now < recipient.predecessor_until
        return weigh(provider, request, proofs, now, predecessor=recipient.secrets if mode else ())

    if objected:
        return Decision(Step.REFUSED, judged())
    # Where nothing can prove itself not even a handshake is answered: the address looks like an unknown one.
    receives = any(proof.active(now) for proof in proofs)
    return decide(provider, recipient.config, request, judged, receives=receives)


def _admission(case: _Case, to: Destination, part: Part, secret_version: int) -> Admission:
    delivery_id = uuid7()
    kept = case.request if part.body is None else replace(case.request, body=part.body)
    packed = pack(kept, case.provider.kept_headers, recorded_here())
    return Admission(
        tenant_id=to.tenant_id,
        delivery_id=delivery_id,
        connection_id=to.connection_id,
        provider=case.provider.name,
        dedupe_key=dedupe_key(case.provider.name, to.connection_id, part.delivery or (f"arrival-{delivery_id}",)),
        conversation=conversation_of(to.connection_id, part, delivery_id),
        secret_version=secret_version,
        key_version=to.key_version,
        payload=seal_payload(to.sealer, packed, tenant_id=to.tenant_id, delivery=delivery_id),
        received=case.now,
    )


def _refusal(provider: str) -> WebhookRefusedError:
    """Return the one answer to everything that does not prove itself."""
    RECEIVED.labels(provider, "refused").inc()
    return WebhookRefusedError("The webhook could not be authenticated.")
