"""Fits one shop's model in a process of its own, so that nobody waits for it and its memory is given back.

Standard input: a line of JSON {"items", "hashes", "until", "in_service"} (the last one is a number of bytes), then
these bytes, the trial of the model in service as it was packed, then the purchases as Postgres copies them out in its
binary form: a customer's number, a product's hash and a day. Standard output: a line of JSON, in it "model", a number
of bytes, then these bytes, the new model, packed, then its trial, packed, or nothing where there is none.
"""

import os
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from services.recommendations.products.learning import Lines, learn
from services.recommendations.products.model import unpack

_HEADER, _TRAILER = 19, 2
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("customer_size", ">i4"),
        ("customer", ">i8"),
        ("item_size", ">i4"),
        ("item", ">i8"),
        ("day_size", ">i4"),
        ("day", ">i4"),
    ]
)
_NICE = 10


def main() -> None:
    """Read, fit, write."""
    os.nice(_NICE)
    asked = orjson.loads(sys.stdin.buffer.readline())
    packed = sys.stdin.buffer.read(asked["in_service"])
    fitted = learn(
        lines_of(asked["items"], asked["hashes"], sys.stdin.buffer.read(), asked["until"]),
        unpack(packed) if packed else None,
    )
    model = fitted.model.pack()
    said = {
        "model": len(model),
        "neighbours": fitted.neighbours,
        "better": fitted.better,
        "customer_count": fitted.customer_count,
        "item_count": len(fitted.model.items),
        "purchase_count": fitted.purchase_count,
        **asdict(fitted.judgement),
    }
    trial = fitted.trial.pack() if fitted.trial is not None else b""
    sys.stdout.buffer.write(orjson.dumps(said) + b"\n" + model + trial)


def lines_of(items: list[str], hashes: list[int], copied: bytes, until: int) -> Lines:
    """Return what Postgres copied out as purchase lines; lines of products that are not among `items` are left out."""
    rows: npt.NDArray[Any] = np.frombuffer(copied, _ROW, offset=_HEADER, count=_count(copied))
    known = np.array(hashes, dtype=np.int64)
    order = np.argsort(known)
    hashed = rows["item"].astype(np.int64)
    at = order[np.minimum(np.searchsorted(known, hashed, sorter=order), known.size - 1)]
    kept = known[at] == hashed
    return Lines(
        rows["customer"].astype(np.int64)[kept],
        at[kept].astype(np.int64),
        rows["day"].astype(np.float64)[kept],
        np.array(items, dtype=np.str_),
        until,
    )


def _count(copied: bytes) -> int:
    return max(0, len(copied) - _HEADER - _TRAILER) // _ROW.itemsize


if __name__ == "__main__":
    main()
