"""Reading a shop's products from a CSV file: every line is judged before anything is sent."""

import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rapport.recommendations.v1 import product_pb2

from cli.errors import CommandError

COLUMNS = ("product_id", "title", "category", "price", "currency", "stock", "url")
NEEDED = ("product_id", "title")

_GZIP = b"\x1f\x8b"
_PRICE = re.compile(r"[0-9]{1,10}([.][0-9]{1,6})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_URL = re.compile(r"https?://[^\s\"'<>]+")
_STOCK = re.compile(r"[0-9]{1,9}")
_LONGEST = {"product_id": 255, "title": 500, "category": 255, "url": 2048}


@dataclass
class ProductFindings:
    """The lines that were left out: their numbers in the file (the header is line 1) and why."""

    bad_rows: list[tuple[int, str]] = field(default_factory=list)


def read_products(path: Path, findings: ProductFindings) -> Iterator[product_pb2.Product]:
    """Give the good lines of a file, .csv or .csv.gz, in order, and write the others into `findings`.

    Raises:
        CommandError: the file cannot be read, is not CSV in UTF-8, or lacks a column.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
        with gzip.open(path) if zipped else path.open("rb") as data:
            yield from _rows(io.TextIOWrapper(data, encoding="utf-8-sig", newline=""), path, findings)
    except (OSError, EOFError) as error:
        raise CommandError(f"{path} cannot be read: {error}.", reason="FILE_UNREADABLE") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not in UTF-8.", reason="FILE_UNREADABLE") from error
    except csv.Error as error:
        raise CommandError(f"{path} is not CSV: {error}.", reason="FILE_UNREADABLE") from error


def _rows(text: io.TextIOWrapper, path: Path, findings: ProductFindings) -> Iterator[product_pb2.Product]:
    reader = csv.DictReader(text)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    if lacking := [name for name in NEEDED if name not in names]:
        raise CommandError(
            f"{path} lacks the column {lacking[0]}; the columns are {', '.join(COLUMNS)}.", reason="COLUMNS_UNKNOWN"
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise CommandError(f"{path} has the column {twice[0]} twice.", reason="COLUMNS_UNKNOWN")
    for row in reader:
        values = {name: (row.get(name) or "").strip() for name in COLUMNS}
        if problem := _problem(values):
            findings.bad_rows.append((reader.line_num, problem))
            continue
        yield product_pb2.Product(
            product_id=values["product_id"],
            title=values["title"],
            category=values["category"],
            price=values["price"],
            currency_code=values["currency"],
            stock=int(values["stock"]) if values["stock"] else None,
            url=values["url"],
        )


def _problem(values: dict[str, str]) -> str:
    """Return what is wrong with a line; empty when nothing is."""
    for name in NEEDED:
        if not values[name]:
            return f"{name} is empty"
    for name, longest in _LONGEST.items():
        if len(values[name]) > longest:
            return f"{name} is longer than {longest} characters"
    if bool(values["price"]) != bool(values["currency"]):
        return "price and currency come together"
    for name, form, meaning in (
        ("price", _PRICE, "a price such as 2.55"),
        ("currency", _CURRENCY, "a currency such as EUR"),
        ("stock", _STOCK, "a whole number from 0"),
        ("url", _URL, "an http or https address"),
    ):
        if values[name] and not form.fullmatch(values[name]):
            return f"{name} is not {meaning}"
    return ""
