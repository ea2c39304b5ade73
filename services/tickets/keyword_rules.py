"""A shop's own keyword rules: phrases that make a ticket press, whatever the model of texts thinks of it.

A rule has a name, phrases and a level. A phrase is a row of whole words, `a/b` stands for either word and `_` for up to
two words of any kind; it counts where no negation governs it, in the subject or the customer's newest message. All
rules that match are kept. A level is a floor for the urgency, so rules raise a ticket by a bounded amount and never
lower it. A member is a customer whose ticket has one of the member tags; that counts as the level `high`.

What a shop has before it changes anything are the categories and the membership rule of the system that Rapport
succeeds, with gaps where people put words in between.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from services.tickets.alerts import words
from services.tickets.errors import KeywordRulesInvalidError
from services.tickets.language import MOST_PLACES, Signals, clauses, compiled_phrase, is_negated, said_now

MAX_RULES = 100
MAX_PHRASES = 500
"""How many phrases all rules may have together."""
MAX_PHRASE_LENGTH = 100
MAX_MEMBER_TAGS = 50
MEMBER = "member"
"""The name under which the membership rule is told."""
FLOORS = {"high": 0.5, "urgent": 0.8}
"""The least urgency of a ticket to which a rule of this level applies."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST_GAPS = 2
_MAX_ANALYSED = 20_000
_MOST_WORDS = 5


@dataclass(frozen=True, slots=True)
class KeywordRule:
    """One rule: its name, its phrases, and `high` or `urgent`."""

    name: str
    phrases: tuple[str, ...]
    level: str


@dataclass(frozen=True, slots=True)
class KeywordRules:
    """The rules of a shop; revision 0 are those that a shop has before it changes them."""

    rules: tuple[KeywordRule, ...]
    member_tags: tuple[str, ...]
    revision: int = 0


DEFAULT = KeywordRules(
    rules=(
        KeywordRule(
            "cancel_request",
            ("cancel _ order/orders", "need/want/like to cancel", "please cancel"),
            "urgent",
        ),
        KeywordRule(
            "address_change",
            (
                "change/edit _ address",
                "incorrect/wrong address",
                "ship/shipped to _ different/wrong address",
                "address is wrong/incorrect",
            ),
            "urgent",
        ),
        KeywordRule("order_edit", ("edit/change/modify _ order", "wrong item ordered"), "urgent"),
        KeywordRule("damaged_product", ("broken", "damaged", "defective"), "high"),
        KeywordRule(
            "missing_items", ("missing item/items", "item/items missing", "didn't receive", "item not in box"), "high"
        ),
        KeywordRule("delayed_order", ("hasn't/haven't arrived", "delayed", "still waiting"), "high"),
    ),
    member_tags=("lcc member", "crafter club"),
)


def checked(rules: Iterable[KeywordRule], member_tags: Iterable[str], revision: int) -> KeywordRules:
    """Return rules in the form in which they are kept.

    Raises:
        KeywordRulesInvalidError: a name, a phrase, a level or a tag is none, comes twice, or there are too many.
    """
    found: dict[str, KeywordRule] = {}
    for place, rule in enumerate(rules):
        field = f"rules[{place}]"
        if not _NAME.fullmatch(rule.name):
            raise KeywordRulesInvalidError(f"{field}.name", "must be lower-case letters, digits and underscores")
        if rule.name in found or rule.name == MEMBER:
            raise KeywordRulesInvalidError(f"{field}.name", "is taken")
        if rule.level not in FLOORS:
            raise KeywordRulesInvalidError(f"{field}.level", "must be high or urgent")
        phrases = tuple(dict.fromkeys(_phrase(f"{field}.phrases", phrase) for phrase in rule.phrases))
        if not phrases:
            raise KeywordRulesInvalidError(f"{field}.phrases", "must hold a phrase")
        found[rule.name] = KeywordRule(rule.name, phrases, rule.level)
    tags = tuple(dict.fromkeys(tag for given in member_tags if (tag := _tag(given))))
    if len(found) > MAX_RULES:
        raise KeywordRulesInvalidError("rules", f"must be {MAX_RULES} at most")
    if sum(len(rule.phrases) for rule in found.values()) > MAX_PHRASES:
        raise KeywordRulesInvalidError("rules", f"must have {MAX_PHRASES} phrases together at most")
    if len(tags) > MAX_MEMBER_TAGS:
        raise KeywordRulesInvalidError("member_tags", f"must be {MAX_MEMBER_TAGS} at most")
    return KeywordRules(tuple(found.values()), tags, revision)


def _phrase(field: str, text: str) -> str:
    """Return a phrase as words and gaps."""
    if len(text) > MAX_PHRASE_LENGTH:
        raise KeywordRulesInvalidError(field, f"must have {MAX_PHRASE_LENGTH} characters at most each")
    parts: list[str] = []
    for part in text.split():
        parts += (
            ["_"] if part == "_" else ["/".join(either)] if (either := words(part)) and "/" in part else words(part)
        )
    if not parts or parts[0] == "_" or parts[-1] == "_":
        raise KeywordRulesInvalidError(field, "must begin and end with a word")
    if parts.count("_") > _MOST_GAPS or "_ _" in " ".join(parts):
        raise KeywordRulesInvalidError(field, f"must have {_MOST_GAPS} gaps at most, and a word between them")
    return " ".join(parts)


def _tag(text: str) -> str:
    """Return a tag in the form in which it is compared: case, underscores and blanks make no difference."""
    return " ".join(text.casefold().replace("_", " ").split())


@lru_cache(maxsize=256)
def _by_first_word(rules: tuple[KeywordRule, ...]) -> Mapping[str, Sequence[tuple[int, re.Pattern[str]]]]:
    found: dict[str, list[tuple[int, re.Pattern[str]]]] = {}
    for place, rule in enumerate(rules):
        for phrase in rule.phrases:
            pattern = compiled_phrase(phrase)
            for first in phrase.split()[0].split("/"):
                found.setdefault(first, []).append((place, pattern))
    return found


def matching(rules: KeywordRules, subject: str, message: str) -> dict[str, str]:
    """Return the names of the rules that match, each with the phrase that it found, in the order of the rules."""
    text = f"{subject[:_MAX_ANALYSED]}\n{said_now(message)}"
    patterns = _by_first_word(rules.rules)
    hits: dict[int, str] = {}
    for clause in clauses(text):
        for word in dict.fromkeys(clause.split()):
            for place, pattern in patterns.get(word, ()):
                for match in islice(pattern.finditer(clause), MOST_PLACES) if place not in hits else ():
                    if not is_negated(clause, match.start()):
                        hits[place] = match[0].strip()
                        break
    return {rules.rules[place].name: hits[place] for place in sorted(hits)}


def applied(
    rules: KeywordRules, signals: Signals, subject: str, messages: Sequence[str], tags: Iterable[str]
) -> Signals:
    """Return the signals of a ticket with what the shop's rules add to them; they never take anything away."""
    found = matching(rules, subject, messages[0] if messages else "")
    levels = {rule.name: rule.level for rule in rules.rules}
    floor = max((FLOORS[levels[name]] for name in found), default=0.0)
    names = tuple(found)
    if set(rules.member_tags) & {_tag(tag) for tag in tags}:
        names, floor = (*names, MEMBER), max(floor, FLOORS["high"])
    if not names:
        return signals
    phrases = tuple(dict.fromkeys((*found.values(), *signals.urgent_words)))[:_MOST_WORDS]
    return replace(signals, urgency=max(signals.urgency, floor), urgent_words=phrases, rules=names)
