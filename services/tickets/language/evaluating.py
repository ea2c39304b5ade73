"""`evaluate`: how well the shipped encoder tells anybody's labels apart, with what it has to be compared to.

A head is fitted to the training texts alone and asked about the test texts; without test texts each fifth of the
training texts is asked about in turn. Nothing is chosen by the texts that are reported on.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from servicekit.embedding import Table, shipped
from services.tickets.language import fitting
from services.tickets.language.examples import Examples, ExamplesError
from services.tickets.language.features import Encoder, Vocabulary, words_and_pairs
from services.tickets.language.heads import all_sums, soft
from services.tickets.language.measures import area, calibration_error, confusion, f1_by_label, interval

RARE = 2
"""A term counts from that many training texts on."""
_MOST_CONFUSED = 15
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a head said of texts that it was not fitted to."""

    wanted: list[str]
    given: list[str]
    sure: NDArray[np.float64]
    sure_uncalibrated: NDArray[np.float64]
    outside: NDArray[np.float64]
    temperature: float
    fit_seconds: float
    microseconds: float


def evaluate(train: Examples, test: Examples | None, *, baselines: bool = False) -> dict[str, Any]:
    """Return what `rapport language evaluate` prints.

    Raises:
        ExamplesError: the training texts have one label only.
    """
    if len(set(train.labels)) < len(("one", "other")):
        raise ExamplesError("the training texts have one label only; there is nothing to tell apart")
    runs = _runs(train, test)
    asked = _together([_ask(shipped(), *run) for run in runs])
    told = _report(asked, train, runs)
    if baselines:
        words = _together([_ask(None, *run) for run in runs])
        told["baselines"] = {
            "words_only": _share([one == other for one, other in zip(words.wanted, words.given, strict=True)]),
            "most_frequent_label": _share(
                [label == Counter(one.labels).most_common(1)[0][0] for one, other in runs for label in other.labels]
            ),
        }
    return told


def _runs(train: Examples, test: Examples | None) -> list[tuple[Examples, Examples]]:
    """Return pairs of texts to fit to and texts to ask about."""
    if test is not None:
        return [(train, test)]
    parts = fitting.folds(train.labels)
    return [
        (_picked(train, parts != number), _picked(train, parts == number)) for number in range(int(parts.max()) + 1)
    ]


def _picked(examples: Examples, which: NDArray[np.bool_]) -> Examples:
    places = np.flatnonzero(which).tolist()
    return Examples(tuple(examples.texts[one] for one in places), tuple(examples.labels[one] for one in places))


def _ask(table: Table | None, train: Examples, test: Examples) -> _Asked:
    """Fit to the one, ask about the other."""
    started = time.perf_counter()
    vocabulary = Vocabulary.of(map(words_and_pairs, train.texts), RARE)
    encoder = Encoder(table, vocabulary)
    features = [encoder.features(text) for text in train.texts]
    head = fitting.calibrated(features, train.labels, len(vocabulary.terms))
    fitted = time.perf_counter()
    sums = all_sums(head, [encoder.features(text) for text in test.texts])
    probabilities = soft(sums, head.temperature)
    asked = time.perf_counter()
    best = sums.argmax(axis=1)
    outside = (
        soft(all_sums(head, [encoder.features(text) for text in test.outside]), head.temperature).max(axis=1)
        if (test.outside)
        else np.zeros(0, np.float32)
    )
    return _Asked(
        wanted=list(test.labels),
        given=[head.labels[one] for one in best],
        sure=probabilities.max(axis=1).astype(np.float64),
        sure_uncalibrated=soft(sums).max(axis=1).astype(np.float64),
        outside=outside.astype(np.float64),
        temperature=head.temperature,
        fit_seconds=fitted - started,
        microseconds=(asked - fitted) / len(test.texts) * _MILLION,
    )


def _together(runs: Sequence[_Asked]) -> _Asked:
    return _Asked(
        wanted=[label for run in runs for label in run.wanted],
        given=[label for run in runs for label in run.given],
        sure=np.concatenate([run.sure for run in runs]),
        sure_uncalibrated=np.concatenate([run.sure_uncalibrated for run in runs]),
        outside=np.concatenate([run.outside for run in runs]),
        temperature=float(np.mean([run.temperature for run in runs])),
        fit_seconds=sum(run.fit_seconds for run in runs),
        microseconds=float(np.mean([run.microseconds for run in runs])),
    )


def _share(right: Sequence[bool]) -> dict[str, Any]:
    low, high = interval(sum(right), len(right))
    return {"accuracy": _short(sum(right) / len(right)), "interval": [_short(low), _short(high)]}


def _report(asked: _Asked, train: Examples, runs: Sequence[tuple[Examples, Examples]]) -> dict[str, Any]:
    right = [one == other for one, other in zip(asked.wanted, asked.given, strict=True)]
    by_label = f1_by_label(asked.wanted, asked.given)
    told: dict[str, Any] = {
        **_share(right),
        "confidence": 0.95,
        "macro_f1": _short(float(np.mean(list(by_label.values())))),
        "train_texts": len(train.texts),
        "test_texts": len(asked.wanted),
        "labels": len(set(train.labels)),
        "split": "train and test as given" if len(runs) == 1 else f"{len(runs)} folds of the training texts",
        "calibration_error": _short(calibration_error(asked.sure, np.array(right))),
        "calibration_error_before": _short(calibration_error(asked.sure_uncalibrated, np.array(right))),
        "temperature": _short(asked.temperature),
        "fit_seconds": round(asked.fit_seconds, 1),
        "microseconds_per_text": round(asked.microseconds, 1),
        "f1_by_label": {label: _short(value) for label, value in by_label.items()},
        "most_confused": _most_confused(asked),
    }
    if unknown := set(asked.wanted) - set(train.labels):
        told["labels_never_trained"] = len(unknown)
    if len(runs) > 1:
        shares = np.array_split(np.array(right), np.cumsum([len(test.labels) for _, test in runs])[:-1])
        told["deviation_between_folds"] = _short(float(np.std([share.mean() for share in shares], ddof=1)))
    if len(asked.outside):
        found = area(asked.sure.tolist(), asked.outside.tolist())
        told["out_of_scope"] = {"texts": len(asked.outside), "auroc": _short(found)}
    return told


def _most_confused(asked: _Asked) -> list[dict[str, Any]]:
    wrong = [
        (count, one, other)
        for one, taken in confusion(asked.wanted, asked.given).items()
        for other, count in taken.items()
        if one != other
    ]
    wrong.sort(key=lambda found: (-found[0], found[1], found[2]))
    return [{"label": one, "taken_for": other, "times": count} for count, one, other in wrong[:_MOST_CONFUSED]]


def _short(value: float) -> float:
    return round(float(value), 4)
