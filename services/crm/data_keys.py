"""A tenant's data keys: a key-encryption key wraps the newest, which wraps the older ones; so one unwrap opens all.

What the newest key wraps is bound to its version and to the newest one's, as everything that is sealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from servicekit.envelope import Sealer, named_wrap, wrapped_by

OLDER = "data-key"
"""The name that stands in front of a key that a data key has wrapped."""

_FIELD = "data-key"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A version of a tenant's data key, wrapped by a key-encryption key or by the tenant's newest data key."""

    version: int
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """A tenant's data keys, ready to use; `newest` is the version that seals."""

    newest: int
    keys: Mapping[int, bytes] = field(repr=False)

    def sealers(self) -> Mapping[int, Sealer]:
        """Return what seals and opens, by version."""
        return {version: Sealer(key) for version, key in self.keys.items()}


def open_all(newest_key: bytes, wrapped: Sequence[WrappedKey], tenant_id: UUID) -> OpenKeys:
    """Return all keys of a tenant, given the newest one and all as they are stored, newest first.

    Raises:
        servicekit.envelope.SealBrokenError: an older key was not wrapped by the newest one for this place.
    """
    newest = wrapped[0].version
    keys = {newest: newest_key}
    sealer = Sealer(newest_key)
    for older in wrapped[1:]:
        content = older.wrapped[1 + older.wrapped[0] :] if wrapped_by(older.wrapped) == OLDER else b""
        keys[older.version] = sealer.open(
            content, tenant_id=tenant_id, record=str(newest), field=_FIELD, version=older.version
        )
    return OpenKeys(newest, keys)


def wrap_older(newest_key: bytes, newest: int, older: Mapping[int, bytes], tenant_id: UUID) -> list[WrappedKey]:
    """Return older keys wrapped by a new one, whose version is `newest`."""
    sealer = Sealer(newest_key)
    return [
        WrappedKey(
            version,
            named_wrap(OLDER, sealer.seal(key, tenant_id=tenant_id, record=str(newest), field=_FIELD, version=version)),
        )
        for version, key in older.items()
    ]
