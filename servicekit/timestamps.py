"""Times between Python and messages."""

from datetime import UTC, datetime
from typing import overload

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from servicekit.errors import FieldViolation, RequestInvalidError


@overload
def timestamp(when: datetime) -> Timestamp: ...


@overload
def timestamp(when: datetime | None) -> Timestamp | None: ...


def timestamp(when: datetime | None) -> Timestamp | None:
    """Return a time as a message holds it; None stays None."""
    if when is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp


def moment(message: Message, field: str) -> datetime | None:
    """Return a time of a request; None where it is absent.

    Raises:
        RequestInvalidError: it is none; the contract's rules are about its seconds only.
    """
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        violation = FieldViolation(field, "is no time: its nanoseconds are below 0 or a second or more", "timestamp")
        raise RequestInvalidError(f"The request is not valid: {field} is no time.", violations=[violation]) from error
