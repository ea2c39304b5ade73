"""A system that sends Standard Webhooks; it has no API. A secret that is a private key `whsk_…` signs with ed25519."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.vendors.server import Asked, Route

PRIVATE_KEY = "whsk_"


def stamp(time: datetime) -> str:
    """Return a time as JSON has it."""
    return time.isoformat()


def private_key(seed: bytes) -> str:
    """Return the text of a private key; `seed` is 32 bytes."""
    return PRIVATE_KEY + base64.b64encode(seed).decode()


def public_key(private: str) -> str:
    """Return the public key that belongs to a private one, as the receiver is told it."""
    made = Ed25519PrivateKey.from_private_bytes(base64.b64decode(private.removeprefix(PRIVATE_KEY)))
    return "whpk_" + base64.b64encode(made.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


@dataclass
class StandardSender:
    """An in-house system. `brand` is how its headers begin."""

    name: str = "standard"
    brand: str = "webhook"

    @property
    def routes(self) -> Sequence[Route]:
        """There is nothing to call."""
        return ()

    def authorized(self, _asked: Asked) -> bool:
        """Nobody is let in."""
        return False

    def sign(self, body: bytes, secret: str, at: datetime, _url: str, *, message: str = "") -> Mapping[str, str]:
        """Sign `id.timestamp.body`; without an id it follows from the body."""
        message = message or f"msg_{hmac.digest(b'id', body, 'sha256').hex()[:24]}"
        timestamp = str(int(at.timestamp()))
        return {
            "content-type": "application/json",
            f"{self.brand}-id": message,
            f"{self.brand}-timestamp": timestamp,
            f"{self.brand}-signature": signature(secret, message, timestamp, body),
        }


def signature(secret: str, message: str, timestamp: str, body: bytes) -> str:
    """Return one entry of the signature header."""
    signed = f"{message}.{timestamp}.".encode() + body
    if secret.startswith(PRIVATE_KEY):
        key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret.removeprefix(PRIVATE_KEY)))
        return f"v1a,{base64.b64encode(key.sign(signed)).decode()}"
    proof = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256")
    return f"v1,{base64.b64encode(proof).decode()}"


def ticket_body(ticket: str, at: datetime, **fields: Any) -> bytes:
    """Return the body of an updated ticket."""
    data = {"ticket": ticket, "customer": "c-1", "subject": "Where is my parcel?", "status": "open", **fields}
    data.setdefault("messages", [{"id": "m-1", "text": "It should have been here on Monday."}])
    return orjson.dumps({"type": "ticket.updated", "timestamp": stamp(at), "data": data})
