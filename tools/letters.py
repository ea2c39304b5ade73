"""Check the labels of the letters in tests/data/letters, say how well the labellers agree, and make the final labels.

Three readings exist of each letter: what its author meant (`intended`), and two blind passes by the guide (`pass1`,
`pass2`). `check FILE` validates one of them, `agree` compares all three, `labels` prints the final labels:

- intent: what at least two of the three say; `null` where all three differ (such a letter trains and tests nothing).
- urgency: the middle one of the three, which is the majority's wherever there is one.

Each final label carries how many of the three readings it has on its side.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "letters"
READINGS = ("intended", "pass1", "pass2")
INTENTS = (
    "order_status",
    "cancel",
    "change_order",
    "change_address",
    "return",
    "refund",
    "damaged",
    "wrong_or_missing_item",
    "product_question",
    "payment",
    "account",
    "other",
    "unknown",
)
URGENCIES = ("low", "normal", "high", "urgent")
RESAMPLES = 4_000
"""How often the letters are drawn anew for an interval."""

Counts = NDArray[np.int64]


class LettersError(ValueError):
    """A file of letters or labels that is not what the guide asks for; says each fault with its line."""


@dataclass(frozen=True)
class Label:
    """What one reader says of one letter."""

    intent: str
    urgency: str


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LettersError(f"{path.name}:{number}: not JSON: {error.msg}") from None
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise LettersError(f'{path.name}:{number}: not an object with an "id"')
        yield number, row


def read_texts(folder: Path) -> dict[str, str]:
    """Read the letters by id.

    Raises:
        LettersError: A line is not a letter, or an id comes twice.
    """
    texts: dict[str, str] = {}
    for number, row in _lines(folder / "texts.jsonl"):
        if row["id"] in texts or not isinstance(row.get("text"), str):
            raise LettersError(f"texts.jsonl:{number}: no text, or the id {row['id']} comes twice")
        texts[row["id"]] = row["text"]
    return texts


def read_labels(path: Path, ids: Mapping[str, object]) -> dict[str, Label]:
    """Read one reader's labels, one for each of `ids`.

    Raises:
        LettersError: A label is missing, foreign, twice there, or not of the guide; all faults at once.
    """
    labels: dict[str, Label] = {}
    faults: list[str] = []
    for number, row in _lines(path):
        where = f"{path.name}:{number}: {row['id']}"
        if row["id"] in labels:
            faults.append(f"{where}: labelled twice")
        if row["id"] not in ids:
            faults.append(f"{where}: there is no such letter")
        if row.get("intent") not in INTENTS:
            faults.append(f"{where}: no intent of the guide: {row.get('intent')!r}")
        if row.get("urgency") not in URGENCIES:
            faults.append(f"{where}: no urgency of the guide: {row.get('urgency')!r}")
        labels[row["id"]] = Label(str(row.get("intent")), str(row.get("urgency")))
    faults += [f"{path.name}: {missing}: not labelled" for missing in ids if missing not in labels]
    if faults:
        raise LettersError("\n".join(faults))
    return {letter: labels[letter] for letter in ids}


def matrix(first: Sequence[str], second: Sequence[str], classes: Sequence[str]) -> Counts:
    """Count how often the first reader said the row's class and the second the column's."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for one, other in zip(first, second, strict=True):
        counts[classes.index(one), classes.index(other)] += 1
    return counts


def kappa(counts: NDArray[np.number[Any]], *, ordered: bool = False) -> NDArray[np.float64]:
    """Compute Cohen's kappa of the last two axes of `counts`: 1 is full agreement, 0 is what chance gives.

    `ordered` weighs a disagreement by how many steps apart the classes are (linear weights). It is NaN where chance
    alone explains everything (both readers used one and the same class only).
    """
    size = counts.shape[-1]
    steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    weights = steps if ordered else np.minimum(steps, 1)
    share = counts / counts.sum(axis=(-2, -1), keepdims=True)
    chance = share.sum(axis=-1)[..., :, None] * share.sum(axis=-2)[..., None, :]
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - (weights * share).sum(axis=(-2, -1)) / (weights * chance).sum(axis=(-2, -1)))


def with_interval(counts: Counts, *, ordered: bool = False) -> dict[str, float] | None:
    """Compute kappa and its 95 % interval, by drawing as many letters again from those that there are; or None."""
    value = float(kappa(counts, ordered=ordered))
    if np.isnan(value):
        return None
    total = int(counts.sum())
    drawn = np.random.default_rng(5).multinomial(total, counts.ravel() / total, size=RESAMPLES)
    low, high = np.nanquantile(kappa(drawn.reshape(-1, *counts.shape), ordered=ordered), (0.025, 0.975))
    return {"value": value, "low": float(low), "high": float(high)}


