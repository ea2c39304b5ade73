"""API keys: the text that a shop holds, and the record of it that is kept.

The text is "rpk_" (a secret key) or "rpb_" (a browser key), 32 random letters and digits (190 bits), "_" and a
checksum of six. The checksum lets secret scanners be sure and spares the database every mistyped key; it is no secret.
The record holds the text's SHA-256 only, which is enough for 190 random bits.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from services.tenant import scopes as table
from services.tenant.configuration import is_origin_pattern
from services.tenant.errors import (
    ApiKeyNotLiveError,
    ExpireTimePastError,
    OriginInvalidError,
    OriginsMissingError,
    ScopeNotForBrowsersError,
    ScopeNotGrantableError,
)
from services.tenant.registry import Tenant

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_PREFIX_LENGTH = 12
FIRST_NAME = "first key"
"""What the key is called that comes with a new tenant."""

DEFAULT_OVERLAP = timedelta(days=1)
"""How long a rotated key goes on working when nobody says otherwise."""

LATEST_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""No key lives longer than this."""

BROWSER_REQUESTS_PER_MINUTE = 600
"""The quota of a browser key when nobody says otherwise."""

_FORM = re.compile(rf"rp[kb]_[0-9A-Za-z]{{{_RANDOM_LENGTH}}}_[0-9A-Za-z]{{{_CHECKSUM_LENGTH}}}", re.ASCII)
_LOCAL_ORIGIN = re.compile(r"http://(?:[a-z0-9-]+\.)*localhost(?::[0-9]+)?|http://127\.0\.0\.1(?::[0-9]+)?", re.ASCII)
_LEAST_LABELS = 2


class Kind(StrEnum):
    """Where a key is kept: by a server, or in a public page."""

    SECRET = "secret"  # noqa: S105 - a kind, not a password
    BROWSER = "browser"


_MARKS = {Kind.SECRET: "rpk_", Kind.BROWSER: "rpb_"}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The record of a key; `key_hash` is the SHA-256 of its text.

    `allowed_origins` are the patterns of a browser key, `requests_per_minute` None means no quota of its own, and
    `rotated_from` is the key whose place this one took.
    """

    tenant_id: UUID
    key_id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    create_time: datetime
    expire_time: datetime | None
    revoke_time: datetime | None
    key_hash: bytes = field(repr=False)
    kind: Kind = Kind.SECRET
    allowed_origins: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    last_use_time: datetime | None = None
    rotated_from: UUID | None = None

    def is_live(self, now: datetime) -> bool:
        """Tell whether the key is neither revoked nor expired."""
        return self.revoke_time is None and (self.expire_time is None or self.expire_time > now)


class FoundKey(NamedTuple):
    """A key with its tenant."""

    key: ApiKey
    tenant: Tenant


def new_text(kind: Kind = Kind.SECRET) -> str:
    """Return the text of a new key."""
    body = _MARKS[kind] + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
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
    kind: Kind = Kind.SECRET,
    allowed_origins: Sequence[str] = (),
    requests_per_minute: int | None = None,
) -> ApiKey:
    """Return the record of a new key; `expire_time` None is a key that does not end by itself.

    `grantable` are the scopes that whoever makes the key holds: nobody hands on more than that.

    Raises:
        ScopeNotGrantableError: a scope is not one of a shop's, or not grantable.
        ScopeNotForBrowsersError: a browser key cannot hold the scope.
        OriginsMissingError, OriginInvalidError: the origins are not those of a browser key, or of none.
        ExpireTimePastError: the key would have ended already.
    """
    _require_scopes(scopes, grantable, kind)
    _require_origins(allowed_origins, kind)
    if expire_time is not None and expire_time <= now:
        raise ExpireTimePastError
    quota = requests_per_minute or (BROWSER_REQUESTS_PER_MINUTE if kind is Kind.BROWSER else None)
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
        kind=kind,
        allowed_origins=tuple(sorted(allowed_origins)),
        requests_per_minute=quota,
    )


def rotated(
    old: ApiKey,
    text: str,
    *,
    key_id: UUID,
    overlap: timedelta,
    expire_time: datetime | None,
    now: datetime,
    grantable: Collection[str],
) -> tuple[ApiKey, ApiKey]:
    """Return the old key as it ends and the new one in its place; no overlap revokes the old one at once.

    Without an `expire_time` the new key lives as long as the old one was meant to when it was made; that is known only
    of a key that was not rotated before.

    Raises:
        ApiKeyNotLiveError: the old key is revoked or has expired.
        ScopeNotGrantableError: the old key holds a scope that whoever rotates it does not.
        ExpireTimePastError: the new key would have ended already.
    """
    if not old.is_live(now):
        raise ApiKeyNotLiveError
    _require_scopes(old.scopes, grantable, old.kind)
    if expire_time is None and old.expire_time is not None:
        # A sum beyond the calendar would be an error of ours.
        expire_time = now + min(old.expire_time - old.create_time, LATEST_END - now)
    if expire_time is not None and expire_time <= now:
        raise ExpireTimePastError
    new = replace(
        old,
        key_id=key_id,
        prefix=text[:_PREFIX_LENGTH],
        create_time=now,
        expire_time=expire_time,
        key_hash=hash_of(text),
        last_use_time=None,
        rotated_from=old.key_id,
    )
    if not overlap:
        return replace(old, revoke_time=now), new
    end = now + overlap
    return replace(old, expire_time=min(end, old.expire_time or end)), new


def _require_scopes(scopes: Collection[str], grantable: Collection[str], kind: Kind) -> None:
    """Let pass the scopes that a key of this kind may hold, from somebody who holds `grantable`."""
    for scope in sorted(scopes):
        if scope not in table.SHOP or scope not in grantable:
            raise ScopeNotGrantableError(scope)
        if kind is Kind.BROWSER and scope not in table.BROWSER:
            raise ScopeNotForBrowsersError(scope)


def _require_origins(origins: Sequence[str], kind: Kind) -> None:
    """Let pass the origins of a browser key, and none of a secret key."""
    if kind is Kind.SECRET:
        if origins:
            raise OriginInvalidError("only a browser key is bound to origins")
        return
    if not origins:
        raise OriginsMissingError
    for origin in origins:
        if not is_origin_pattern(origin):
            raise OriginInvalidError('an origin has the form "https://desk.example.com" or "https://*.example.com"')
        if not origin.startswith("https://") and not _LOCAL_ORIGIN.fullmatch(origin):
            raise OriginInvalidError("an origin is one of HTTPS; plain HTTP is for localhost only")
        _, star, rest = origin.partition("*.")
        if star and len(rest.split(".")) < _LEAST_LABELS:
            raise OriginInvalidError("behind the star stands a domain of at least two labels")


def _checksum(body: str) -> str:
    """Return the CRC-32 of the text before it, written with the key's own letters."""
    rest = zlib.crc32(body.encode())
    letters = []
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))
