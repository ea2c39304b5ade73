"""Standard Webhooks beyond the table: keys of both kinds, and the bodies that docs/providers.md describes."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.crm.events import CustomerErasure, CustomerEvent, OrderEvent, TicketEvent
from services.crm.providers.provider import NotUnderstoodError, Request, WebhookSecret, judge
from services.crm.providers.standard import STANDARD
from tests.support.vendors.standard import StandardSender, private_key, public_key, ticket_body

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/standard/token"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SENDER = StandardSender()


def request(body: bytes, secret: str = SECRET, **changes: str) -> Request:
    """Return a signed request; `changes` replace headers, with underscores for hyphens."""
    headers = {
        **SENDER.sign(body, secret, NOW, URL),
        **{name.replace("_", "-"): text for name, text in changes.items()},
    }
    return Request("POST", URL, tuple(headers.items()), body)


def verdict(received: Request, *secrets: str) -> tuple[str, int]:
    """Return the reason and the version that verified."""
    held = [WebhookSecret(version, text, LONG_AGO) for version, text in enumerate(secrets, start=1)]
    found = judge(STANDARD, received, held, NOW)
    return found.reason, found.secret_version


def means(kind: str, **data: Any) -> list[Any]:
    """Return what a body means."""
    body = orjson.dumps({"type": kind, "timestamp": "2026-11-22T11:59:00Z", "data": data})
    return list(STANDARD.events(request(body, webhook_id="msg_9"), NOW))


def test_an_ed25519_key_verifies_what_its_private_key_signed() -> None:
    """The receiver holds the public key alone; another pair, or another body, does not pass."""
    private, stranger = private_key(b"p" * 32), private_key(b"s" * 32)
    received = request(ticket_body("T-1", NOW), private)
    assert verdict(received, public_key(private)) == ("verified", 1)
    assert verdict(received, public_key(stranger)) == ("signature_mismatch", 0)
    altered = Request("POST", URL, received.headers, received.body + b" ")
    assert verdict(altered, public_key(private)) == ("signature_mismatch", 0)


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """Whoever knows the public key cannot use its bytes as the key of an HMAC."""
    public = public_key(private_key(b"p" * 32))
    received = request(ticket_body("T-1", NOW), f"whsec_{public.removeprefix('whpk_')}")
    assert verdict(received, public) == ("signature_mismatch", 0)


def test_the_newest_of_the_secrets_that_verify_is_recorded() -> None:
    """During a change of keys of either kind the version tells which one is in use."""
    private = private_key(b"p" * 32)
    received = request(ticket_body("T-1", NOW), private)
    assert verdict(received, SECRET, public_key(private)) == ("verified", 2)
    assert verdict(request(ticket_body("T-1", NOW)), SECRET, public_key(private)) == ("verified", 1)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "whsec_!!!", "whpk_", "whpk_AAAA", "no secret", "è"])
def test_what_is_no_key_verifies_nothing(secret: str) -> None:
    """A mistyped secret lets nobody in, least of all as an empty key, and is named to those who may know."""
    assert verdict(request(b"{}"), secret) == ("secret_malformed", 0)


@pytest.mark.parametrize("time", ["١٧٣٢٢٧٦٨٠٠", "", "1e9", "9" * 40, "-1"])
def test_a_time_is_plain_digits(time: str) -> None:
    """What merely looks like a number to a library is malformed."""
    assert verdict(request(b"{}", webhook_timestamp=time), SECRET) == ("timestamp_malformed", 0)


def documented() -> list[bytes]:
    """Return the example bodies of the guide."""
    text = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
    return [block.encode() for block in re.findall(r"```json\n(\{\n  \"type\".*?)\n```", text, re.DOTALL)]


def test_every_documented_body_is_understood() -> None:
    """The guide's examples are what the service takes, one of each kind."""
    kinds = [type(event) for body in documented() for event in STANDARD.events(request(body), NOW)]
    assert kinds == [TicketEvent, OrderEvent, CustomerEvent, CustomerErasure]


def test_a_ticket_holds_what_was_told_and_nothing_else() -> None:
    """What is left out is unknown; the message's id on the wire makes the event's key."""
    said = {"id": "m-1", "text": "Where\u0000is it?", "from_agent": True, "internal": True}
    (event,) = means("ticket.updated", ticket="T-1", tags=["late", "late"], messages=[said])
    assert (event.key, event.ticket, event.occurred) == ("msg_9", "T-1", NOW - timedelta(minutes=1))
    assert (event.fields.tags, event.fields.status, event.fields.customer_id) == (("late",), None, None)
    assert (event.messages[0].content, event.messages[0].internal) == ("Where\N{REPLACEMENT CHARACTER}is it?", True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "BODY_NOT_JSON"),
        (b"\xff", "BODY_NOT_JSON"),
        (b"[]", "BODY_INVALID"),
        (b'{"type": "ticket.exploded"}', "EVENT_TYPE_UNKNOWN"),
        (b'{"data": {}}', "EVENT_TYPE_UNKNOWN"),
        (b'{"type": "ticket.updated", "data": {"ticket": "T"}}', "FIELD_INVALID_TIMESTAMP"),
        (b'{"type": "ticket.updated", "timestamp": "2026-11-22", "data": {"ticket": "T"}}', "FIELD_INVALID_TIMESTAMP"),
    ],
)
def test_a_body_that_is_none_of_ours_says_why(body: bytes, reason: str) -> None:
    """It is kept for people to look at, with the place of the mistake in words of the schema."""
    with pytest.raises(NotUnderstoodError) as refused:
        STANDARD.events(request(body), NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "FIELD_INVALID_DATA_TICKET"),
        ({"ticket": ""}, "FIELD_INVALID_DATA_TICKET"),
        ({"ticket": "T", "status": "exploded"}, "FIELD_INVALID_DATA_STATUS"),
        ({"ticket": "T", "prioritty": "high"}, "FIELD_UNKNOWN"),
        ({"ticket": "T", "messages": [{"id": "m", "text": ""}]}, "FIELD_INVALID_DATA_MESSAGES_TEXT"),
        ({"ticket": "T", "created": "2026-11-22T11:00:00"}, "FIELD_INVALID_DATA_CREATED"),
        ({"ticket": "T", "tags": ["x" * 256]}, "FIELD_INVALID_DATA_TAGS"),
    ],
)
def test_a_ticket_with_a_mistake_says_where(data: dict[str, Any], reason: str) -> None:
    """A misspelt name is told as well: it would be lost without a word."""
    with pytest.raises(NotUnderstoodError) as refused:
        means("ticket.updated", **data)
    assert refused.value.reason == reason


def test_each_subject_is_kept_in_order_by_itself() -> None:
    """Deliveries about one ticket, order or customer go one after the other."""
    conversations = []
    for data in ({"ticket": "1"}, {"order": "1", "customer": "2"}, {"customer": "1"}, {}):
        body = orjson.dumps({"type": "x", "data": data})
        (part,) = STANDARD.parts(request(body, webhook_id="msg_1"))
        assert part.delivery == ("message", "msg_1")
        conversations.append(part.conversation)
    assert conversations == ["ticket/1", "order/1", "customer/1", None]
