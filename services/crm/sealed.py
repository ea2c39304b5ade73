"""Everything that is sealed by data keys: which table holds it, and for which place it was sealed.

A table with a column `key_version` must stand here (a test asks the catalogue), or a rotation would miss it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from servicekit.envelope import Sealer

Row = Mapping[str, Any]


class Place(NamedTuple):
    """Where something is sealed, beside its tenant."""

    record: str
    field: str
    version: int


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed bytes.

    Attributes:
        name: the table.
        column: the column with the sealed bytes, empty where there is nothing any more; `key_version` beside it says
            under which data key.
        keys: the columns that, with the tenant, name a row.
        place: the place of a row's bytes, as whoever seals them names it.
        resealed: whether a rotation of the data key seals the rows anew. Deliveries are not: there may be gigabytes of
            them in the busiest table, and retention removes them; their data key is kept for as long as one is there.
    """

    name: str
    column: str
    keys: tuple[str, ...]
    place: Callable[[Row], Place]
    resealed: bool

    def open(self, sealer: Sealer, tenant_id: UUID, row: Row) -> bytes:
        """Return what is sealed in a row, with the sealer of its version.

        Raises:
            servicekit.envelope.SealBrokenError: it was not sealed for this row, or by this key.
        """
        return sealer.open(row[self.column], tenant_id=tenant_id, **self.place(row)._asdict())

    def seal(self, sealer: Sealer, content: bytes, tenant_id: UUID, row: Row) -> bytes:
        """Return content sealed for a row."""
        return sealer.seal(content, tenant_id=tenant_id, **self.place(row)._asdict())


SEALED: tuple[SealedTable, ...] = (
    SealedTable(
        "connection_secrets",
        "sealed",
        ("connection_id", "name", "version"),
        lambda row: Place(str(row["connection_id"]), row["name"], row["version"]),
        resealed=True,
    ),
    SealedTable("writes", "payload", ("id",), lambda row: Place(str(row["id"]), "write", 1), resealed=True),
    SealedTable("deliveries", "payload", ("id",), lambda row: Place(str(row["id"]), "payload", 1), resealed=False),
)
