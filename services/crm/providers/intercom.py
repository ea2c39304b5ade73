"""Intercom: webhooks signed with the secret of an app, for all workspaces that installed it.

`X-Hub-Signature` is `sha1=` and the hexadecimal HMAC-SHA1 of the raw body; no time is signed, so that only the
notification's id keeps a copy from having a second effect. Saving the address sends an unsigned HEAD.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

from services.crm.events import Event
from services.crm.providers.api import Api
from services.crm.providers.intercom_api import INTERCOM_API
from services.crm.providers.intercom_events import item_events, subject_of
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
from services.crm.providers.signatures import (
    claimed_bytes,
    hex_of,
    json_object,
    object_of,
    proving,
    text_of,
    unix_time_of,
)

SIGNATURE = "x-hub-signature"

_SIGNED = "body"
_RULE = "sha1= and the lower-case hexadecimal HMAC-SHA1 with the app's client secret"
_TOPICS = ("ticket.", "conversation.", "conversation_part.")


def signature(secret: str, body: bytes) -> bytes:
    """Return the signature that Intercom sends for this body."""
    return b"sha1=" + hex_of(hmac.digest(secret.encode(), body, "sha1"))


class Intercom:
    """Intercom tickets and conversations."""

    name = "intercom"
    proof = Proof.SIGNATURE
    app_level = True
    account_setting = "app_id"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "app_id": Setting(re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII), "the workspace's id"),
            "region": Setting(re.compile(r"us|eu|au"), "where the workspace is hosted: us (if not set), eu or au"),
            "client_id": Setting(re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII), "the id of the app that OAuth was for"),
            "admin_id": Setting(
                re.compile(r"[0-9]{1,20}", re.ASCII), "who notes and replies are from, if not the token's owner"
            ),
            "priority_attribute": Setting(
                re.compile(r"[^\x00-\x1f]{1,100}"), "the ticket attribute that holds the priority: tickets have none"
            ),
        }
    )
    credentials = frozenset({"access_token", "client_secret"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({SIGNATURE, "content-type"})
    # One retry after a minute; a throttled one may come up to two hours later.
    retry_horizon = timedelta(days=1)
    api: Api | None = INTERCOM_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Check the signature with every active secret."""
        claimed = claimed_bytes(request, SIGNATURE)
        if claimed is None:
            return Verdict.refused("header_missing_or_repeated", signed=_SIGNED, rule=_RULE)
        proof = proving(secrets, claimed, lambda text: signature(text, request.body))
        if proof is None:
            return Verdict.refused("signature_mismatch", signed=_SIGNED, rule=_RULE)
        return Verdict.verified_by(proof, signed=_SIGNED, rule=_RULE)

    def handshake(self, request: Request) -> Answer | None:
        """Answer the HEAD that is sent when the address is saved."""
        return Answer("text/plain", b"") if request.method == "HEAD" else None

    def pings(self, request: Request) -> bool:
        """Return whether it is Intercom's ping, which may have no id."""
        return text_of((request.read(json_object) or {}).get("topic")) == "ping"

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the workspace, the notification and the ticket.

        The app's secret signs for every workspace: of an app, what names none is nobody's.
        """
        body = request.read(json_object) or {}
        notification = text_of(body.get("id"))
        delivery = ("event", notification) if notification else ("body", sha256(request.body).hexdigest())
        topic = text_of(body.get("topic"))
        ticket = ""
        if topic.startswith(_TOPICS):
            ticket, _ = subject_of(topic, object_of(object_of(body.get("data")).get("item")))
        workspace = text_of(body.get("app_id"))
        return (Part((workspace,) if workspace else (), delivery, ticket or None),)

    def acknowledge(self, _request: Request) -> Answer:
        """Intercom reads only the status."""
        return ACCEPTED

    def events(self, request: Request, received: datetime) -> Sequence[Event]:
        """Turn a notification about a ticket or a conversation into ours.

        Raises:
            NotUnderstoodError: the body is no notification, or names no ticket.
        """
        body = request.read(json_object)
        if body is None:
            raise NotUnderstoodError("BODY_NOT_A_JSON_OBJECT")
        topic = text_of(body.get("topic"))
        if not topic:
            raise NotUnderstoodError("TOPIC_MISSING")
        if not topic.startswith(_TOPICS):
            return ()
        item = object_of(object_of(body.get("data")).get("item"))
        ticket, found = subject_of(topic, item)
        if not ticket:
            raise NotUnderstoodError("TICKET_ID_MISSING")
        occurred = unix_time_of(body.get("created_at")) or unix_time_of(found.get("updated_at")) or received
        part = object_of(item.get("ticket_part")) or object_of(item.get("conversation_part"))
        return item_events(ticket, found, occurred, part=part, key="/".join(self.parts(request)[0].delivery))

    def hint(self, _request: Request) -> str | None:
        """What Intercom signs is believed."""
        return None


INTERCOM = Intercom()
"""The one instance."""
