"""`train`: fits the shipped heads to the project's letters, chooses what is to choose, and measures what is shipped.

Everything is chosen by five folds of the letters that are not held back: the temperatures, and below which probability
an intent is told as unknown. The letters held back are asked about once, at the end.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from services.tickets.language import fitting, rules
from services.tickets.language.analyser import OUTCOMES, intent_of, upset_of, urgency_of
from services.tickets.language.features import Features, Vector, Vocabulary
from services.tickets.language.heads import Head
from services.tickets.language.letters import Letter
from services.tickets.language.measures import area, calibration_error, confusion, f1_by_label, interval
from services.tickets.language.model import HEADS, MOODS, Model, Read, encoded, read, terms
from services.tickets.language.signals import UNKNOWN

RARE = 2
BORROWED_SHARE = 0.05
"""How much a text of another data set counts against a letter: there are many of them, and no shop wrote them."""
PULL = 1.0
URGENCY_PULL = 2.0
MOOD_PULL = 2.0
"""How strongly weights are pulled towards zero: letters are few."""
LIMITS = np.arange(0.0, 0.61, 0.02)
_PRESSING = ("high", "urgent")
_UPSET = ("annoyed", "angry")
_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be tried by folds: how strongly weights are pulled to zero, and how much borrowed texts count."""

    pull: float = PULL
    urgency_pull: float = URGENCY_PULL
    mood_pull: float = MOOD_PULL
    borrowed_share: float = BORROWED_SHARE


def train(letters: Sequence[Letter], others: Sequence[Letter], path: Path, settings: Settings) -> dict[str, Any]:
    """Fit to the letters that are not held back, store the model, and return how good it is on both parts."""
    taught = [letter for letter in letters if not letter.is_held_back]
    asked = [letter for letter in letters if letter.is_held_back]
    model, by_folds = _chosen(taught, others, settings)
    model.save(path)
    return {
        "version": model.version,
        "letters": len(letters),
        "taught": len(taught),
        "held_back": len(asked),
        "borrowed": len(others),
        "bytes": path.stat().st_size,
        "terms": len(model.vocabulary.terms),
        "temperature": {name: _short(getattr(model, name).temperature) for name in HEADS},
        "unknown_below": _short(model.unknown_below),
        "by_folds": by_folds,
        "on_held_back": report(asked, [model] * len(asked), taught),
    }


def _chosen(taught: Sequence[Letter], others: Sequence[Letter], settings: Settings) -> tuple[Model, dict[str, Any]]:
    """Return the model fitted to all taught letters, and how good models like it are on folds of them."""
    parts = fitting.folds([letter.intent for letter in taught])
    models: list[Model | None] = [None] * len(taught)
    sums: dict[str, list[tuple[Vector, int]]] = {name: [] for name in HEADS}
    for number in range(fitting.FOLDS):
        model = _fitted([one for one, part in zip(taught, parts, strict=True) if part != number], others, settings)
        for place in np.flatnonzero(parts == number).tolist():
            models[place] = model
            features = model.features(read(taught[place].text))
            for name in HEADS:
                head, wanted = getattr(model, name), getattr(taught[place], name)
                sums[name].append((head.sums(features), head.labels.index(wanted)))
    temperatures = {
        name: fitting.temperature(np.stack([one for one, _ in pairs]), np.array([wanted for _, wanted in pairs]))
        for name, pairs in sums.items()
    }
    temperatures["intent"] = _temperature_as_told(taught, [model for model in models if model is not None])

    def finished(model: Model, limit: float) -> Model:
        return replace(
            model,
            unknown_below=limit,
            **{name: replace(getattr(model, name), temperature=temperatures[name]) for name in HEADS},
        )

    cooled = [finished(model, 0.0) for model in models if model is not None]
    limit = _limit(taught, cooled)
    fitted = finished(_fitted(taught, others, settings), limit)
    return fitted, report(taught, [replace(model, unknown_below=limit) for model in cooled], taught)


