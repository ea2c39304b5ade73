"""Topic alerts: words and phrases that lift every ticket whose subject or customer messages hold them.

Both sides are brought into the same form: lower case, straight apostrophes, words apart by single blanks. A phrase is
found when its words stand there in a row, so "art" is not found in "party". Texts without blanks between words
(Chinese, Japanese, Thai) count as one word each.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from services.tickets.errors import TopicAlertsInvalidError

MAX_ALERTS = 20
MAX_ALERT_LENGTH = 100
MAX_SEARCHABLE = 200_000
"""The most characters of a ticket that are searched; the newest ones are kept."""

_MAX_WORD = 64
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'", "`": "'", "\u00b4": "'"})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

# Stands between texts so that no phrase is found across their border; no word can be this.
_BORDER = " | "


@dataclass(frozen=True, slots=True)
class Alert:
    """One topic alert: as the caller wrote it, and as it is searched for (with a blank at both ends)."""

    text: str
    phrase: str


def words(text: str) -> list[str]:
    """Return the words of a text in the form in which they are compared."""
    folded = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    return [word[:_MAX_WORD] for word in _WORD.findall(folded)]


def searchable(texts: Iterable[str]) -> str:
    """Return what is searched for alerts: the words of each text and a border after each; "" for no words."""
    parts = [" ".join(found) for text in texts if (found := words(text))]
    return "".join(f" {part}{_BORDER}" for part in parts)[-MAX_SEARCHABLE:]


def parse_alerts(text: str) -> tuple[Alert, ...]:
    """Return the alerts of a comma-separated list; parts without a word are left out, repetitions as well.

    Raises:
        TopicAlertsInvalidError: more than 20 alerts, or one of more than 100 characters.
    """
    if not text:
        return ()
    alerts: dict[str, Alert] = {}
    for part in text.split(","):
        if found := words(part):
            if len(part) > MAX_ALERT_LENGTH:
                raise TopicAlertsInvalidError(f"an alert has more than {MAX_ALERT_LENGTH} characters", MAX_ALERT_LENGTH)
            phrase = f" {' '.join(found)} "
            alerts.setdefault(phrase, Alert(part.strip(), phrase))
    if len(alerts) > MAX_ALERTS:
        raise TopicAlertsInvalidError(f"there are more than {MAX_ALERTS}", MAX_ALERTS)
    return tuple(alerts.values())


def matches(alerts: Iterable[Alert], text: str) -> bool:
    """Tell whether a searchable text holds one of the alerts; the store asks the database the same question."""
    return any(alert.phrase in text for alert in alerts)
