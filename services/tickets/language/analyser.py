"""Puts together what the rules and the model say of a ticket's text; every effect is bounded."""

from collections.abc import Sequence

import numpy as np

from services.tickets.language import rules
from services.tickets.language.features import Features, Vector
from services.tickets.language.heads import Head
from services.tickets.language.languages import UNTOLD
from services.tickets.language.model import Model, Read, read, shipped
from services.tickets.language.reading import MAX_ANALYSED
from services.tickets.language.signals import HANDLING_MINUTES, INTENTS, UNKNOWN, Signals

OUTCOMES = (*INTENTS, UNKNOWN)
RULE_LIFT = 4.0
"""How much likelier a phrase of the rules makes its intent, beyond what the letters taught."""
SHORT_WORDS = 8
SHORT_RULE_LIFT = 32.0
"""The same in a text of at most so many words: it says little beside the phrase."""
DENIED_SHARE = 0.25
"""How much of the probability of an intent that is named only to deny it goes to "unknown"."""
MAX_EARLIER = 20
"""How many earlier messages are asked for the intent at most."""
ALSO = 0.25
"""An intent that is at least this probable is told beside the likeliest one."""
LEVEL_URGENCY = {"low": 0.0, "normal": 0.1, "high": 0.6, "urgent": 1.0}
"""How pressing each level of the labels is, from 0 to 1."""
MOOD_UPSET = {"calm": 0.0, "annoyed": 0.5, "angry": 1.0}
"""How upset each mood of the labels is, from 0 to 1."""
SHARE_OF_RULES = 0.5
"""How much of what the rules found is added to what the model hears; alone it counts in full."""
UPSET_OF_SHOUTING = 0.25
"""What capitals add. The model does not see them, so that shouting has this effect and no other."""
LEAST_UPSET = 0.2
"""Less than this is calm: about one calm letter in twenty is above."""
URGENCY_OF_RULES = 0.25
"""How much of what the rules found is added to what the model hears: to say "urgent" is not yet to be it."""
LEAST_URGENCY = 0.25
"""Less than this is no hurry: an ordinary text is not told to press a little."""
_MOST_WORDS = 5
_MOST_TERMS = 3
_LONG_WORDS = 150
_FURTHER = 0.1


def analyse(subject: str, messages: Sequence[str]) -> Signals:
    """Return what a ticket's subject and the customer's messages, newest first, say.

    The newest message decides; the earlier ones are asked for the intent only where it names none. Time and effect are
    bounded whatever the text: of each message only the first 20,000 characters are read, and no further message once
    the earlier ones have come to as much together. A text in another language
    than English is unknown, without hurry and calm, which all count as middling.
    """
    if not messages and not subject:
        return Signals()
    model = shipped()
    newest = read(messages[0] if messages else "", subject[:MAX_ANALYSED])
    features = model.features(newest)
    probabilities, intent = intent_of(model, newest, features)
    intents = _matters(newest, intent, probabilities)
    left = MAX_ANALYSED
    for earlier in messages[1 : 1 + MAX_EARLIER]:
        if intent not in {UNKNOWN, "other"} or left <= 0:
            break
        left -= len(earlier)
        other = read(earlier)
        found, named = intent_of(model, other, model.features(other))
        if named not in {UNKNOWN, "other"}:
            probabilities, intent, intents = found, named, _matters(other, named, found)
    urgency, urgent_words = urgency_of(model, newest, features)
    upset, upset_words = upset_of(model, newest, features)
    return Signals(
        intent=intent,
        intents=intents,
        urgency=urgency,
        urgent_words=urgent_words,
        upset=upset,
        upset_words=upset_words,
        has_text=bool(messages),
        confidence=round(float(probabilities[OUTCOMES.index(intent)]), 3),
        probabilities=tuple(round(float(one), 3) for one in probabilities),
        difficulty=_difficulty(newest, intents, probabilities),
        language=newest.language,
    )


