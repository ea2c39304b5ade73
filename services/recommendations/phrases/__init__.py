"""The sentences of drafts, a catalogue file for each language: `<ISO 639-1>.toml` in this folder.

English is complete. A language whose file lacks a sentence that a draft needs gives no draft at all, so that no draft
mixes languages; the draft is written in English then.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from servicekit import money
from services.recommendations.intents import Intent

Tone = Literal["friendly", "professional", "empathetic", "apologetic"]
Length = Literal["short", "medium", "long"]
Mood = Literal["problem", "request", "question", "thanks", "follow_up"]

TONES: tuple[Tone, ...] = ("friendly", "professional", "empathetic", "apologetic")
LENGTHS: tuple[Length, ...] = ("short", "medium", "long")

_PROBLEMS = frozenset(
    {
        Intent.FRAUD_OR_LEGAL,
        Intent.MISSING_ITEM,
        Intent.DAMAGED_ITEM,
        Intent.WRONG_ITEM,
        Intent.NOT_RECEIVED,
        Intent.BILLING_PROBLEM,
        Intent.COMPLAINT,
    }
)
_REQUESTS = frozenset(
    {
        Intent.CANCEL_ORDER,
        Intent.ADDRESS_CHANGE,
        Intent.ORDER_CHANGE,
        Intent.REFUND,
        Intent.RETURN_OR_EXCHANGE,
        Intent.CANCEL_ACCOUNT,
    }
)


class PhraseMissingError(Exception):
    """A language's catalogue lacks a sentence."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language's catalogue: its sentences by key ("answers.refund.next"), and its lists by key ("detect.refund")."""

    code: str
    sentences: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]

    def sentence(self, key: str) -> str:
        """Return a sentence, with its fields still open.

        Raises:
            PhraseMissingError: the catalogue lacks it.
        """
        try:
            return self.sentences[key]
        except KeyError:
            raise PhraseMissingError(key) from None

    def day(self, when: date) -> str:
        """Return a date as people write it, for example "3 March 2026"."""
        month = self.lists["months"][when.month - 1]
        return self.sentence("date").format(day=when.day, month=month, year=when.year)

    def amount(self, minor: int, currency: str) -> str:
        """Return minor units as an amount with its currency, for example "24.50 EUR"."""
        return f"{money.text(minor, currency).replace('.', self.sentence('decimal'))} {currency}"

    def joined(self, names: Sequence[str]) -> str:
        """Return names as a list in words."""
        if len(names) <= 1:
            return "".join(names)
        return f"{', '.join(names[:-1])} {self.sentence('and')} {names[-1]}"


def mood(intent: Intent, *, answered: bool) -> Mood:
    """Return what kind of answer an intent wants; after the shop's own answer it is a follow-up."""
    if answered:
        return "follow_up"
    if intent in _PROBLEMS:
        return "problem"
    if intent in _REQUESTS:
        return "request"
    return "thanks" if intent is Intent.THANKS else "question"


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _read(code: str, text: str) -> Language:
    values = dict(_flat(tomllib.loads(text)))
    return Language(
        code,
        MappingProxyType({key: value for key, value in values.items() if isinstance(value, str)}),
        MappingProxyType({key: tuple(value) for key, value in values.items() if isinstance(value, list)}),
    )


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        entry.name.removesuffix(".toml"): _read(entry.name.removesuffix(".toml"), entry.read_text("utf-8"))
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".toml")
    }
)
"""The languages that drafts can be written in."""

ENGLISH = LANGUAGES["en"]
