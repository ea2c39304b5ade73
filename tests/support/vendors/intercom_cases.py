"""Intercom's webhooks, good and bad."""

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.support.vendors.cases import (
    LARGE,
    Case,
    Headers,
    Table,
    accepted,
    doubled,
    flipped,
    refused,
    replaced,
    reserialised,
    without,
)
from tests.support.vendors.intercom import IntercomSimulator

_SIGNATURE = "x-hub-signature"


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor = IntercomSimulator()
    vendor.open_ticket("215", "The zip is broken", "It came like that.")
    vendor.open_conversation("431", "Where is my parcel?")
    ticket = vendor.notification("ticket.created", vendor.tickets["215"], event="notif_1")
    ping = vendor.notification("ping", {"type": "ping", "message": "something something interzen"}, event=None)

    def signed(body: bytes) -> Headers:
        return [*vendor.sign(body, secret, now, url).items()]

    def said(topic: str, item: Mapping[str, Any], **more: Any) -> tuple[Headers, bytes]:
        body = vendor.notification(topic, item, event="notif_2", **more)
        return signed(body), body

    good = signed(ticket)
    conversation = said("conversation.user.created", vendor.conversations["431"])
    nested = said("ticket.closed", {"type": "ticket_event", "ticket": vendor.tickets["215"]})
    return [
        accepted("ticket created", good, ticket),
        accepted("conversation created", *conversation),
        accepted("ticket closed, nested", *nested),
        accepted("no id", *said("ticket.created", vendor.tickets["215"], id=None)),
        accepted("empty body, signed", signed(b""), b""),
        accepted("no JSON, signed", signed(b"ticket"), b"ticket"),
        accepted("not UTF-8, signed", signed(b"\xff\xfe{}"), b"\xff\xfe{}"),
        accepted("no workspace", *said("ticket.created", vendor.tickets["215"], app_id=None)),
        accepted("signed ping without an id", signed(ping), ping, deliveries=0),
        Case("unsigned HEAD", "HEAD", [], b"", accepted=True, deliveries=0),
        refused("flipped bit", good, flipped(ticket)),
        refused("re-serialised JSON", good, reserialised(ticket)),
        refused("body truncated", good, ticket[:-1]),
        refused("body emptied", good, b""),
        refused("not UTF-8", good, b"\xff\xfe" + ticket),
        refused("signature missing", without(good, _SIGNATURE), ticket),
        refused("signature twice", doubled(good, _SIGNATURE), ticket),
        refused("signature too short", replaced(good, _SIGNATURE, lambda value: value[:-1]), ticket),
        refused("signature too long", replaced(good, _SIGNATURE, lambda value: f"{value}0"), ticket),
        refused("signature in upper case", replaced(good, _SIGNATURE, str.upper), ticket),
        refused("no hexadecimal", replaced(good, _SIGNATURE, lambda _: f"sha1={'g' * 40}"), ticket),
        refused("without the algorithm's name", replaced(good, _SIGNATURE, lambda value: value[5:]), ticket),
        refused("another algorithm's name", replaced(good, _SIGNATURE, lambda value: f"sha256={value[5:]}"), ticket),
        refused("signature empty", replaced(good, _SIGNATURE, lambda _: ""), ticket),
        refused("signatures joined by a comma", replaced(good, _SIGNATURE, lambda value: f"{value},{value}"), ticket),
        refused("as the predecessor believed", _sha256(ticket, secret), ticket),
        refused("ping signed by another", [*vendor.sign(ping, other, now, url).items()], ping),
        refused("ping unsigned", [("content-type", "application/json")], ping),
        refused("another workspace", *said("ticket.created", vendor.tickets["215"], app_id="zz99zz99")),
        refused("too large", signed(b"x" * LARGE), b"x" * LARGE, status=413),
    ]


def _sha256(body: bytes, secret: str) -> Headers:
    return [(_SIGNATURE, f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}")]


TABLE = Table(
    provider="intercom",
    config={"app_id": IntercomSimulator().app_id, "region": "eu"},
    secret=lambda: secrets.token_hex(16),
    cases=cases,
    distinct=6,
)
