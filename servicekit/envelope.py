"""Envelope encryption: a data key per tenant, wrapped by a key-encryption key, and values sealed to their place.

What is sealed opens only as the same field of the same version of the same record of the same tenant: the place is part
of what is authenticated, each part prefixed by its length.
"""

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT = b"\x01"
_NONCE = 12
_KEY = 32


class SealBrokenError(Exception):
    """A ciphertext does not open: another key, another place, or changed bytes."""


def new_data_key() -> bytes:
    """Return a fresh data key."""
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


class KeyEncryptionKeys:
    """The keys that wrap data keys: one active for new wraps, the others to open old ones until they are re-wrapped."""

    def __init__(self, active: str, keys: Mapping[str, bytes]) -> None:
        if active not in keys or any(len(key) != _KEY for key in keys.values()):
            raise ValueError("the active key must be among the keys, and each must have 32 bytes")
        self.active = active
        self._keys = dict(keys)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the keys of a file: `{"active": "kek-1", "keys": {"kek-1": "<32 bytes in base64>"}}`.

        Raises:
            OSError: the file cannot be read.
            ValueError: it does not hold what it must, or others than its owner may read it.
        """
        if path.stat().st_mode & 0o077:
            raise ValueError(f"{path} must be readable by its owner only (mode 0600)")
        try:
            content = orjson.loads(path.read_bytes())
            keys = {name: b64decode(value, validate=True) for name, value in content["keys"].items()}
            return cls(content["active"], keys)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} is not a file of key-encryption keys") from error

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a file with one new key, readable by its owner only, and return the keys.

        Raises:
            FileExistsError: there is a file already; keys are never overwritten.
        """
        created = cls("kek-1", {"kek-1": secrets.token_bytes(_KEY)})
        content = {"active": "kek-1", "keys": {"kek-1": b64encode(created._keys["kek-1"]).decode()}}
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(orjson.dumps(content) + b"\n")
        return created

    def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Return a tenant's data key wrapped by the active key, whose name stands in front."""
        name = self.active.encode()
        place = _place("data-key", self.active, str(tenant_id))
        return bytes([len(name)]) + name + _encrypt(self._keys[self.active], data_key, place)

    def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Return the data key.

        Raises:
            SealBrokenError: it belongs to another tenant, was changed, or its wrapping key is not among ours.
        """
        name = self.wrapped_by(wrapped)
        key = self._keys.get(name)
        if key is None:
            raise SealBrokenError("The key that wrapped this data key is not among the keys.")
        return _decrypt(key, wrapped[1 + wrapped[0] :], _place("data-key", name, str(tenant_id)))

    def wrapped_by(self, wrapped: bytes) -> str:
        """Return the name of the key that wrapped a data key, to find those that wait for a rotation."""
        try:
            return wrapped[1 : 1 + wrapped[0]].decode()
        except (IndexError, UnicodeDecodeError) as error:
            raise SealBrokenError("The wrapped key has an unknown format.") from error


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
