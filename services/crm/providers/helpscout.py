"""Help Scout: webhooks signed with a secret of at most 40 characters that the shop chose.

`X-HelpScout-Signature` is the base64 HMAC-SHA1 of the raw body. Nothing else is signed: the event's name stands in a
header that anybody on the way may change, so that the body says what happened wherever it can. It names neither an
account nor a delivery; the body itself identifies it.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

from services.crm.events import Event, Fields, TicketEvent
from services.crm.providers.api import Api
from services.crm.providers.helpscout_api import HELPSCOUT_API
from services.crm.providers.helpscout_events import conversation_events, is_conversation
from services.crm.providers.provider import (
    ACCEPTED,
    Answer,
    NotUnderstoodError,
    Part,
    Proof,
    Request,
    Setting,
    Verdict,
    WebhookSecret,
)
from services.crm.providers.signatures import base64_of, claimed_bytes, json_object, proving, text_of
from services.crm.providers.snapshots import MOST_ID

SIGNATURE = "x-helpscout-signature"
EVENT = "x-helpscout-event"

_SIGNED = "body"
_RULE = "base64 HMAC-SHA1 with the webhook's secret"
_TEST = "helpscout.test"
_DELETED = "convo.deleted"
_ADDRESS = re.compile(r"https://api\.helpscout\.net/v2/conversations/([0-9]{1,20})", re.ASCII)


def signature(secret: str, body: bytes) -> bytes:
    """Return the signature that Help Scout sends for this body."""
    return base64_of(hmac.digest(secret.encode(), body, "sha1"))


class HelpScout:
    """Help Scout conversations."""

    name = "helpscout"
    proof = Proof.SIGNATURE
    app_level = False
    account_setting: str | None = None
    settings: Mapping[str, Setting] = MappingProxyType(
        {"app_id": Setting(re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII), "the id of the OAuth app, for calling the API")}
    )
    credentials = frozenset({"app_secret", "refresh_token", "access_token"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({SIGNATURE, EVENT, "content-type"})
    # The vendor names no figure for its retries; a copy after this time would be a new state of the same threads.
    retry_horizon = timedelta(days=7)
    api: Api | None = HELPSCOUT_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Check the signature with every active secret."""
        claimed = claimed_bytes(request, SIGNATURE)
        if claimed is None:
            return Verdict.refused("header_missing_or_repeated", signed=_SIGNED, rule=_RULE)
        proof = proving(secrets, claimed, lambda text: signature(text, request.body))
        if proof is None:
            return Verdict.refused("signature_mismatch", signed=_SIGNED, rule=_RULE)
        return Verdict.verified_by(proof, signed=_SIGNED, rule=_RULE)

    def handshake(self, _request: Request) -> Answer | None:
        """Help Scout has no handshake: its test is signed."""
        return None

    def pings(self, request: Request) -> bool:
        """Return whether it is a test: the header says so, unless the body has a conversation or names one."""
        body = request.read(json_object) or {}
        return request.header(EVENT) == _TEST and not is_conversation(body) and not _named(request)

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the conversation; the signed bytes identify the delivery, if they are a state and no mere address."""
        body = request.read(json_object) or {}
        delivery = ("body", sha256(request.body).hexdigest())
        if deleted := _deleted(request):
            # A deleted customer of the same number has the same body.
            return (Part((), (*delivery, _DELETED), deleted),)
        if named := _named(request):
            # The next change of the conversation looks the same: a copy costs one fetch, a lost change would cost more.
            return (Part((), (), named),)
        return (Part((), delivery, text_of(body.get("id"), MOST_ID) or None if is_conversation(body) else None),)

    def acknowledge(self, _request: Request) -> Answer:
        """Help Scout reads only the status."""
        return ACCEPTED

    def events(self, request: Request, received: datetime) -> Sequence[Event]:
        """Turn a conversation into ours; what is about customers and ratings means nothing to us.

        Raises:
            NotUnderstoodError: the body is no JSON object.
        """
        body = request.read(json_object)
        if body is None:
            raise NotUnderstoodError("BODY_NOT_A_JSON_OBJECT")
        key = "/".join(self.parts(request)[0].delivery)
        if deleted := _deleted(request):
            return (TicketEvent(key, deleted, received, Fields(status="closed")),)
        return conversation_events(body, received, key=key) if is_conversation(body) else ()

    def hint(self, request: Request) -> str | None:
        """Return the conversation of a webhook that says only where it was or is; all others say everything.

        That one is deleted says the header alone, so that it is looked for as well.
        """
        return _named(request) or _deleted(request) or None


def _named(request: Request) -> str:
    """Return the conversation whose address is all that a body says, as with the webhook's option `notification`."""
    body = request.read(json_object) or {}
    if is_conversation(body):
        return ""
    found = _ADDRESS.fullmatch(text_of(body.get("resourceUri")) or text_of(body.get("uri")))
    return found[1] if found else ""


def _deleted(request: Request) -> str:
    """Return the conversation that was deleted: nothing but its id is sent, and the header says what the id is of."""
    body = request.read(json_object) or {}
    return text_of(body.get("id"), MOST_ID) if request.header(EVENT) == _DELETED and body.keys() == {"id"} else ""


HELPSCOUT = HelpScout()
"""The one instance."""
