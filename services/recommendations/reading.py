"""What a message is about in the languages other than English that have a catalogue of phrases.

English is read by `intents.py`. The other languages' phrases stand in their catalogue files and are looked for at word
boundaries; behind a negation in the same clause they do not count, unless the negation is the message.
"""

import re
from functools import cache

from services.recommendations import intents, languages
from services.recommendations.intents import Intent
from services.recommendations.phrases import LANGUAGES

_CLAUSE = re.compile(r"[.!?;:,\n]|\b(?:aber|sondern|jedoch|mais|pourtant|cependant)\b")


def detect(text: str, language: str) -> tuple[Intent, ...]:
    """Return what a text in a language is about, the most pressing first; never empty."""
    if language == languages.DEFAULT or language not in LANGUAGES:
        return intents.detect(text)
    plain = re.sub(r"[ \t]+", " ", text.lower().replace("\u2019", "'"))
    found = {
        intent
        for intent, phrase, negatable in _phrases(language)
        if any(not negatable or not _denied(plain, match, language) for match in phrase.finditer(plain))
    }
    if Intent.CANCEL_ACCOUNT in found:
        found.discard(Intent.CANCEL_ORDER)
    if len(found) > 1:
        found.discard(Intent.THANKS)
    return tuple(intent for intent in Intent if intent in found) or intents.detect(text)


@cache
def _phrases(language: str) -> tuple[tuple[Intent, re.Pattern[str], bool], ...]:
    lists = LANGUAGES[language].lists
    return tuple(
        (intent, re.compile(rf"\b(?:{'|'.join(lists[key])})\b"), table == "detect")
        for intent in Intent
        for table in ("detect", "detect_negated")
        if (key := f"{table}.{intent}") in lists
    )


def _denied(plain: str, match: re.Match[str], language: str) -> bool:
    """Tell whether a negation stands shortly before a phrase in its clause."""
    return _negation(language).search(intents.words_before(plain, match.start(), _CLAUSE)) is not None


@cache
def _negation(language: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{LANGUAGES[language].sentence('negation')})\b")