def _fitted(taught: Sequence[Letter], others: Sequence[Letter], settings: Settings) -> Model:
    """Return a model fitted to letters; the borrowed texts teach intents only, and bring no word with them."""
    readings = [read(letter.text) for letter in taught]
    vocabulary = Vocabulary.of([list(terms(one)) for one in readings], RARE)
    features = [encoded(vocabulary, one) for one in readings]
    lent = [encoded(vocabulary, read(letter.text)) for letter in others]
    intent = fitting.fit(
        [*features, *lent],
        [letter.intent for letter in (*taught, *others)],
        len(vocabulary.terms),
        shares=[1.0] * len(taught) + [settings.borrowed_share] * len(others),
        pull=settings.pull,
    )
    urgency, mood = (
        fitting.fit(features, [getattr(letter, name) for letter in taught], len(vocabulary.terms), pull=pull)
        for name, pull in (("urgency", settings.urgency_pull), ("mood", settings.mood_pull))
    )
    return Model(version(taught, others, settings), vocabulary, intent, urgency, mood, 0.0)


def version(taught: Sequence[Letter], others: Sequence[Letter], settings: Settings) -> str:
    """Return a name that tells from which letters, labels and settings a model was fitted."""
    labels = sorted((one.id, one.intent, one.urgency, one.mood) for one in taught)
    borrowed = sorted((one.text, one.intent) for one in others)
    made_of = json.dumps([labels, borrowed, astuple(settings)])
    return f"letters-{len(taught)}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"


def _temperature_as_told(letters: Sequence[Letter], models: Sequence[Model]) -> float:
    """Return the temperature at which the probabilities of the intents fit best, with what the rules do to them."""
    readings = [read(letter.text) for letter in letters]
    asked = [(model, given, model.features(given)) for model, given in zip(models, readings, strict=True)]
    wanted = [OUTCOMES.index(letter.intent) for letter in letters]

    def loss(temperature: float) -> float:
        total = 0.0
        for (model, given, features), place in zip(asked, wanted, strict=True):
            cooled = replace(model, intent=replace(model.intent, temperature=temperature))
            total -= math.log(intent_of(cooled, given, features)[0][place] + _LEAST)
        return total

    return fitting.best_temperature(loss)


def _limit(letters: Sequence[Letter], models: Sequence[Model]) -> float:
    """Return the probability below which "unknown" is right most often.

    Telling nothing counts as a quarter right where an intent was wanted: a wrong one costs more than none.
    """
    outcomes = [_outcome(letter, model) for letter, model in zip(letters, models, strict=True)]

    def worth(limit: float) -> float:
        total = 0.0
        for letter, (probabilities, _) in zip(letters, outcomes, strict=True):
            best = int(probabilities.argmax())
            told = OUTCOMES[best] if probabilities[best] >= limit else UNKNOWN
            total += 1.0 if told == letter.intent else (0.25 if told == UNKNOWN else 0.0)
        return total

    return float(max(LIMITS, key=lambda limit: (worth(float(limit)), -limit)))


def _outcome(letter: Letter, model: Model) -> tuple[Vector, str]:
    given = read(letter.text)
    return intent_of(model, given, model.features(given))


def report(letters: Sequence[Letter], models: Sequence[Model], taught: Sequence[Letter]) -> dict[str, Any]:
    """Return how good models are on letters that they were not fitted to, each asked about its own."""
    readings = [read(letter.text) for letter in letters]
    features = [model.features(given) for model, given in zip(models, readings, strict=True)]
    outcomes = [intent_of(*one) for one in zip(models, readings, features, strict=True)]
    wanted, told = [letter.intent for letter in letters], [intent for _, intent in outcomes]
    sure = np.array([probabilities.max() for probabilities, _ in outcomes], np.float64)
    likeliest = [OUTCOMES[int(probabilities.argmax())] for probabilities, _ in outcomes]
    by_label = f1_by_label(wanted, told)
    named = [one == other for one, other in zip(wanted, told, strict=True) if other != UNKNOWN]
    return {
        "intent": {
            **share([one == other for one, other in zip(wanted, told, strict=True)]),
            "macro_f1": _short(float(np.mean(list(by_label.values())))),
            "told_unknown": told.count(UNKNOWN),
            "right_where_named": share(named),
            "calibration_error": _short(
                calibration_error(sure, np.array([one == other for one, other in zip(wanted, likeliest, strict=True)]))
            ),
            "f1_by_label": {label: _short(value) for label, value in by_label.items()},
            "confusion": confusion(wanted, told),
            "rules_alone": share([_by_rules(given) == one for given, one in zip(readings, wanted, strict=True)]),
            "most_frequent": share([one == _most_frequent(taught, "intent") for one in wanted]),
        },
        "urgency": _urgency_report(letters, models, readings, features, taught),
        "mood": _mood_report(letters, models, readings, features),
    }


