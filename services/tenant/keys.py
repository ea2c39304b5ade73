"""API keys: the text that a shop holds, and the record of it that is kept.

The text is "rpk_", 32 random letters and digits (190 bits), "_" and a checksum of six. The checksum lets secret
scanners be sure and spares the database every mistyped key; it is no secret. The record holds the text's SHA-256 only,
which is enough for 190 random bits.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.tenant import scopes as table
from services.tenant.errors import ExpireTimePastError, ScopeNotGrantableError

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MARK = "rpk_"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_PREFIX_LENGTH = 12
FIRST_NAME = "first key"
"""What the key is called that comes with a new tenant."""

_FORM = re.compile(rf"{_MARK}[0-9A-Za-z]{{{_RANDOM_LENGTH}}}_[0-9A-Za-z]{{{_CHECKSUM_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The record of a key; `key_hash` is the SHA-256 of its text."""

    tenant_id: UUID
    key_id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    create_time: datetime
    expire_time: datetime | None
    revoke_time: datetime | None
    key_hash: bytes = field(repr=False)


def new_text() -> str:
    """Return the text of a new key."""
    body = _MARK + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return f"{body}_{_checksum(body)}"


def is_well_formed(text: str) -> bool:
    """Tell whether a text could be a key: its form and its checksum are right."""
    if not _FORM.fullmatch(text):
        return False
    body, _, checksum = text.rpartition("_")
    return _checksum(body) == checksum


def hash_of(text: str) -> bytes:
    """Return what is stored of a key's text."""
    return hashlib.sha256(text.encode()).digest()


def new_key(
    text: str,
    *,
    tenant_id: UUID,
    key_id: UUID,
    name: str,
    scopes: Collection[str],
    expire_time: datetime | None,
    now: datetime,
    grantable: Collection[str] = table.SHOP,
) -> ApiKey:
    """Return the record of a new key; `expire_time` None is a key that does not end by itself.

    `grantable` are the scopes that whoever makes the key holds: nobody hands on more than that.

    Raises:
        ScopeNotGrantableError: a scope is not one of a shop's, or not grantable.
        ExpireTimePastError: the key would have ended already.
    """
    for scope in sorted(scopes):
        if scope not in table.SHOP or scope not in grantable:
            raise ScopeNotGrantableError(scope)
    if expire_time is not None and expire_time <= now:
        raise ExpireTimePastError
    return ApiKey(
        tenant_id=tenant_id,
        key_id=key_id,
        name=name,
        prefix=text[:_PREFIX_LENGTH],
        scopes=tuple(sorted(scopes)),
        create_time=now,
        expire_time=expire_time,
        revoke_time=None,
        key_hash=hash_of(text),
    )


def _checksum(body: str) -> str:
    """Return the CRC-32 of the text before it, written with the key's own letters."""
    rest = zlib.crc32(body.encode())
    letters = []
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))
