"""The text of an order file: unpacked, decoded and cut into numbered records; what is broken stays apart."""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError

_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_FIELD = 65_536
"""Characters of a field, in which a quote that is never closed would otherwise take the rest of the file along."""
_LONGEST_LINE = 1_000_000
"""Characters that are read at once where no line ends."""
_UNDECODED = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8, as `surrogateescape` stands for them."""
_REPLACED = "\ufffd"


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the file.

    Attributes:
        line: where it begins; the header is line 1.
        text: what stands there, as it was.
        values: its fields; None when it cannot be cut into fields.
        problem: why it cannot be read; empty when it can.
    """

    line: int
    text: str
    values: Sequence[str] | None
    problem: str = ""


class OrderText:
    """A text file of records, gzipped or not, in any encoding, separated by commas, semicolons, tabs or bars."""

    def __init__(self, path: Path, encoding: str = "") -> None:
        self.path = path
        self.header: Sequence[str] = ()
        """The names of the columns, known once `records` was begun."""
        self.delimiter = ","
        """What separates the fields, known once `records` was begun."""
        self._encoding = encoding
        self._position = 0
        if encoding and not _is_encoding(encoding):
            raise CommandError(f"There is no encoding {encoding!r}.", reason="USAGE")
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def position(self) -> int:
        """How many bytes of the file were read so far, for a progress bar."""
        return self._position

    def records(self, fits: Callable[[Sequence[str]], bool]) -> Iterator[Record]:
        """Give the records after the header; `fits` tells whether columns with such names are the ones looked for.

        Raises:
            CommandError: the file cannot be read.
        """
        csv.field_size_limit(_LONGEST_FIELD)
        self._position = 0
        try:
            with self._text() as (text, encoding):
                lines = _Lines(text)
                first = next(lines, "")
                self.delimiter, self.header = _header(first, fits)
                yield from self._cut(lines, encoding)
        except (OSError, EOFError, UnicodeError) as error:
            raise self._unreadable(error) from error

    def _cut(self, lines: "_Lines", encoding: str) -> Iterator[Record]:
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            lines.begin()
            try:
                values = next(reader, None)
            except csv.Error as error:
                # What follows the line may be right: only a quote that nothing closes has taken it along.
                yield Record(lines.first, lines.keep_one(), None, _not_cut(error))
                continue
            if values is None:
                return
            if not any(values):
                continue
            text = lines.taken
            yield Record(lines.first, text, values, "" if text.isascii() else _broken(text, encoding))

    @contextmanager
    def _text(self) -> Iterator[tuple[io.TextIOWrapper, str]]:
        with self.path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            counted = _Counting(raw, self)
            content = io.BufferedReader(gzip.GzipFile(fileobj=counted) if packed else counted)
            marked = next((name for mark, name in _MARKS if content.peek(4).startswith(mark)), "")
            encoding = marked or self._encoding or "utf-8"
            keep = "surrogateescape" if encoding.replace("_", "-").lower().startswith("utf-8") else "replace"
            with io.TextIOWrapper(content, encoding=encoding, errors=keep, newline="") as text:
                yield text, encoding

    def _unreadable(self, error: Exception) -> CommandError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return CommandError(f"Cannot read {self.path}: {why}.", reason="FILE_UNREADABLE")


class _Lines(Iterator[str]):
    """The lines of a text, counted; lines that were taken too far can be given back."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._again: list[str] = []
        self._taken: list[str] = []
        self.first = 1
        """Where what was taken begins."""

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._text.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self._taken.append(line)
        return line

    @property
    def taken(self) -> str:
        """What was taken since the beginning of the record."""
        return self._taken[0] if len(self._taken) == 1 else "".join(self._taken)

    def begin(self) -> None:
        """Begin a record behind what was taken."""
        self.first += len(self._taken)
        self._taken.clear()

    def keep_one(self) -> str:
        """Give everything back but the first line that was taken, and return that one."""
        first, *rest = self._taken
        self._again += reversed(rest)
        self._taken = [first]
        return first


class _Counting(io.RawIOBase):
    """Reads a file and notes how far."""

    def __init__(self, raw: io.BufferedReader, owner: OrderText) -> None:
        self._raw = raw
        self._owner = owner

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into the buffer."""
        count = self._raw.readinto(buffer)  # type: ignore[arg-type] # the two stubs name a buffer differently
        self._owner._position += count  # noqa: SLF001 - the owner's own reading position
        return count


def _is_encoding(name: str) -> bool:
    try:
        b"".decode(name)
    except LookupError:
        return False
    return True


def _header(line: str, fits: Callable[[Sequence[str]], bool]) -> tuple[str, Sequence[str]]:
    """Return what separates the columns, and their names: whatever fits, else what gives the most columns."""
    found = []
    for delimiter in _DELIMITERS:
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            continue
        if fits(names):
            return delimiter, names
        found.append((len(names), delimiter, names))
    _, delimiter, names = max(found, key=lambda one: one[0], default=(0, ",", []))
    return delimiter, names


def _not_cut(error: csv.Error) -> str:
    said = str(error)
    if "field limit" in said or "unexpected end" in said:
        return "a quote is opened and never closed"
    return f"it cannot be cut into fields: {said}"


def _broken(text: str, encoding: str) -> str:
    """Return what is wrong with the characters of a record; empty when nothing is."""
    if found := _UNDECODED.search(text):
        byte = ord(found.group()) - 0xDC00
        return (
            f"byte 0x{byte:02X} at character {found.start() + 1} is not UTF-8: say which encoding the file is in, "
            "for example --encoding cp1252"
        )
    if _REPLACED in text:
        return f"character {text.index(_REPLACED) + 1} is not {encoding}, or was lost before"
    return ""
