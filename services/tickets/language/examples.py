"""Reads labelled texts from files: CSV with a header, or the JSON of the CLINC150 data; both may be gzipped."""

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LABEL_COLUMNS = ("label", "category", "intent")
"""The names that the column of labels may have, the first that is there counts."""
MAX_BYTES = 512 * 1024 * 1024
_SHOWN = 60
_HALF = re.compile("[\ud800-\udfff]")


class ExamplesError(ValueError):
    """A file cannot be read as labelled texts; the message says why, and never holds a text of it."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with their labels, and texts that belong to none of the labels."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    outside: tuple[str, ...] = ()


def read(path: Path, part: str) -> Examples:
    """Return the examples of a file; `part` (`train` or `test`) says which lists of a CLINC file are meant.

    A CLINC file without the list `test` is asked for `val` instead.

    Raises:
        ExamplesError: the file cannot be read, is neither of the two kinds, or holds no examples.
    """
    text = _text(path)
    found = _clinc(path, text, part) if text.lstrip()[:1] == "{" else _table(path, text)
    if not found.texts:
        raise ExamplesError(f"{path.name} holds no labelled text")
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            held = file.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise ExamplesError(f"{path.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(held) > MAX_BYTES:
        raise ExamplesError(f"{path.name} holds more than {MAX_BYTES >> 20} MiB")
    try:
        return held.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExamplesError(f"{path.name} is not UTF-8 (at byte {error.start})") from error


def _table(path: Path, text: str) -> Examples:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        names = rows.fieldnames or []
        column = next((name for name in LABEL_COLUMNS if name in names), None)
        if "text" not in names or column is None:
            raise ExamplesError(
                f"{path.name} needs a header line with the columns text and {LABEL_COLUMNS[0]}, not "
                f"{', '.join(names)[:_SHOWN] or 'nothing'}"
            )
        texts, labels = [], []
        for row in rows:
            if not row["text"] or not row[column]:
                raise ExamplesError(f"{path.name}, line {rows.line_num}: the text or its label is missing")
            texts.append(row["text"])
            labels.append(row[column])
    except csv.Error as error:
        raise ExamplesError(f"{path.name}, line {rows.line_num}: {error}") from error
    return Examples(tuple(texts), tuple(labels))


def _clinc(path: Path, text: str, part: str) -> Examples:
    try:
        lists: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExamplesError(f"{path.name} is not JSON, or nested too deeply") from error
    name = "val" if part == "test" and "test" not in lists else part
    if name not in lists:
        raise ExamplesError(f"{path.name} has no list '{name}'; its lists are {', '.join(lists)[:_SHOWN] or 'none'}")
    pairs, outside = _pairs(path, name, lists[name]), _pairs(path, f"oos_{name}", lists.get(f"oos_{name}", []))
    return Examples(
        tuple(one for one, _ in pairs), tuple(label for _, label in pairs), tuple(one for one, _ in outside)
    )


def _pairs(path: Path, name: str, given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, list):
        raise ExamplesError(f"{path.name}: '{name}' is no list")
    for place, pair in enumerate(given):
        if not (isinstance(pair, list) and len(pair) == len(("text", "label")) and all(map(_is_text, pair))):
            raise ExamplesError(
                f"{path.name}: entry {place} of '{name}' is not [text, label], or holds half a character"
            )
    return [(text, label) for text, label in given]


def _is_text(value: object) -> bool:
    # JSON can hold half of a pair of surrogates, which is no character.
    return isinstance(value, str) and bool(value) and not _HALF.search(value)
