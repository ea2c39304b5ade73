"""`python -m services.tickets.language evaluate …`: work on models of text, without a database or a running suite.

It prints one JSON object; `{"error": …}` and the exit code 2 where a file or an option is wrong.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from services.tickets.language.examples import ExamplesError, read


def _evaluate(given: argparse.Namespace) -> dict[str, Any]:
    from services.tickets.language.evaluating import evaluate

    test = None if given.test is None else read(given.test, "test")
    return evaluate(read(given.train, "train"), test, baselines=given.baselines)


def _train(given: argparse.Namespace) -> dict[str, Any]:
    from services.tickets.language.learning import Settings, train
    from services.tickets.language.letters import borrowed, read_letters

    settings = Settings(given.pull, given.urgency_pull, given.mood_pull, given.borrowed_share)
    others = borrowed(given.banking, given.clinc)
    return train(read_letters(given.letters, given.labels), others, given.path, settings)


def _speed(given: argparse.Namespace) -> dict[str, Any]:
    from services.tickets.language.letters import read_letters
    from services.tickets.language.speed import speed

    return speed([letter.text for letter in read_letters(given.letters, given.labels)])


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.tickets.language")
    commands = parser.add_subparsers(required=True)
    evaluate = commands.add_parser("evaluate", help="fit a head to labelled texts and measure it on others")
    evaluate.add_argument("--train", type=Path, required=True, metavar="FILE")
    evaluate.add_argument("--test", type=Path, metavar="FILE")
    evaluate.add_argument("--baselines", action="store_true", help="also fit to words alone")
    evaluate.set_defaults(run=_evaluate)
    train = commands.add_parser("train", help="fit the heads that ship to the project's letters, and measure them")
    train.add_argument("--letters", type=Path, default=Path("tests/data/letters"), metavar="FOLDER")
    train.add_argument("--labels", default="labels.jsonl", metavar="NAME")
    train.add_argument("--banking", type=Path, metavar="FILE", help="banking77, for the labels that mean the same")
    train.add_argument("--clinc", type=Path, metavar="FILE", help="CLINC150, for the labels that mean the same")
    train.add_argument("--pull", type=float, default=1.0)
    train.add_argument("--urgency-pull", type=float, default=2.0)
    train.add_argument("--mood-pull", type=float, default=2.0)
    train.add_argument("--borrowed-share", type=float, default=0.05)
    train.add_argument("path", type=Path, nargs="?", default=Path(__file__).parent / "data" / "heads.npz")
    train.set_defaults(run=_train)
    speed = commands.add_parser("speed", help="measure how many messages a second are read on one core")
    speed.add_argument("--letters", type=Path, default=Path("tests/data/letters"), metavar="FOLDER")
    speed.add_argument("--labels", default="labels.jsonl", metavar="NAME")
    speed.set_defaults(run=_speed)
    given = parser.parse_args()
    try:
        told = given.run(given)
    except ExamplesError as error:
        told = {"error": str(error)}
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    return 2 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main())
