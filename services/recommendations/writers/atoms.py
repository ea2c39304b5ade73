"""What in a sentence can be compared exactly: numbers, dates, amounts of money, shares, times, links, stand-ins."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache

from services.recommendations.writers.pseudonyms import PLACEHOLDER
from services.recommendations.writers.vocabulary import WORD, vocabulary

_CURRENCIES = "EUR|USD|GBP|CHF|SEK|NOK|DKK|PLN|CZK|HUF|RON|CAD|AUD|NZD|JPY|CNY|INR|BRL|MXN|TRY|ZAR|ILS"
_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}
_SPOKEN = {
    "euro": "EUR",
    "euros": "EUR",
    "dollar": "USD",
    "dollars": "USD",
    "bucks": "USD",
    "pound": "GBP",
    "pounds": "GBP",
    "quid": "GBP",
    "franken": "CHF",
    "francs": "CHF",
}
_NUMBER = r"\d+(?:[.,\u00a0 ]\d{3})*(?:[.,]\d+)?"
_MONEY = re.compile(
    rf"(?P<sign>[€$£¥])\s?(?P<after_sign>{_NUMBER})|\b(?P<code>{_CURRENCIES})\s?(?P<after_code>{_NUMBER})"
    rf"|(?P<before>{_NUMBER})\s?(?:(?P<later_sign>[€$£¥])|(?P<later>(?i:{_CURRENCIES}|{'|'.join(_SPOKEN)}))\b)"
)
_PERCENT = re.compile(
    rf"(?P<share>{_NUMBER})\s?(?:%|percent\b|per cent\b|prozent\b|pour cent\b|pourcent\b)", re.IGNORECASE
)
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_NUMERIC = re.compile(r"\b(\d{1,2})[./](\d{1,2})[./](\d{2,4})\b")
_CLOCK = re.compile(r"\b\d{1,2}[:h]\d{2}\b|\b\d{1,2}\s?(?:am|pm|a\.m\.|p\.m\.|uhr)\b", re.IGNORECASE)
_LINK = re.compile(r"\b\w+://\S+|\bwww\.\S+|\b[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b(?:/\S*)?|\S+@\S+", re.IGNORECASE)
_MEASURED = re.compile(r"\b(?:[a-z]+-?)?\d[\w.,-]*", re.IGNORECASE)
_YEAR = r"(?:,?\s+(?P<year>\d{4}))?"


@dataclass(frozen=True, slots=True)
class Read:
    """A text taken apart: its atoms, and the words between them."""

    atoms: frozenset[str]
    rest: str


def read(text: str, language: str) -> Read:
    """Take a text apart. Facts are English, whatever the language of the draft; both ways of writing are known."""
    found: set[str] = set()
    words = vocabulary(language)

    def take(pattern: re.Pattern[str], meaning: Callable[[re.Match[str]], str]) -> None:
        nonlocal text

        def swap(met: re.Match[str]) -> str:
            found.add(meaning(met))
            return " \u2022 "

        text = pattern.sub(swap, text)

    take(PLACEHOLDER, lambda met: met[0])
    take(_LINK, lambda met: f"link:{met[0].lower()}")
    for known in dict.fromkeys((language, "en")):
        months = vocabulary(known).months
        for pattern in _dates(known):
            take(pattern, lambda met, m=months: _date(met["day"], m[met["month"].lower()], met["year"]))  # type: ignore[misc]
    take(_ISO, lambda met: _date(met[3], int(met[2]), met[1]))
    take(_NUMERIC, lambda met: f"date:{met[0]}")
    take(_CLOCK, lambda met: f"time:{met[0].lower()}")
    take(_PERCENT, lambda met: f"share:{_canonical(met['share'])}")
    take(_MONEY, _money)
    take(_MEASURED, lambda met: f"number:{_canonical(met[0])}")
    for met in WORD.finditer(text):
        if number := words.numbers.get(met[0].lower()):
            found.add(f"number:{number}")
    return Read(frozenset(found), text)


def grounded(atom: str, known: frozenset[str]) -> bool:
    """Tell whether a fact holds an atom: the same one, or a date of which a year is left out."""
    return atom in known or (atom.startswith("date:") and atom.endswith("-") and any(a.startswith(atom) for a in known))


@cache
def _dates(language: str) -> tuple[re.Pattern[str], ...]:
    """Return how dates are written with a month's name."""
    names = "|".join(re.escape(name) for name in vocabulary(language).months)
    day, month = r"\b(?P<day>\d{1,2})", rf"(?P<month>{names})"
    return (
        re.compile(rf"{day}(?:st|nd|rd|th|er|\.)?\s+(?:of\s+|de\s+)?{month}\b\.?{_YEAR}", re.IGNORECASE),
        re.compile(rf"\b{month}\s+{day}(?:st|nd|rd|th)?\b{_YEAR}", re.IGNORECASE),
    )


def _date(day: str, month: int, year: str | None) -> str:
    return f"date:{int(day)}-{month}-{year or ''}"


def _money(met: re.Match[str]) -> str:
    amount = met["after_sign"] or met["after_code"] or met["before"]
    sign = met["sign"] or met["later_sign"]
    name = met["code"] or met["later"] or ""
    currency = _SIGNS[sign] if sign else _SPOKEN.get(name.lower(), name.upper())
    return f"money:{_canonical(amount)} {currency}"


def _canonical(text: str) -> str:
    """Return a number as it is compared, for example "1240.5" for "1,240.50" and for "1.240,50"."""
    bare = re.sub(r"[\u00a0 ]", "", text).strip(".,-")
    last = max(bare.rfind("."), bare.rfind(","))
    if last >= 0:
        whole, parts = re.sub(r"[.,]", "", bare[:last]), bare[last + 1 :]
        one_kind = len({char for char in bare if char in ".,"}) == 1
        grouped = len(parts) == 3 and one_kind  # noqa: PLR2004 - thousands are grouped by three digits
        bare = whole + parts if grouped else f"{whole}.{parts}"
    try:
        return f"{Decimal(bare).normalize():f}"
    except InvalidOperation:
        return text.lower()
