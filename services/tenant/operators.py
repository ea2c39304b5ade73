"""Operators: their own credentials and scopes, which are never a shop's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from services.tenant import scopes

ADMIN = "admin"
"""The name of the operator whose key stands in a file of its own, and the role that may do everything."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MARK = "rpo_"
_SHORTEST = 36
_MEMBERS = frozenset({"key", "key_sha256", "role", "scopes"})


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator, the SHA-256 of the key, and all that the operator may do."""

    name: str
    key_digest: bytes = field(repr=False)
    scopes: frozenset[str]


def digest(secret: str) -> bytes:
    """Return a hash of a fixed length, so that comparing tells nothing about the secret's own length."""
    return sha256(secret.encode()).digest()


def admin(key: str) -> Operator:
    """Return the operator of the file with the one key."""
    return Operator(ADMIN, digest(key), scopes.ROLES[ADMIN])


def operators_of(document: object) -> Mapping[str, Operator]:
    """Return the operators that a JSON document describes, by name.

    It is an object with a member for each operator: `key` ("rpo_" and at least 32 characters) or `key_sha256` (its
    SHA-256 in hexadecimal), and `role` ("admin", "viewer") or `scopes` (a list of scopes that operators can hold).

    Raises:
        ValueError: the document is something else; the message names the operator and quotes no key.
    """
    if not isinstance(document, dict):
        raise ValueError("must be a JSON object of operators")  # noqa: TRY004 - the content of a file
    found = {name: _operator(name, described) for name, described in document.items()}
    digests = [operator.key_digest for operator in found.values()]
    if len(set(digests)) < len(digests):
        raise ValueError("two operators have the same key")
    return found


def _operator(name: str, described: object) -> Operator:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name[:80]!r} is not made of lower-case letters, digits, dots and hyphens")
    if not isinstance(described, dict) or set(described) - _MEMBERS:
        raise ValueError(f"{name} must be an object of {', '.join(sorted(_MEMBERS))}")
    return Operator(name, _key_digest(name, described), _scopes(name, described))


def _key_digest(name: str, described: Mapping[str, Any]) -> bytes:
    key, hashed = described.get("key"), described.get("key_sha256")
    if (key is None) == (hashed is None):
        raise ValueError(f"{name} needs either key or key_sha256")
    if key is None:
        if not isinstance(hashed, str) or not _DIGEST.fullmatch(hashed):
            raise ValueError(f"the key_sha256 of {name} is not 64 hexadecimal digits in lower case")
        return bytes.fromhex(hashed)
    if not isinstance(key, str) or not key.startswith(_MARK) or len(key) < _SHORTEST:
        raise ValueError(f'the key of {name} is not "{_MARK}" and at least {_SHORTEST - len(_MARK)} characters')
    return digest(key)


def _scopes(name: str, described: Mapping[str, Any]) -> frozenset[str]:
    role, chosen = described.get("role"), described.get("scopes")
    if (role is None) == (chosen is None):
        raise ValueError(f"{name} needs either role or scopes")
    if chosen is None:
        if not isinstance(role, str) or role not in scopes.ROLES:
            raise ValueError(f"the role of {name} is none of {', '.join(sorted(scopes.ROLES))}")
        return scopes.ROLES[role]
    if not isinstance(chosen, list) or not chosen or not all(isinstance(scope, str) for scope in chosen):
        raise ValueError(f"the scopes of {name} are not a list of scopes")
    if strangers := sorted(set(chosen) - scopes.ROLES[ADMIN]):
        raise ValueError(f"{name} cannot hold {', '.join(strangers)}: no operator does")
    return frozenset(chosen)
