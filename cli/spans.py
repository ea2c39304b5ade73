"""Spans of time as people write them in options."""

import re
from datetime import timedelta

from cli.errors import CommandError

_SPAN = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)
_LONGEST_SECONDS = 100 * 365 * 86400
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def span(option: str, text: str) -> timedelta:
    """Return the span of time that an option names: a number of seconds, or with s, m, h or d behind it."""
    found = _SPAN.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else _LONGEST_SECONDS + 1
    if seconds > _LONGEST_SECONDS:
        raise CommandError(f"{option}: write a number with s, m, h or d, e.g. 24h; at most 100 years.", reason="USAGE")
    return timedelta(seconds=seconds)
