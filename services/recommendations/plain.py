"""Which words of others may be repeated to a customer: names that are too plain to carry anything else.

Titles of products, names of carriers and of customers come from outside. What looks like a link, an offer or a sentence
of instructions is not repeated, whoever wrote it.
"""

import re

_MOST_CHARACTERS = 80
_MOST_WORDS = 12
_MOST_NAME = 60

_CARRIES = re.compile(
    r"://|www\.|@|[\x00-\x1f\x7f<>{}|\\`\u200b-\u200f\u2028-\u202e\u2066-\u2069]"
    r"|\d\s?%\s?(?:off|discount|rabatt|de\s(?:remise|réduction))"
    r"|\b(?:ignore|disregard|instructions?|prompt|discount|coupon|voucher|promo|rabatt|gutschein|refund|remise)\b"
    r"|[.!?]\s+\w+\s+\w+\s+\w+",
    re.IGNORECASE,
)
_PAGE = re.compile(r"https?://[^\s\"'<>]{1,2040}", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d_]+(?:[ '\u2019.-]{1,2}[^\W\d_]+){0,4}\.?")


def is_plain(text: str) -> bool:
    """Tell whether a title or a carrier's name may be repeated."""
    return 0 < len(text) <= _MOST_CHARACTERS and len(text.split()) <= _MOST_WORDS and _CARRIES.search(text) is None


def is_page(text: str) -> bool:
    """Tell whether a text is the address of a page and nothing else."""
    return _PAGE.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Tell whether a text can be nothing but a person's name."""
    return len(text) <= _MOST_NAME and _NAME.fullmatch(text) is not None and _CARRIES.search(text) is None
