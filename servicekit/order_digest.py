"""The checksum of an order, the same whoever computes it: who holds it, and who compares both sides later."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import orjson

Line = tuple[str, str, int, int]
"""A product's id and name, the quantity, and the price of one piece in minor units."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def order_digest(
    customer_id: str,
    order_time: datetime,
    currency: str,
    lines: Iterable[Line],
    refunded_minor: int,
    cancel_time: datetime | None,
) -> str:
    """Return the SHA-256 in hexadecimal digits of what is kept of an order; the order of its lines does not count.

    Args:
        customer_id: the customer it came in under, whoever that was found to be since.
        order_time: when it was placed; counts to the microsecond.
        currency: of all amounts.
        lines: its lines.
        refunded_minor: what was paid back for it; 0 where that was not told.
        cancel_time: when it was cancelled; None when it was not.
    """
    cancelled = None if cancel_time is None else _micros(cancel_time)
    values = (customer_id, _micros(order_time), currency, sorted(lines), refunded_minor, cancelled)
    return hashlib.sha256(orjson.dumps(values)).hexdigest()


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