def intent_of(model: Model, given: Read, features: Features) -> tuple[Vector, str]:
    """Return the probabilities of the outcomes, and the one that is told.

    An intent that is named only to deny it is taken out. What is less probable than the model's limit is unknown.
    """
    probabilities = np.zeros(len(OUTCOMES), np.float32)
    if given.language not in {"en", UNTOLD} or not given.clauses:
        probabilities[-1] = 1
        return probabilities, UNKNOWN
    for label, probability in zip(model.intent.labels, model.intent.probabilities(features), strict=True):
        probabilities[OUTCOMES.index(label)] = probability
    lift = SHORT_RULE_LIFT if sum(len(clause.split()) for clause in given.clauses) <= SHORT_WORDS else RULE_LIFT
    for named in given.found.intents:
        probabilities[OUTCOMES.index(named)] *= lift
    for denied in given.found.denied_intents:
        place = OUTCOMES.index(denied)
        # What is left of a text in which only a denial was heard is in part nothing.
        probabilities[-1] += DENIED_SHARE * probabilities[place]
        probabilities[place] = 0
    total = float(probabilities.sum())
    if total <= 0:
        probabilities[-1] = total = 1
    probabilities /= total
    best = int(probabilities.argmax())
    return probabilities, OUTCOMES[best] if probabilities[best] >= model.unknown_below else UNKNOWN


def _matters(given: Read, intent: str, probabilities: Vector) -> tuple[str, ...]:
    """Return the intent, and what else is asked for by a phrase or in all likelihood."""
    if intent == UNKNOWN:
        return ()
    likely = [OUTCOMES[place] for place in np.argsort(-probabilities) if probabilities[place] >= ALSO]
    found = dict.fromkeys((intent, *given.found.intents, *(one for one in likely if one != UNKNOWN)))
    return tuple(one for one in found if one != "other" or intent == "other")


def urgency_of(model: Model, given: Read, features: Features) -> tuple[float, tuple[str, ...]]:
    """Return how much a text presses for time, and the words that say so."""
    if given.language not in {"en", UNTOLD} or not given.clauses:
        return 0.0, ()
    probabilities = model.urgency.probabilities(features)
    pressing = sum(
        LEVEL_URGENCY[level] * float(one) for level, one in zip(model.urgency.labels, probabilities, strict=True)
    )
    by_rules, phrases = rules.urgency(given.found)
    urgency = round(min(max(pressing + URGENCY_OF_RULES * by_rules, 0.0), 1.0), 2)
    if urgency < LEAST_URGENCY:
        return 0.0, ()
    return urgency, (phrases or _telling_words(model, model.urgency, "urgent", features))[:_MOST_WORDS]


def upset_of(model: Model, given: Read, features: Features) -> tuple[float, tuple[str, ...]]:
    """Return how upset a text sounds, and the words that say so."""
    by_rules, phrases = rules.upset(given.found, exclaims="!!" in given.text)
    if given.language not in {"en", UNTOLD} or not given.clauses:
        return by_rules, phrases
    probabilities = model.mood.probabilities(features)
    sounds = sum(MOOD_UPSET[mood] * float(one) for mood, one in zip(model.mood.labels, probabilities, strict=True))
    upset = max(sounds + by_rules * SHARE_OF_RULES, by_rules) + UPSET_OF_SHOUTING * given.loud
    upset = round(min(upset, 1.0), 2)
    if upset < LEAST_UPSET:
        return 0.0, ()
    return upset, (phrases or _telling_words(model, model.mood, "angry", features))[:_MOST_WORDS]


def _telling_words(model: Model, head: Head, label: str, features: Features) -> tuple[str, ...]:
    """Return the words and pairs of words that speak most for a label by their weights."""
    terms = [model.vocabulary.terms[number] for number in head.reasons(features, label, 3 * _MOST_TERMS)]
    return tuple(term for term in terms if not set("+-^$:") & set(term))[:_MOST_TERMS]


def _difficulty(given: Read, intents: Sequence[str], probabilities: Vector) -> float:
    """Return how hard a text is to answer: the usual work on its likely matters, and a little for each further sign."""
    longest = max(HANDLING_MINUTES.values())
    minutes = sum(float(one) * HANDLING_MINUTES[name] for name, one in zip(OUTCOMES, probabilities, strict=True))
    signs = (len(intents) > 1) + (sum(len(clause.split()) for clause in given.clauses) >= _LONG_WORDS)
    return round(min(minutes / longest * 0.7 + _FURTHER * signs, 1.0), 2)
