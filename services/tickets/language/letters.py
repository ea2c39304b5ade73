"""The letters that were written and labelled for the project, and what of other data maps cleanly onto their labels."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.tickets.language.examples import Examples, ExamplesError, read
from services.tickets.language.model import MOODS, URGENCY_LEVELS
from services.tickets.language.signals import INTENT_TEXT

HELD_BACK_OF = 4
"""One letter in this many is held back; which ones is decided by their ids alone."""

BANKING = {
    "request_refund": "refund",
    "Refund_not_showing_up": "refund",
    "transaction_charged_twice": "payment",
    "card_payment_not_recognised": "payment",
    "declined_card_payment": "payment",
    "extra_charge_on_statement": "payment",
    "card_arrival": "order_status",
    "card_delivery_estimate": "order_status",
    "edit_personal_details": "account",
    "passcode_forgotten": "account",
    "terminate_account": "account",
}
CLINC = {"order_status": "order_status", "report_fraud": "payment", "thank_you": "other", "greeting": "unknown"}


@dataclass(frozen=True, slots=True)
class Letter:
    """One text with its labels; `urgency` and `mood` are empty where nobody has judged them."""

    id: str
    text: str
    intent: str
    urgency: str = ""
    mood: str = ""

    @property
    def is_held_back(self) -> bool:
        """Whether it is for measuring only: it must never be fitted to, nor anything be chosen by it."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4]) % HELD_BACK_OF == 0


def read_letters(folder: Path, labels: str) -> list[Letter]:
    """Return the letters of a folder: `texts.jsonl`, the file of their labels, and `mood.jsonl`.

    A letter on whose intent the readers did not agree is left out.

    Raises:
        ExamplesError: a file cannot be read, a letter has no label, or a label is none.
    """
    judged = {one["id"]: one for one in _lines(folder / labels)}
    moods = {one["id"]: one["mood"] for one in _lines(folder / "mood.jsonl")}
    letters = []
    for one in _lines(folder / "texts.jsonl"):
        label, mood = judged.get(one["id"]), moods.get(one["id"])
        if label is None or mood is None:
            raise ExamplesError(f"{labels} has no label for {one['id']}")
        if label["intent"] is None:
            continue
        if label["intent"] not in INTENT_TEXT or label["urgency"] not in URGENCY_LEVELS or mood not in MOODS:
            raise ExamplesError(f"{labels}: {one['id']} has a label that is none")
        letters.append(Letter(one["id"], one["text"], label["intent"], label["urgency"], mood))
    return letters


def borrowed(banking: Path | None, clinc: Path | None) -> list[Letter]:
    """Return the texts of other data sets whose labels mean the same as ours.

    Raises:
        ExamplesError: a file cannot be read.
    """
    found: list[Letter] = []
    for path, names in ((banking, BANKING), (clinc, CLINC)):
        if path is not None:
            found += [*_mapped(read(path, "train"), names)]
    return found


def _mapped(examples: Examples, names: dict[str, str]) -> Iterator[Letter]:
    for text, label in zip(examples.texts, examples.labels, strict=True):
        if label in names:
            yield Letter("", text, names[label])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ExamplesError(f"{path.name} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ExamplesError(f"{path.name}, line {number} is not JSON") from error
