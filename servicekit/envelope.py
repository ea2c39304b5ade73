"""Envelope encryption: a data key per tenant, wrapped by a key-encryption key, and values sealed to their place.

What is sealed opens only as the same field of the same version of the same record of the same tenant: the place is part
of what is authenticated, each part prefixed by its length.
"""

import hmac
import os
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT = b"\x01"
_NONCE = 12
_KEY = 32
_FIRST = "kek-1"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBERED = re.compile(r"kek-(\d{1,9})")


class SealBrokenError(Exception):
    """A ciphertext does not open: another key, another place, or changed bytes."""


def new_data_key() -> bytes:
    """Return a fresh key of 32 bytes."""
    return secrets.token_bytes(_KEY)


def _place(*parts: str) -> bytes:
    """Return the parts as bytes that no other parts give."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _encrypt(key: bytes, plaintext: bytes, place: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return _FORMAT + nonce + AESGCM(key).encrypt(nonce, plaintext, place)


def _decrypt(key: bytes, sealed: bytes, place: bytes) -> bytes:
    if sealed[:1] != _FORMAT:
        raise SealBrokenError("The ciphertext has an unknown format.")
    try:
        return AESGCM(key).decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], place)
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError("The ciphertext does not open here.") from error


def wrapped_by(wrapped: bytes) -> str:
    """Return the name of the key-encryption key that wrapped a data key: it stands in front, after its length.

    Raises:
        SealBrokenError: these bytes are no wrapped key.
    """
    try:
        return wrapped[1 : 1 + wrapped[0]].decode()
    except (IndexError, UnicodeDecodeError) as error:
        raise SealBrokenError("The wrapped key has an unknown format.") from error


def named_wrap(name: str, rest: bytes) -> bytes:
    """Return a wrapped key with the name of what wrapped it in front."""
    encoded = name.encode()
    return bytes([len(encoded)]) + encoded + rest


def wrap_place(name: str, tenant_id: UUID) -> bytes:
    """Return what is authenticated with a wrapped data key: the wrapping key's name and the tenant."""
    return _place("data-key", name, str(tenant_id))


class KeyEncryptionKeys:
    """Key-encryption keys in this process's memory: one is active and wraps, all open what they have wrapped.

    A provider as `servicekit.kek` describes it.
    """

    def __init__(self, active: str, keys: Mapping[str, bytes]) -> None:
        if active not in keys or any(len(key) != _KEY for key in keys.values()):
            raise ValueError("the active key must be among the keys, and each must have 32 bytes")
        if any(not _NAME.fullmatch(name) for name in keys):
            raise ValueError("a key's name is made of 1 to 64 letters, digits, dots, hyphens and underscores")
        self._active = active
        self._keys = dict(keys)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Return the keys of a JSON text: `{"active": "kek-1", "keys": {"kek-1": "<32 bytes in base64>"}}`.

        Raises:
            ValueError: it does not hold what it must; the error holds nothing of it.
        """
        try:
            found = orjson.loads(content)
            keys = {name: b64decode(value, validate=True) for name, value in found["keys"].items()}
            return cls(found["active"], keys)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise ValueError("these are no key-encryption keys") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the keys of a file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it does not hold what it must, or others than its owner may read it.
        """
        if path.stat().st_mode & 0o077:
            raise ValueError(f"{path} must be readable by its owner only (mode 0600)")
        try:
            return cls.parse(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is not a file of key-encryption keys") from error

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a file with one new key, readable by its owner only, and return the keys.

        Raises:
            FileExistsError: there is a file already; keys are never overwritten.
        """
        created = cls(_FIRST, {_FIRST: new_data_key()})
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(created.text())
        return created

    @property
    def names(self) -> Sequence[str]:
        """The names of all keys, the oldest first."""
        return tuple(self._keys)

    @property
    def active_name(self) -> str:
        """The name of the key that wraps."""
        return self._active

    def text(self) -> bytes:
        """Return the JSON text of the keys. It is as secret as they are."""
        keys = {name: b64encode(key).decode() for name, key in self._keys.items()}
        return orjson.dumps({"active": self._active, "keys": keys}) + b"\n"

    def with_new(self) -> "KeyEncryptionKeys":
        """Return the keys with a new active one; its number is above all others."""
        numbers = [int(found[1]) for name in self._keys if (found := _NUMBERED.fullmatch(name))]
        name = f"kek-{max(numbers, default=0) + 1}"
        return KeyEncryptionKeys(name, {**self._keys, name: new_data_key()})

    def without(self, name: str) -> "KeyEncryptionKeys":
        """Return the keys without one of them.

        Raises:
            ValueError: it is the active one, or not among them.
        """
        if name not in self._keys or name == self._active:
            raise ValueError("only a key that is there and not active can be removed")
        return KeyEncryptionKeys(self._active, {one: key for one, key in self._keys.items() if one != name})

    def with_old(self, name: str, held: "KeyEncryptionKeys") -> "KeyEncryptionKeys":
        """Return the keys with one put back that was taken out of `held`; unchanged when there is one of its name."""
        taken_out = held._keys[name]  # noqa: SLF001 - of the same class
        return KeyEncryptionKeys(self._active, {name: taken_out, **self._keys})

    def differing(self, others: "KeyEncryptionKeys") -> Sequence[str]:
        """Return the names that stand for one key here and for another one there."""
        theirs = others._keys  # noqa: SLF001 - of the same class
        shared = [name for name in self._keys if name in theirs]
        return tuple(name for name in shared if not hmac.compare_digest(self._keys[name], theirs[name]))

    def holds(self, name: str) -> bool:
        """Tell whether a key of that name is among them."""
        return name in self._keys

    async def active(self) -> str:
        """Return the name of the key that wraps."""
        return self._active

    async def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Return a tenant's data key wrapped by the active key."""
        place = wrap_place(self._active, tenant_id)
        return named_wrap(self._active, _encrypt(self._keys[self._active], data_key, place))

    async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Return the data key.

        Raises:
            SealBrokenError: it belongs to another tenant, was changed, or its wrapping key is not among ours.
        """
        name = wrapped_by(wrapped)
        key = self._keys.get(name)
        if key is None:
            raise SealBrokenError("The key that wrapped this data key is not among the keys.")
        return _decrypt(key, wrapped[1 + wrapped[0] :], wrap_place(name, tenant_id))


class Sealer:
    """Seals and opens values with one tenant's data key."""

    def __init__(self, data_key: bytes) -> None:
        self._key = data_key

    def seal(self, plaintext: bytes, *, tenant_id: UUID, record: str, field: str, version: int) -> bytes:
        """Return the ciphertext of a field of a record, in the given version of that record's secret."""
        return _encrypt(self._key, plaintext, _place("value", str(tenant_id), record, field, str(version)))

    def open(self, sealed: bytes, *, tenant_id: UUID, record: str, field: str, version: int) -> bytes:
        """Return the plaintext.

        Raises:
            SealBrokenError: it was sealed elsewhere, with another key, or has been changed.
        """
        return _decrypt(self._key, sealed, _place("value", str(tenant_id), record, field, str(version)))
