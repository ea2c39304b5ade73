"""A sealed copy of the key-encryption keys that is kept apart: opened by a passphrase, or by k of n shares.

The copy is JSON: what is needed to open it in clear, the keys by AES-256-GCM, which authenticates the rest as well. The
sealing key comes from the passphrase by scrypt, or is random and split into shares of words (SLIP-0039).
"""

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations, islice
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from servicekit.envelope import KeyEncryptionKeys

_FORMAT = "rapport-escrow-1"
_KEY = 32
_NONCE = 12
_SCRYPT = {"name": "scrypt", "n": 2**17, "r": 8, "p": 1}
_MOST_WORK = 2**24
SHORTEST_PASSPHRASE = 12
"""Characters; a machine that tries passphrases needs a tenth of a second and 128 MiB for each."""

MOST_SHARES = 16

_MOST_TRIES = 13_000
"""Choices of shares that are tried: all that there are of 16."""


class EscrowError(Exception):
    """The copy does not open, or cannot be made like this; the text says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A copy that k of n shares open, and the shares: each a line of words, for somebody else to keep."""

    copy: bytes
    shares: Sequence[str] = field(repr=False)


def seal_with_passphrase(keys: KeyEncryptionKeys, passphrase: str) -> bytes:
    """Return a copy of the keys that the passphrase opens.

    Raises:
        EscrowError: the passphrase is too short.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise EscrowError(f"A passphrase has at least {SHORTEST_PASSPHRASE} characters.")
    kdf = {**_SCRYPT, "salt": b64encode(os.urandom(16)).decode()}
    return _seal(keys, _stretched(passphrase, kdf), {"kdf": kdf})


def seal_with_shares(keys: KeyEncryptionKeys, needed: int, made: int) -> Shared:
    """Return a copy of the keys that any `needed` of `made` shares open.

    Raises:
        EscrowError: it is not 2 to 16 shares of which at least 2 are needed.
    """
    from shamir_mnemonic import generate_mnemonics

    if not 2 <= needed <= made <= MOST_SHARES:  # noqa: PLR2004 - one share would be the key itself
        raise EscrowError(f"Make 2 to {MOST_SHARES} shares, of which at least 2 and at most all are needed.")
    secret = secrets.token_bytes(_KEY)
    (shares,) = generate_mnemonics(1, [(needed, made)], secret)
    return Shared(_seal(keys, secret, {"shares": {"needed": needed, "made": made}}), shares)


def describe(copy: bytes) -> dict[str, Any]:
    """Return what stands in clear in a copy: when it was made, which keys it holds and what opens it.

    Raises:
        EscrowError: it is none.
    """
    try:
        found: dict[str, Any] = orjson.loads(copy)
        if found["format"] != _FORMAT or not isinstance(found["sealed"], str):
            raise EscrowError("This is no sealed copy of key-encryption keys.")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise EscrowError("This is no sealed copy of key-encryption keys.") from None
    return {name: value for name, value in found.items() if name != "sealed"}


def open_with_passphrase(copy: bytes, passphrase: str) -> KeyEncryptionKeys:
    """Return the keys of a copy.

    Raises:
        EscrowError: the passphrase does not open it, or it was changed.
    """
    kdf = describe(copy).get("kdf")
    if not isinstance(kdf, dict):
        raise EscrowError("This copy is opened by shares.")
    return _open(copy, _stretched(passphrase, kdf))


def open_with_shares(copy: bytes, shares: Sequence[str]) -> KeyEncryptionKeys:
    """Return the keys of a copy.

    Raises:
        EscrowError: the shares are too few or not of this copy, or it was changed.
    """
    from shamir_mnemonic import MnemonicError, combine_mnemonics

    if "shares" not in describe(copy):
        raise EscrowError("This copy is opened by a passphrase.")
    needed = describe(copy)["shares"]["needed"]
    unique = sorted({" ".join(share.split()) for share in shares})
    if len(unique) < needed:
        raise EscrowError(f"{needed} different shares are needed, {len(unique)} were given.")
    # Of more shares than are needed one may be wrong: which one, only opening tells.
    for chosen in islice(combinations(unique, needed), _MOST_TRIES):
        try:
            return _open(copy, combine_mnemonics(chosen))
        except (MnemonicError, ValueError, EscrowError):
            continue
    raise EscrowError("The shares do not open this copy: a word is wrong, or they are of another one.")


def _seal(keys: KeyEncryptionKeys, key: bytes, how: dict[str, Any]) -> bytes:
    shown = {
        "format": _FORMAT,
        "create_time": datetime.now(UTC).isoformat(timespec="seconds"),
        "keks": list(keys.names),
        **how,
    }
    nonce = os.urandom(_NONCE)
    sealed = nonce + AESGCM(key).encrypt(nonce, keys.text(), _authenticated(shown))
    return orjson.dumps({**shown, "sealed": b64encode(sealed).decode()}, option=orjson.OPT_INDENT_2) + b"\n"


def _open(copy: bytes, key: bytes) -> KeyEncryptionKeys:
    shown = describe(copy)
    try:
        sealed = b64decode(orjson.loads(copy)["sealed"], validate=True)
        return KeyEncryptionKeys.parse(AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _authenticated(shown)))
    except (InvalidTag, ValueError):
        raise EscrowError("This does not open the copy, or the copy was changed.") from None


def _authenticated(shown: dict[str, Any]) -> bytes:
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)


def _stretched(passphrase: str, kdf: dict[str, Any]) -> bytes:
    """Return the key that a passphrase gives; a copy that asks for absurd work is refused."""
    try:
        cost, block, parallel, salt = int(kdf["n"]), int(kdf["r"]), int(kdf["p"]), b64decode(kdf["salt"], validate=True)
        if kdf["name"] != "scrypt" or not 0 < cost * block * parallel <= _MOST_WORK:
            raise EscrowError("The copy names a way from the passphrase to the key that is not supported.")
        return Scrypt(salt=salt, length=_KEY, n=cost, r=block, p=parallel).derive(passphrase.encode())
    except (KeyError, TypeError, ValueError, MemoryError):
        raise EscrowError("The copy names a way from the passphrase to the key that is not supported.") from None
