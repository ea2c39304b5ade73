"""Salesforce's ids: 15 characters in which case counts, or 18 whose last three say the case of the others."""

import re

PLAIN = 15
"""The characters that identify; two ids are the same when these are."""

_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", re.ASCII)
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_GROUP = 5


def full_id(text: str, prefix: str = "") -> str | None:
    """Return an id in its form of 18 characters; None for what is none, or not of the kind that begins so."""
    if not _ID.fullmatch(text) or not text.startswith(prefix):
        return None
    plain = text[:PLAIN]
    groups = (plain[start : start + _GROUP] for start in range(0, PLAIN, _GROUP))
    return plain + "".join(
        _DIGITS[sum(1 << place for place, letter in enumerate(group) if "A" <= letter <= "Z")] for group in groups
    )
