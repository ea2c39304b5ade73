"""Reads what Postgres' own output plugin says of changed rows (protocol version 1), as far as their keys are wanted.

See "Logical Replication Message Formats" in the manual of Postgres.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was inserted, updated or deleted; of a deleted one only the columns of its key have values."""

    kind: str
    schema: str
    table: str
    values: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Relation:
    schema: str
    table: str
    columns: tuple[str, ...]


def changes_of(messages: Iterable[bytes]) -> Iterator[Change]:
    """Yield the changes of messages that stand in their order, beginning where decoding began."""
    relations: dict[int, _Relation] = {}
    for message in messages:
        reader = _Reader(message)
        kind = reader.byte()
        if kind == "R":
            number, relation = _relation(reader)
            relations[number] = relation
        elif kind in {"I", "U", "D"}:
            relation = relations[reader.integer()]
            values: Mapping[str, str | None] = {}
            while reader.left:
                # K and O: the key or the row of before; N: the row as it is now, which says more.
                part, row = reader.byte(), _row(reader)
                if part == "N" or kind == "D":
                    values = dict(zip(relation.columns, row, strict=True))
            yield Change(kind, relation.schema, relation.table, values)


class _Reader:
    """Takes a message apart from its beginning on."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._place = 0

    @property
    def left(self) -> bool:
        return self._place < len(self._message)

    def byte(self) -> str:
        return chr(self.take(1)[0])

    def integer(self) -> int:
        return int(struct.unpack("!I", self.take(4))[0])

    def short(self) -> int:
        return int(struct.unpack("!H", self.take(2))[0])

    def text(self) -> str:
        end = self._message.index(b"\0", self._place)
        found = self._message[self._place : end]
        self._place = end + 1
        return found.decode()

    def take(self, count: int) -> bytes:
        found = self._message[self._place : self._place + count]
        self._place += count
        return found


def _relation(reader: _Reader) -> tuple[int, _Relation]:
    number = reader.integer()
    schema, table = reader.text(), reader.text()
    reader.byte()
    columns = []
    for _ in range(reader.short()):
        reader.byte()
        columns.append(reader.text())
        reader.take(8)
    return number, _Relation(schema, table, tuple(columns))


def _row(reader: _Reader) -> list[str | None]:
    """Return a row's values as text; None for null and for a long value that did not change."""
    values: list[str | None] = []
    for _ in range(reader.short()):
        kind = reader.byte()
        values.append(reader.take(reader.integer()).decode() if kind == "t" else None)
    return values
