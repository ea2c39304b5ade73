"""Etags: "change it only if it still is what I saw"."""

from hashlib import sha256

from servicekit.errors import ConflictError


class EtagMismatchError(ConflictError):
    """The thing has changed since the caller saw it."""


def etag(*parts: object) -> str:
    """Return the etag of a thing from what makes its present state, for example its id and revision."""
    digest = sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()[:16]


def require(given: str, actual: str) -> None:
    """Let pass an empty etag, which sets no condition, and the actual one.

    Raises:
        EtagMismatchError: the thing has changed.
    """
    if given and given.strip('"') != actual:
        raise EtagMismatchError("It has changed in between; read it again.", metadata={"etag": actual})
