"""The proof of vendors that sign nothing: a token of ours in a header that the shop configures there."""

from base64 import b64decode
from binascii import Error
from collections.abc import Sequence

from services.crm.providers.provider import Request, Verdict, WebhookSecret
from services.crm.providers.signatures import claimed_bytes, proving

TOKEN = "x-webhook-token"  # noqa: S105 - the name of a header
"""The header that holds the token."""

AUTHORIZATION = "authorization"
"""The header of HTTP Basic, whose password is the token."""

HEADER_RULE = "the header X-Webhook-Token is the webhook secret"
BASIC_RULE = "the password of HTTP Basic is the webhook secret"
_SIGNED = "nothing; the token alone is compared"


def by_header(request: Request, secrets: Sequence[WebhookSecret]) -> Verdict:
    """Judge a request by the token in its header."""
    return _judged(claimed_bytes(request, TOKEN), secrets, HEADER_RULE)


def by_header_or_basic(request: Request, secrets: Sequence[WebhookSecret]) -> Verdict:
    """Judge a request by the token in its header or as a Basic password; where it sends both, both must be right."""
    given = {name for name, _ in request.headers}
    if AUTHORIZATION not in given:
        return by_header(request, secrets)
    basic = _judged(_password(request.header(AUTHORIZATION)), secrets, BASIC_RULE)
    if TOKEN in given and basic.accepted:
        return by_header(request, secrets)
    return basic


def _judged(claimed: bytes | None, secrets: Sequence[WebhookSecret], rule: str) -> Verdict:
    if claimed is None:
        return Verdict.refused("header_missing_or_repeated", signed=_SIGNED, rule=rule)
    found = proving(secrets, claimed, lambda text: text.encode("utf-8", "replace"))
    if found is None:
        return Verdict.refused("token_mismatch", signed=_SIGNED, rule=rule)
    return Verdict.verified_by(found, signed=_SIGNED, rule=rule)


def _password(header: str | None) -> bytes | None:
    """Return the password of a Basic header; None where it came twice or is malformed."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = b64decode(encoded.encode("ascii", "replace"), validate=True).partition(b":")
    except (Error, ValueError):
        return None
    return password if colon else None
