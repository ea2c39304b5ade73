"""Page tokens: where a list goes on, sealed so that nobody reads, changes or moves them. They authorise nothing."""

import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from servicekit.errors import InvalidArgumentError

LIFETIME_SECONDS = 24 * 3600
DEFAULT_SIZE = 50
LARGEST_SIZE = 200
_NONCE = 12
_LONGEST = 4096


def page_size(asked: int) -> int:
    """Return how many entries a page holds: 0 is "you choose", too many is as many as there may be."""
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


class PageTokenInvalidError(InvalidArgumentError):
    """The page token is not ours, is too old, or belongs to a list with other arguments or of another tenant."""


class PageTokens:
    """Seals cursors for one service; all its processes share the key (32 bytes). Tokens live for `lifetime` seconds."""

    def __init__(self, key: bytes, lifetime: float = LIFETIME_SECONDS) -> None:
        self._cipher = AESGCM(key)
        self._lifetime = lifetime

    @classmethod
    def from_secret(cls, secret: str, lifetime: float = LIFETIME_SECONDS) -> "PageTokens":
        """Return page tokens with a key derived from a secret that the service has anyway."""
        return cls(HKDF(SHA256(), 32, salt=None, info=b"rapport page tokens").derive(secret.encode()), lifetime)

    def seal(self, cursor: Mapping[str, Any], *, scope: Sequence[object]) -> str:
        """Return a token for a cursor of plain JSON values; `scope` is what makes the list: tenant, filters, order."""
        nonce = secrets.token_bytes(_NONCE)
        content = orjson.dumps([int(time.time()), cursor])
        sealed = nonce + self._cipher.encrypt(nonce, content, _digest(scope))
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, token: str, *, scope: Sequence[object]) -> dict[str, Any]:
        """Return the cursor.

        Raises:
            PageTokenInvalidError: whatever is wrong with the token; nothing tells what.
        """
        try:
            sealed = urlsafe_b64decode(token[:_LONGEST].encode("ascii") + b"=" * (-len(token) % 4))
            issued, cursor = orjson.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _digest(scope)))
        except (ValueError, InvalidTag) as error:
            raise _invalid() from error
        if time.time() - issued > self._lifetime:
            raise _invalid()
        return dict(cursor)


def _invalid() -> PageTokenInvalidError:
    return PageTokenInvalidError("The page token is not valid for this list; start from the first page.")


def _digest(scope: Sequence[object]) -> bytes:
    """Return a digest of the arguments; each is prefixed by its length, so that no two lists look alike."""
    digest = sha256()
    for part in scope:
        text = str(part).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.digest()
