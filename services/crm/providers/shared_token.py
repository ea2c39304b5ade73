"""The proof of vendors that sign nothing: a token of ours in a header that the shop configures there."""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from services.crm.providers.provider import Request, Verdict, WebhookSecret
from services.crm.providers.signatures import claimed_bytes, proving, text_of

TOKEN = "x-webhook-token"  # noqa: S105 - the name of a header
"""The header that holds the token."""

AUTHORIZATION = "authorization"
"""The header of HTTP Basic, whose password is the token."""

HEADER_RULE = "the header X-Webhook-Token is the webhook secret"
BASIC_RULE = "the password of HTTP Basic is the webhook secret"
# A fraction of zeros says no more than the second before it.
_EXACT_TIME = re.compile(r"[0-9]:[0-9]{2}:[0-9]{2}[.](?=[0-9]*[1-9])[0-9]{3,9}(?![0-9])", re.ASCII)
_LONGEST_TIME = 64
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


def dated_body(request: Request, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what identifies a delivery whose body is a template of the shop's: its bytes, if they hold an exact time.

    Without a fraction of a second in the field `updated` the next change of the ticket may look the same byte for byte:
    then nothing identifies it. A copy costs one fetch; a change that is taken for a copy would be lost.
    """
    dated = _EXACT_TIME.search(text_of(fields.get("updated"), _LONGEST_TIME)) is not None
    return ("body", sha256(request.body).hexdigest()) if dated else ()


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
