"""Everything that is sealed by data keys: which table holds it, and for which place it was sealed.

A table with a column `key_version` must stand here (a test asks the catalogue), or a rotation would miss it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from servicekit.envelope import Sealer
from services.crm.credentials import open_payload, open_secret, seal_payload, seal_secret

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed bytes.

    Attributes:
        name: the table.
        column: the column with the sealed bytes; `key_version` beside it says under which data key.
        keys: the columns that, with the tenant, name a row; among them are those that `open` and `seal` need.
        open: opens a row's bytes with the sealer of its version.
        seal: seals an opened row anew for its place.
        resealed: whether a rotation of the data key seals the rows anew. Deliveries are not: there may be gigabytes of
            them in the busiest table, and retention removes them; their data key is kept for as long as one is there.
    """

    name: str
    column: str
    keys: tuple[str, ...]
    open: Callable[[Sealer, bytes, UUID, Row], bytes]
    seal: Callable[[Sealer, bytes, UUID, Row], bytes]
    resealed: bool


def _secret_place(tenant_id: UUID, row: Row) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "connection": row["connection_id"],
        "name": row["name"],
        "version": row["version"],
    }


def _open_secret(sealer: Sealer, sealed: bytes, tenant_id: UUID, row: Row) -> bytes:
    return open_secret(sealer, sealed, **_secret_place(tenant_id, row)).encode()


def _seal_secret(sealer: Sealer, secret: bytes, tenant_id: UUID, row: Row) -> bytes:
    return seal_secret(sealer, secret.decode(), **_secret_place(tenant_id, row))


def _open_payload(sealer: Sealer, sealed: bytes, tenant_id: UUID, row: Row) -> bytes:
    return open_payload(sealer, sealed, tenant_id=tenant_id, delivery=row["id"])


def _seal_payload(sealer: Sealer, packed: bytes, tenant_id: UUID, row: Row) -> bytes:
    return seal_payload(sealer, packed, tenant_id=tenant_id, delivery=row["id"])


SEALED: tuple[SealedTable, ...] = (
    SealedTable(
        "connection_secrets",
        "sealed",
        ("connection_id", "name", "version"),
        _open_secret,
        _seal_secret,
        resealed=True,
    ),
    SealedTable("deliveries", "payload", ("id",), _open_payload, _seal_payload, resealed=False),
)
