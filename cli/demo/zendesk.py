"""The demo world's helpdesk: sends tickets as Zendesk does, signed, to the gateway."""

import base64
import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime

import httpx

from cli.demo.letters import Letter
from cli.errors import CommandError

_ACCOUNT = 22_129_848


async def send_letters(client: httpx.AsyncClient, webhook_url: str, secret: str, letters: list[Letter]) -> None:
    """Post each letter as a signed `ticket.created` event, the oldest first.

    Raises:
        CommandError: the gateway did not take one.
    """
    for letter in letters:
        body = json.dumps(_event(letter)).encode()
        answer = await client.post(webhook_url, content=body, headers=_headers(secret, body, letter))
        if not answer.is_success:
            raise CommandError(
                f"The gateway answered {answer.status_code} to a demo webhook: {_detail(answer)}",
                reason="WEBHOOK_REFUSED",
            )


def _event(letter: Letter) -> dict[str, object]:
    """Write the event; its own times lie in the past, when the customer wrote."""
    written = letter.written.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    requester = int(letter.customer.id)
    return {
        "type": "zen:event-type:ticket.created",
        "account_id": _ACCOUNT,
        "id": str(_event_id(letter)),
        "time": written,
        "zendesk_event_version": "2022-11-06",
        "subject": f"zen:ticket:{letter.ticket}",
        "detail": {
            "id": str(letter.ticket),
            "subject": letter.subject,
            "description": letter.text,
            "status": "NEW",
            "priority": letter.priority,
            "type": "QUESTION",
            "requester_id": str(requester),
            "submitter_id": str(requester),
            "tags": ["demo"],
            "via": {"channel": "email"},
            "is_public": True,
            "created_at": written,
            "updated_at": written,
        },
        "event": {},
    }


def _headers(secret: str, body: bytes, letter: Letter) -> dict[str, str]:
    """Sign the body as of now, which is when it is sent."""
    timestamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    signature = hmac.digest(secret.encode(), timestamp.encode() + body, hashlib.sha256)
    return {
        "content-type": "application/json",
        "x-zendesk-account-id": str(_ACCOUNT),
        "x-zendesk-webhook-id": "01JDEMO0000000000000000000",
        "x-zendesk-webhook-invocation-id": str(uuid.uuid5(_event_id(letter), "invocation")),
        "x-zendesk-webhook-signature": base64.b64encode(signature).decode(),
        "x-zendesk-webhook-signature-timestamp": timestamp,
    }


def _event_id(letter: Letter) -> uuid.UUID:
    """Return the same id for the same letter, so that sending it again is a redelivery."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"rapport-demo/{letter.customer.id}/{letter.ticket}")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", "no details"))
    except (ValueError, AttributeError):
        return "no details"
