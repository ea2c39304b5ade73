"""Ticket numbers for people ("T-001"), and the two forms in which a request may name a ticket."""

import re
from uuid import UUID

_NUMBER = re.compile(r"[Tt]-([0-9]{1,18})")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def number_text(number: int) -> str:
    """Return a ticket's number as people write it: at least three digits after "T-"."""
    return f"T-{number:03d}"


def parse_reference(text: str) -> UUID | int | None:
    """Return the id or the number that a request names; None for a text that no ticket can have as its name.

    Numbers of up to 18 digits are understood, so that every result fits into a bigint.
    """
    if match := _NUMBER.fullmatch(text):
        return int(match[1])
    return UUID(text) if _UUID.fullmatch(text) else None
