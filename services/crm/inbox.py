"""The webhook inbox: receive, authenticate, admit, acknowledge. What was acknowledged is stored durably.

Before a request has proved itself, nothing of it touches the database but the search for its address. An unknown
address, a wrong provider and a bad signature cost the same work and get the same answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from prometheus_client import Counter

from servicekit.ids import uuid7
from services.crm.admission import Admission, conversation_of, dedupe_key, pack
from services.crm.connections import token_hash
from services.crm.credentials import seal_payload
from services.crm.directory import Directory, Recipient
from services.crm.entrance import Entrance
from services.crm.errors import WebhookRefusedError, WebhookTooLargeError
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import (
    MAX_BODY_BYTES,
    Answer,
    Part,
    Provider,
    Request,
    Verdict,
    WebhookSecret,
    account_matches,
    judge,
)
from services.crm.providers.zendesk import ZENDESK
from services.crm.refusals import Refusals
from services.crm.threshold import Threshold

RECEIVED = Counter("rapport_webhooks_total", "Webhooks received, by provider and outcome.", ("provider", "outcome"))

# What a request to an unknown address is judged by, so that it takes as long as any other. Nobody holds this secret.
_NOBODYS = [WebhookSecret(1, "unknown address", datetime(2000, 1, 1, tzinfo=UTC))]


class Inbox:
    """Takes webhooks in."""

    def __init__(
        self,
        directory: Directory,
        entrance: Entrance,
        refusals: Refusals,
        *,
        threshold: Threshold,
        public_url: str,
        admitted: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._entrance = entrance
        self._refusals = refusals
        self._public_url = public_url.rstrip("/")
        self._threshold = threshold
        self._admitted = admitted

    async def receive(
        self,
        provider_name: str,
        token: str,
        *,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        host: str | None = None,
    ) -> Answer:
        """Verify a webhook and store it; return what its provider wants to hear.

        `path` is the path and query that the provider called, `headers` hold lower-case names, `host` is the host that
        was called as the gateway says it, None where it does not.

        Raises:
            WebhookTooLargeError: the body is larger than is looked at.
            WebhookRefusedError: the webhook does not prove itself.
            DatabaseUnavailableError: it could not be stored; the provider is to come again.
            AddressesBusyError: too many unknown addresses are looked up; the provider is to come again.
            TrustStaleError, grpc.aio.AioRpcError: whether the host is the tenant's is not known now.
        """
        if len(body) > MAX_BODY_BYTES:
            raise WebhookTooLargeError(
                f"The body is larger than {MAX_BODY_BYTES} bytes.", metadata={"limit": str(MAX_BODY_BYTES)}
            )
        now = datetime.now(UTC)
        request = Request(method, self._public_url + path, headers, body)
        recipient = await self._directory.find(token_hash(token))
        provider = PROVIDERS.get(provider_name)
        if provider is None or recipient is None or recipient.provider != provider_name:
            judge(provider or ZENDESK, request, _NOBODYS, now)
            raise _refusal("unknown")
        objection = await self._threshold.objection(recipient.tenant_id, host)
        if not objection and (answer := provider.handshake(request)) is not None:
            return answer
        admissions = self._judged(provider, recipient, request, now, objection)
        fresh = await self._entrance.admit(admissions)
        for new in fresh:
            RECEIVED.labels(provider.name, "admitted" if new else "duplicate").inc()
        if any(fresh):
            self._admitted()
        return provider.acknowledge(request)

    def _judged(
        self, provider: Provider, recipient: Recipient, request: Request, now: datetime, objection: str
    ) -> list[Admission]:
        """Return what is to be stored of a request that proves itself and against which there is no other objection.

        Raises:
            WebhookRefusedError: it does not, or it is about an account that is not the connection's.
        """
        verdict = judge(provider, request, recipient.secrets, now)
        reason = verdict.reason
        if verdict.accepted and not objection:
            if provider.pings(request):
                return []
            parts = provider.parts(request)
            account = recipient.config.get(provider.account_setting) if provider.account_setting else None
            if all(account_matches(account, part) for part in parts):
                return [self._admission(provider, recipient, request, part, verdict, now) for part in parts]
            reason = "account_mismatch"
        elif verdict.accepted:
            reason = objection
        self._refusals.count(recipient.tenant_id, recipient.connection_id, reason)
        raise _refusal(provider.name)

    @staticmethod
    def _admission(
        provider: Provider, recipient: Recipient, request: Request, part: Part, verdict: Verdict, now: datetime
    ) -> Admission:
        delivery_id = uuid7()
        kept = request if part.body is None else replace(request, body=part.body)
        packed = pack(kept, provider.kept_headers)
        return Admission(
            tenant_id=recipient.tenant_id,
            delivery_id=delivery_id,
            connection_id=recipient.connection_id,
            provider=provider.name,
            dedupe_key=dedupe_key(provider.name, recipient.connection_id, part.delivery),
            conversation=conversation_of(recipient.connection_id, part, delivery_id),
            secret_version=verdict.secret_version,
            key_version=recipient.key_version,
            payload=seal_payload(recipient.sealer, packed, tenant_id=recipient.tenant_id, delivery=delivery_id),
            received=now,
        )


def _refusal(provider: str) -> WebhookRefusedError:
    """Return the one answer to everything that does not prove itself."""
    RECEIVED.labels(provider, "refused").inc()
    return WebhookRefusedError("The webhook could not be authenticated.")
