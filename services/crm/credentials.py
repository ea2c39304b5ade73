"""Secrets at rest: each is sealed under its tenant's data key, bound to the place where it is stored.

A ciphertext that was moved to another tenant, connection, name or version does not open.
"""

from uuid import UUID

from servicekit.envelope import Sealer

_PAYLOAD = "payload"
_PAYLOAD_VERSION = 1


def seal_secret(sealer: Sealer, text: str, *, tenant_id: UUID, connection: UUID, name: str, version: int) -> bytes:
    """Return a secret as it is stored."""
    return sealer.seal(text.encode(), tenant_id=tenant_id, record=str(connection), field=name, version=version)


def open_secret(sealer: Sealer, sealed: bytes, *, tenant_id: UUID, connection: UUID, name: str, version: int) -> str:
    """Return a stored secret.

    Raises:
        servicekit.envelope.SealBrokenError: it was not sealed for this place, or by this key.
    """
    return sealer.open(sealed, tenant_id=tenant_id, record=str(connection), field=name, version=version).decode()


def seal_payload(sealer: Sealer, packed: bytes, *, tenant_id: UUID, delivery: UUID) -> bytes:
    """Return what was received as it is stored."""
    return sealer.seal(packed, tenant_id=tenant_id, record=str(delivery), field=_PAYLOAD, version=_PAYLOAD_VERSION)


def open_payload(sealer: Sealer, sealed: bytes, *, tenant_id: UUID, delivery: UUID) -> bytes:
    """Return what was received.

    Raises:
        servicekit.envelope.SealBrokenError: it was not sealed for this delivery, or by this key.
    """
    return sealer.open(sealed, tenant_id=tenant_id, record=str(delivery), field=_PAYLOAD, version=_PAYLOAD_VERSION)
