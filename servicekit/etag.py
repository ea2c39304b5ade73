"""Etags: "change it only if it still is what I saw", and "send it only if it is no longer what I have"."""

import re
from hashlib import sha256

from servicekit.errors import ConflictError, PreconditionError

_LISTED = re.compile(r'(W/)?"([^"]*)"')


class EtagMismatchError(ConflictError):
    """The thing has changed since the caller saw it."""


class NotModifiedError(PreconditionError):
    """The thing still is what the caller has: there is nothing to send."""

    http_status = 304

    def __init__(self, etag: str) -> None:
        super().__init__("It has not changed.", metadata={"etag": etag})


def etag(*parts: object) -> str:
    """Return the etag of a thing from what makes its present state, for example its id and revision."""
    digest = sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()[:16]


def quoted(etag: str) -> str:
    """Return an etag as it stands in a header."""
    return f'"{etag}"'


def require(given: str, actual: str) -> None:
    """Let pass an empty etag, which sets no condition, and the actual one.

    `given` may also be what stands in the header `If-Match`: `*` for any state, or a list of etags of which one has to
    be the actual one. A weak etag (`W/"…"`) promises less than a change needs, and never is (RFC 9110, 13.1.1).

    Raises:
        EtagMismatchError: the thing has changed.
    """
    if given.strip() in {"", "*"}:
        return
    listed = _LISTED.findall(given)
    strong = {text for weak, text in listed if not weak} if listed else {given.strip()}
    if actual not in strong:
        raise EtagMismatchError("It has changed in between; read it again.", metadata={"etag": actual})


def seen(given: str, actual: str) -> bool:
    """Tell whether the header `If-None-Match` says that the caller has this state; weak etags count (13.1.2)."""
    return given.strip() == "*" or any(text == actual for _, text in _LISTED.findall(given))
