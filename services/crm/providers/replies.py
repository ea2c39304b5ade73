"""What the providers' APIs answer: the object or array in it, and the vendor's own clock."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.crm.providers.api import ApiError, Reply
from services.crm.providers.signatures import json_object, json_value


def object_in(reply: Reply) -> Mapping[str, Any]:
    """Return the JSON object that an answer is.

    Raises:
        ApiError: it is none (`ANSWER_NOT_UNDERSTOOD`).
    """
    found = json_object(reply.body)
    if found is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the answer is no JSON object")
    return found


def list_in(reply: Reply) -> list[Any]:
    """Return the JSON array that an answer is.

    Raises:
        ApiError: it is none (`ANSWER_NOT_UNDERSTOOD`).
    """
    found = json_value(reply.body)
    if not isinstance(found, list):
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the answer is no JSON array")
    return found


def clock_of(reply: Reply) -> datetime | None:
    """Return the time that the answer is of, so that ours does not matter; None when it does not say."""
    try:
        return datetime.strptime(reply.headers.get("date", ""), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None


def too_long() -> ApiError:
    """Return why nothing is written: in so long a ticket it could stand already where nobody looks any more."""
    return ApiError("TICKET_TOO_LONG", "the ticket has too many messages to know whether this one is among them")
