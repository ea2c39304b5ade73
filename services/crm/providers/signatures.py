"""What the providers' schemes share: comparing proofs in constant time, and reading what is encoded strictly.

Everything that reads takes anything and answers None, or the empty value, for what is not exactly of the form asked
for. Nothing here raises, whatever a request holds.
"""

import hmac
from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from services.crm.providers.provider import Request, WebhookSecret


def claimed_bytes(request: Request, header: str) -> bytes | None:
    """Return the header that came exactly once as the bytes to compare a proof with; None for none or several."""
    value = request.header(header)
    return None if value is None else value.encode("utf-8", "replace")


def proving(
    secrets: Sequence[WebhookSecret], claimed: bytes, proof: Callable[[str], bytes | None]
) -> WebhookSecret | None:
    """Return the newest secret whose proof is the claimed one; None when none is.

    `proof` makes of a secret's text what an authentic request says, None where the text is no key of the scheme. All
    secrets are tried, and each comparison takes the same time wherever the two differ.
    """
    found = None
    for secret in secrets:
        expected = proof(secret.text)
        if expected is not None and hmac.compare_digest(expected, claimed):
            found = secret if found is None or secret.version > found.version else found
    return found


def hex_of(data: bytes) -> bytes:
    """Return the lower-case hexadecimal digits of bytes, as text to compare."""
    return data.hex().encode()


def base64_of(data: bytes) -> bytes:
    """Return the standard base64 of bytes with its padding, as text to compare."""
    return b64encode(data)


def base64_bytes(text: str) -> bytes | None:
    """Return what standard base64 stands for; None unless it is written in its one way, padding and last bits too."""
    try:
        data = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Error, UnicodeEncodeError):
        return None
    return data if b64encode(data).decode() == text else None


def json_value(body: bytes) -> Any:
    """Return the JSON value that the body is; None when it is none (or the value null)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def json_object(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object that the body is; None when it is none."""
    value = json_value(body)
    return value if isinstance(value, dict) else None


def object_of(value: object) -> Mapping[str, Any]:
    """Return a JSON object, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """Return a JSON array, an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def text_of(value: object, most: int | None = None) -> str:
    """Return a text or a whole number as text, cut after `most` characters; the empty text for anything else.

    The NUL character, which a database cannot hold, is replaced.
    """
    if isinstance(value, str):
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:most]
    return str(value)[:most] if isinstance(value, int) and not isinstance(value, bool) else ""


def time_of(value: object) -> datetime | None:
    """Return an ISO 8601 time in UTC, one without a zone as UTC; None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is None:
            return None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def unix_time_of(value: object, *, per_second: int = 1) -> datetime | None:
    """Return a unix time, a JSON number or its digits in units of which `per_second` make a second; else None."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / per_second, UTC)
    except (ValueError, OverflowError, OSError):
        return None


_MOST_DIGITS = 19
