"""The predecessor's signature schemes: what it had its customers' systems send, and no vendor ever sent by itself.

They count only for a connection that is in predecessor mode, until the date on which that ends. None of them signs a
time, so that deduplication alone keeps an old request from coming again.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

from servicekit.errors import FieldViolation
from services.crm.errors import PredecessorModeError
from services.crm.providers.provider import Request, Verdict, WebhookSecret
from services.crm.providers.signatures import base64_of, claimed_bytes, hex_of, json_object, proving

RULE = "predecessor"
"""The rule of every verdict that a scheme of the predecessor gave."""

LONGEST_MODE = timedelta(days=180)
"""How far away the end of predecessor mode may be."""

ALIAS_PROVIDER = "gorgias"
ALIAS_HEADER = "x-webhook-token"
"""The predecessor's only live path, `POST /api/gorgias/webhook`, and the header with its token."""


SHORTEST_ALIAS_TOKEN = 22
"""The fewest characters of that token, 128 bits in base64: it alone names the connection and proves the webhook."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """A header, what it proves, and how: HMAC-SHA256 with the webhook secret over the signed bytes.

    `objects_only` is for a header in which the vendor itself signs more than the body with the same secret: what that
    signs, a time and a body, must not pass for a body. No JSON object begins with a time.
    """

    header: str
    signed: str
    encode: Callable[[bytes], bytes] = hex_of
    with_url: bool = False
    objects_only: bool = False
    prefix: bytes = b""


_SCHEMES: Mapping[str, _Scheme] = MappingProxyType(
    {
        "gorgias": _Scheme("x-gorgias-signature", "body"),
        "zendesk": _Scheme("x-zendesk-webhook-signature", "body", base64_of, objects_only=True),
        "salesforce": _Scheme("x-salesforce-signature", "url + body", base64_of, with_url=True),
        "helpshift": _Scheme("x-helpshift-signature", "body"),
        "intercom": _Scheme("x-hub-signature", "body", prefix=b"sha256="),
        "freshdesk": _Scheme("x-freshdesk-signature", "body"),
    }
)


@dataclass(frozen=True, slots=True)
class PredecessorScheme:
    """How the predecessor checked a provider's webhooks; a provider that it did not know proves nothing."""

    provider: str

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Check the signature with every active secret; hexadecimal digits may be in either case."""
        scheme = _SCHEMES.get(self.provider)
        claimed = claimed_bytes(request, scheme.header) if scheme else None
        if scheme is None or claimed is None:
            return Verdict.refused("header_missing_or_repeated", rule=RULE)
        if scheme.encode is hex_of:
            claimed = claimed.lower()
        # It signed what its proxy had left of the address, which was plain HTTP.
        url = request.url.replace("https://", "http://", 1).encode("utf-8", "surrogatepass") if scheme.with_url else b""
        signed = url + request.body

        def proof(secret: str) -> bytes:
            return scheme.encode(hmac.digest(secret.encode(), signed, sha256))

        proved = proving(secrets, claimed.removeprefix(scheme.prefix), proof)
        if proved is None or (scheme.objects_only and request.read(json_object) is None):
            return Verdict.refused("signature_mismatch", signed=scheme.signed, rule=RULE)
        return Verdict.verified_by(proved, signed=scheme.signed, rule=RULE)


def check_mode(provider: str, until: datetime, now: datetime) -> None:
    """Check the end of a predecessor mode that shall begin.

    Raises:
        PredecessorModeError: the predecessor did not know the provider, or the end is past or too far away.
    """
    if provider not in _SCHEMES:
        raise PredecessorModeError(f"The predecessor had no scheme for {provider}.", metadata={"provider": provider})
    if not now < until <= now + LONGEST_MODE:
        violation = FieldViolation("expire_time", f"Must be within the next {LONGEST_MODE.days} days.")
        raise PredecessorModeError("Predecessor mode needs an end.", violations=[violation])


def usable_tokens(tokens: Sequence[str]) -> list[str]:
    """Return those of a connection's secrets that are long enough to open the predecessor's path.

    Raises:
        PredecessorModeError: none is.
    """
    usable = [token for token in tokens if len(token) >= SHORTEST_ALIAS_TOKEN]
    if not usable:
        violation = FieldViolation(
            "connection", f"Its webhook secret must have at least {SHORTEST_ALIAS_TOKEN} characters: rotate it first."
        )
        raise PredecessorModeError("The secret alone finds the connection.", violations=[violation])
    return usable


def alias_hash(token: str) -> bytes:
    """Return the 32 bytes under which the alias' token is found: never those of an address."""
    return sha256(b"rapport/crm/predecessor-token\n" + token.encode("utf-8", "surrogatepass")).digest()