def compare(first: Sequence[str], second: Sequence[str], classes: Sequence[str], *, ordered: bool) -> dict[str, Any]:
    """Say how well two readers agree: raw share, kappa with interval, each class, and the ten most frequent mix-ups.

    A class's agreement is the share of its uses by either reader that the other shares: 2·both / (first + second).
    """
    counts = matrix(first, second, classes)
    classwise = {}
    for at, name in enumerate(classes):
        used = int(counts[at].sum() + counts[:, at].sum())
        both = int(counts[at, at])
        classwise[name] = {
            "first": int(counts[at].sum()),
            "second": int(counts[:, at].sum()),
            "both": both,
            "agreement": 2 * both / used if used else None,
        }
    mixed = Counter((one, other) for one, other in zip(first, second, strict=True) if one != other)
    answer: dict[str, Any] = {
        "letters": int(counts.sum()),
        "raw": float(np.trace(counts) / counts.sum()),
        "kappa": with_interval(counts),
        "classes": classwise,
        "mixed": [{"first": one, "second": other, "letters": n} for (one, other), n in mixed.most_common(10)],
    }
    if ordered:
        answer["kappa_linear"] = with_interval(counts, ordered=True)
    return answer


def agreement(readings: Mapping[str, Mapping[str, Label]]) -> dict[str, Any]:
    """Compare every two readings, by intent and by urgency, and count how many letters all three read alike."""
    answer: dict[str, Any] = {"pairs": {}}
    for first, second in combinations(readings, 2):
        one, other = list(readings[first].values()), list(readings[second].values())
        answer["pairs"][f"{first} x {second}"] = {
            "intent": compare([a.intent for a in one], [b.intent for b in other], INTENTS, ordered=False),
            "urgency": compare([a.urgency for a in one], [b.urgency for b in other], URGENCIES, ordered=True),
        }
    final = list(final_labels(readings))
    for kind in ("intent", "urgency"):
        answer[f"{kind}_votes"] = dict(sorted(Counter(row[f"{kind}_votes"] for row in final).items(), reverse=True))
    return answer


def final_labels(readings: Mapping[str, Mapping[str, Label]]) -> Iterator[dict[str, Any]]:
    """Decide each letter by its three readings, in the order of the ids; the rule stands at the top of this module."""
    for letter in sorted(next(iter(readings.values()))):
        labels = [reading[letter] for reading in readings.values()]
        intent, votes = Counter(label.intent for label in labels).most_common(1)[0]
        urgencies = sorted((label.urgency for label in labels), key=URGENCIES.index)
        urgency = urgencies[len(urgencies) // 2]
        yield {
            "id": letter,
            "intent": intent if votes > 1 else None,
            "urgency": urgency,
            "intent_votes": votes,
            "urgency_votes": urgencies.count(urgency),
        }


def tell(answer: Mapping[str, Any]) -> Iterator[str]:
    """Write the agreement for people, as Markdown tables."""
    yield "| readings | label | letters | raw | kappa (95 %) | linear kappa (95 %) |"
    yield "|---|---|---|---|---|---|"
    for pair, kinds in answer["pairs"].items():
        for kind, said in kinds.items():
            figures = f"{_figure(said['kappa'])} | {_figure(said.get('kappa_linear'))}"
            yield f"| {pair} | {kind} | {said['letters']} | {said['raw']:.3f} | {figures} |"
    for kind, classes in (("intent", INTENTS), ("urgency", URGENCIES)):
        yield f"\n| {kind} | {' | '.join(answer['pairs'])} |"
        yield "|---|" + "---|" * len(answer["pairs"])
        for name in classes:
            shares = [kinds[kind]["classes"][name]["agreement"] for kinds in answer["pairs"].values()]
            yield f"| {name} | {' | '.join('none' if share is None else f'{share:.2f}' for share in shares)} |"
        votes = ", ".join(f"{letters} letters have {n} of 3" for n, letters in answer[f"{kind}_votes"].items())
        yield f"\nFinal {kind}: {votes}. Most often mixed up by the blind passes: {_mixed(answer, kind)}."


def _figure(kappa_said: Mapping[str, float] | None) -> str:
    return "{value:.3f} ({low:.3f} to {high:.3f})".format(**kappa_said) if kappa_said else "none"


def _mixed(answer: Mapping[str, Any], kind: str) -> str:
    mixed = answer["pairs"][f"{READINGS[1]} x {READINGS[2]}"][kind]["mixed"]
    return ", ".join(f"{row['first']}/{row['second']} {row['letters']}" for row in mixed[:5]) or "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when a file is not as it should be, which is told on the error stream."""
    parser = argparse.ArgumentParser(prog="python -m tools.letters", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the letters and the readings are")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="validate one file of labels").add_argument("file", type=Path)
    commands.add_parser("agree", help="compare the readings").add_argument("--json", action="store_true")
    commands.add_parser("labels", help="print the final labels")
    options = parser.parse_args(arguments)
    try:
        texts = read_texts(options.folder)
        if options.command == "check":
            print(f"{options.file.name}: {len(read_labels(options.file, texts))} labels, all as the guide asks")
            return 0
        readings = {name: read_labels(options.folder / f"{name}.jsonl", texts) for name in READINGS}
    except (LettersError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.command == "labels":
        print("\n".join(json.dumps(row) for row in final_labels(readings)))
    elif options.json:
        print(json.dumps(agreement(readings), indent=2))
    else:
        print("\n".join(tell(agreement(readings))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
