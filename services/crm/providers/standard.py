"""Standard Webhooks: a source for any system that signs as standardwebhooks.com says, which Svix and many others do.

Signed is `id.timestamp.body`. A secret `whsec_…` is the base64 of a key for HMAC-SHA256 (`v1,`), a public key `whpk_…`
that of one for ed25519 (`v1a,`). The header holds any number of signatures with spaces between, so that a sender can
change its key: one that matches is enough, and those of versions unknown here are passed over.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.crm.events import Event
from services.crm.providers.api import Api
from services.crm.providers.provider import (
    ACCEPTED,
    Answer,
    Part,
    Proof,
    Request,
    Setting,
    Verdict,
    WebhookSecret,
)
from services.crm.providers.signatures import base64_bytes, base64_of, json_object, object_of, text_of, unix_time_of
from services.crm.providers.snapshots import MOST_ID
from services.crm.providers.standard_events import body_events

NAMES = ("webhook", "svix")
"""How the three headers begin: the standard's own name goes before Svix' older one."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
PUBLIC_KEY_PREFIX = "whpk_"

TOLERANCE = timedelta(minutes=5)
"""How far a signature's time may be from ours, both ways, as in the standard's own libraries."""

MOST_SIGNATURES = 16
"""How many signatures a header may hold."""

_SHORTEST_KEY = 16
_ED25519_KEY = 32
_SIGNED = "id + '.' + timestamp + '.' + body"
# Without a full stop, so that a byte cannot move from the id to the time.
_ID = re.compile(r"[!-\-/-~]{1,255}", re.ASCII)


def symmetric_key(secret: str) -> bytes | None:
    """Return the key that a secret stands for, with or without its prefix; None when it is none."""
    key = base64_bytes(secret.removeprefix(SECRET_PREFIX))
    return key if key is not None and len(key) >= _SHORTEST_KEY else None


def public_key(secret: str) -> Ed25519PublicKey | None:
    """Return the ed25519 public key that a text stands for; None when it is none."""
    if not secret.startswith(PUBLIC_KEY_PREFIX):
        return None
    key = base64_bytes(secret.removeprefix(PUBLIC_KEY_PREFIX))
    return Ed25519PublicKey.from_public_bytes(key) if key is not None and len(key) == _ED25519_KEY else None


def _proves(secret: str, signed: bytes, signatures: Sequence[tuple[str, str]]) -> bool:
    """Return whether one of the signatures, pairs of a version and its text, is the secret's."""
    if asymmetric := public_key(secret):
        return any(_is_signed(asymmetric, signed, text) for version, text in signatures if version == "v1a")
    key = symmetric_key(secret)
    if key is None:
        return False
    expected = base64_of(hmac.digest(key, signed, "sha256"))
    matches = [hmac.compare_digest(expected, text.encode()) for version, text in signatures if version == "v1"]
    return any(matches)


def _is_signed(key: Ed25519PublicKey, signed: bytes, text: str) -> bool:
    try:
        key.verify(base64_bytes(text) or b"", signed)
    except InvalidSignature:
        return False
    return True


class Standard:
    """Any system that sends Standard Webhooks, with bodies as docs/providers.md says."""

    name = "standard"
    proof = Proof.SIGNATURE
    app_level = False
    account_setting: str | None = None
    settings: Mapping[str, Setting] = MappingProxyType({})
    credentials: frozenset[str] = frozenset()
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = Setting(
        re.compile(
            # In base64 24 bytes or more, or exactly 32; the last character of a group with padding has bits to spare.
            r"(?:whsec_)?(?:[A-Za-z0-9+/]{4}){8,}(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"
            r"|whpk_(?:[A-Za-z0-9+/]{4}){10}[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=",
            re.ASCII,
        ),
        "whsec_ and the base64 of 24 bytes or more, or whpk_ and that of an ed25519 public key",
    )
    kept_headers = frozenset(
        {f"{name}-{part}" for name in NAMES for part in ("id", "timestamp", "signature")} | {"content-type"}
    )
    # The sample schedule of the standard ends after about four days.
    retry_horizon = timedelta(days=5)
    api: Api | None = None

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Check each signature with every active secret, then the age of the time."""
        name = _named(request)
        message, timestamp, given = (request.header(f"{name}-{part}") for part in ("id", "timestamp", "signature"))
        if message is None or timestamp is None or given is None:
            return Verdict.refused("header_missing_or_repeated")
        time = unix_time_of(timestamp)
        signatures = [(version, text) for version, _, text in (entry.partition(",") for entry in given.split(" "))]
        if not _ID.fullmatch(message) or len(signatures) > MOST_SIGNATURES:
            return Verdict.refused("header_malformed", signed=_SIGNED)
        if time is None:
            return Verdict.refused("timestamp_malformed", signed=_SIGNED)
        signed = f"{message}.{timestamp}.".encode() + request.body
        proof = None
        for secret in secrets:
            if _proves(secret.text, signed, signatures) and (proof is None or secret.version > proof.version):
                proof = secret
        if proof is None:
            usable = any(symmetric_key(secret.text) or public_key(secret.text) for secret in secrets)
            return Verdict.refused("signature_mismatch" if usable else "secret_malformed", signed=_SIGNED)
        if abs(now - time) > TOLERANCE:
            return Verdict.refused("timestamp_out_of_tolerance", signed=_SIGNED)
        return Verdict.verified_by(proof, signed=_SIGNED, rule=f"{name}-signature")

    def handshake(self, _request: Request) -> Answer | None:
        """The standard has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Test messages are deliveries like all others."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the message, whose id is the same on every retry, and what it is about."""
        message = request.header(f"{_named(request)}-id") or ""
        data = object_of((request.read(json_object) or {}).get("data"))
        about = [(kind, text_of(data.get(kind), MOST_ID)) for kind in ("ticket", "order", "customer")]
        return (Part((), ("message", message), next((f"{kind}/{name}" for kind, name in about if name), None)),)

    def acknowledge(self, _request: Request) -> Answer:
        """The sender reads only the status."""
        return ACCEPTED

    def events(self, request: Request, _received: datetime) -> Sequence[Event]:
        """Turn a body of ours into events.

        Raises:
            NotUnderstoodError: it is not one that docs/providers.md describes.
        """
        return body_events(request.body, request.header(f"{_named(request)}-id") or "")

    def hint(self, _request: Request) -> str | None:
        """What is signed is believed."""
        return None


def _named(request: Request) -> str:
    """Return how the request's headers begin: the first name of which it has any header."""
    return next((name for name in NAMES if any(key.startswith(f"{name}-") for key, _ in request.headers)), NAMES[0])


STANDARD = Standard()
"""The one instance."""