def _urgency_report(
    letters: Sequence[Letter],
    models: Sequence[Model],
    readings: Sequence[Read],
    features: Sequence[Features],
    taught: Sequence[Letter],
) -> dict[str, Any]:
    wanted = [letter.urgency for letter in letters]
    told = [
        model.urgency.labels[int(model.urgency.sums(one).argmax())] for model, one in zip(models, features, strict=True)
    ]
    combined = [urgency_of(*one)[0] for one in zip(models, readings, features, strict=True)]
    return {
        **share([one == other for one, other in zip(wanted, told, strict=True)]),
        "macro_f1": _short(float(np.mean(list(f1_by_label(wanted, told).values())))),
        "confusion": confusion(wanted, told),
        "most_frequent": share([one == _most_frequent(taught, "urgency") for one in wanted]),
        "pressing_auroc": {
            "told": _apart(wanted, _PRESSING, combined),
            "model_alone": _apart(
                wanted,
                _PRESSING,
                [_sum(one.urgency, two, _PRESSING) for one, two in zip(models, features, strict=True)],
            ),
            "rules_alone": _apart(wanted, _PRESSING, [rules.urgency(one.found)[0] for one in readings]),
        },
    }


def _mood_report(
    letters: Sequence[Letter], models: Sequence[Model], readings: Sequence[Read], features: Sequence[Features]
) -> dict[str, Any]:
    wanted = [letter.mood for letter in letters]
    combined = [upset_of(*one)[0] for one in zip(models, readings, features, strict=True)]
    by_rules = [rules.upset(one.found, exclaims="!!" in one.text)[0] for one in readings]
    by_model = [_sum(one.mood, two, _UPSET) for one, two in zip(models, features, strict=True)]
    told = {mood: [two > 0 for one, two in zip(wanted, combined, strict=True) if one == mood] for mood in MOODS}
    return {
        "upset_letters": len([one for one in wanted if one in _UPSET]),
        "upset_auroc": {
            "told": _apart(wanted, _UPSET, combined),
            "model_alone": _apart(wanted, _UPSET, by_model),
            "rules_alone": _apart(wanted, _UPSET, by_rules),
        },
        "told_upset": {mood: share(those) for mood, those in told.items()},
    }


def _sum(head: Head, features: Features, labels: Sequence[str]) -> float:
    probabilities = dict(zip(head.labels, head.probabilities(features), strict=True))
    return float(sum(probabilities.get(label, 0) for label in labels))


def _apart(wanted: Sequence[str], labels: Sequence[str], values: Sequence[float]) -> float:
    """Return how often a letter with one of the labels has a higher value than one without."""
    pairs = list(zip(wanted, values, strict=True))
    inside = [one for label, one in pairs if label in labels]
    return _short(area(inside, [one for label, one in pairs if label not in labels]))


def _by_rules(given: Read) -> str:
    return next(iter(given.found.intents), UNKNOWN)


def _most_frequent(letters: Sequence[Letter], name: str) -> str:
    labels: list[str] = [getattr(letter, name) for letter in letters]
    return max(sorted(set(labels)), key=labels.count)


def share(right: Sequence[bool]) -> dict[str, Any]:
    """Return a share with its 95 % interval."""
    low, high = interval(sum(right), len(right))
    return {
        "accuracy": _short(sum(right) / max(len(right), 1)),
        "interval": [_short(low), _short(high)],
        "right": sum(right),
        "of": len(right),
    }


def _short(value: float) -> float:
    return round(float(value), 4)
