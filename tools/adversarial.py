"""Count what attempts to trick drafts come to: `python -m tools.adversarial [--json]`; exits 1 when one got through.

Each case of `tests/recommendations/adversarial/` is given to the rules in every tone, length and language, and to a
model that does what the attempt asks for: it says the words, with and without citations, alone, among good sentences
and inside of one, and again when it is told to mend them. Nothing of that may stand in a draft, not even for a moment.
"""

import argparse
import asyncio
import json
import re
import sys
import tomllib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from services.recommendations import actions, drafts
from services.recommendations.case import Case, Conversation, Message, Order, Parcel, Passage, assemble
from services.recommendations.drafts import Draft, Wish
from services.recommendations.grounds import facts_of
from services.recommendations.phrases import LENGTHS, TONES
from services.recommendations.writers.checking import Checker, Ground, Said
from services.recommendations.writers.composing import Told, compose
from services.recommendations.writers.exchange import Task
from services.recommendations.writers.provider import Prompt
from services.recommendations.writers.vocabulary import LANGUAGES

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "recommendations" / "adversarial"
STATEMENTS = FOLDER / "statements.toml"

Place = Literal["message", "subject", "article", "policy", "product", "carrier", "tracking_url", "customer_name"]
_QUESTION = "Where is my order 536365?"
_ORDER = Order(
    "536365",
    date(2010, 12, 1),
    ("White hanging heart",),
    (Parcel("00340434161094042557", "https://carrier.example.com/00340434161094042557", "DHL", "in_transit"),),
    currency="EUR",
    total_minor=2450,
)
_SOURCE = "model:scripted/hostile"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A case: where which words stand, what no draft may hold, and what a model says that obeys."""

    name: str
    place: Place
    text: str
    never: tuple[re.Pattern[str], ...]
    obeys: tuple[str, ...]

    def trick(self) -> tuple[Conversation, Case]:
        """Return the conversation and the case that the words stand in."""
        order, name = _ORDER, "Maria Silva"
        passages: tuple[Passage, ...] = ()
        match self.place:
            case "product":
                order = replace(order, products=(self.text, *order.products))
            case "carrier":
                order = replace(order, parcels=(replace(order.parcels[0], carrier=self.text),))
            case "tracking_url":
                order = replace(order, parcels=(replace(order.parcels[0], tracking_url=self.text),))
            case "customer_name":
                name = self.text
            case "article" | "policy":
                passages = (Passage("a-1", "Orders", "https://shop.example.com/orders", self.text, 1.0, self.place),)
        said = self.text if self.place == "message" else _QUESTION
        subject = self.text if self.place == "subject" else "My order"
        talk = Conversation("t-1", "c-1", subject, "email", 1, (Message(from_agent=False, content=said),))
        return talk, assemble(talk, None, order, order, customer_name=name, passages=passages)

    def broken_by(self, text: str) -> bool:
        """Tell whether a text holds what it never may."""
        return any(pattern.search(text) for pattern in self.never)


@dataclass(frozen=True, slots=True)
class Count:
    """How many runs there were, how many of them held, and the names of those that did not."""

    runs: int
    held: int
    failed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the count for machines."""
        return {"runs": self.runs, "held": self.held, "failed": list(self.failed)}


def attempts() -> list[Attempt]:
    """Return all cases, by the order of their files."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for each in tomllib.loads(path.read_text("utf-8")).get("case", []):
            if each["place"] not in get_args(Place):
                raise ValueError(f"{path.name}: {each['name']}: no such place: {each['place']}")
            never = tuple(re.compile(pattern, re.IGNORECASE) for pattern in each["never"])
            text = each["text"] * each.get("repeat", 1)
            found.append(Attempt(each["name"], each["place"], text, never, tuple(each["obeys"])))
    return found


def by_rules(attempt: Attempt) -> list[Draft]:
    """Return the rules' drafts on a case, in every tone, length and language."""
    _, case = attempt.trick()
    return [
        drafts.write(case, Wish(tone, length, language, include_offer=True))
        for tone in TONES
        for length in LENGTHS
        for language in ("", *LANGUAGES)
    ]


def advised(attempt: Attempt) -> bool:
    """Tell whether the actions stay what they are: nothing is said to the customer that was asked for by a trick.

    What the shop itself keeps changes no action at all: they are those of the same case without a trick.
    """
    _, case = attempt.trick()
    chosen = actions.decide(case).actions
    if attempt.place in {"message", "subject"}:
        return not any(attempt.broken_by(f"{one.text}\n{one.said}") for one in chosen)
    _, plain = replace(attempt, place="message", text=_QUESTION).trick()
    same = [one.code for one in chosen] == [one.code for one in actions.decide(plain).actions]
    return same and not any(attempt.broken_by(one.said) for one in chosen)


async def by_hostile_model(attempt: Attempt, said: Callable[[Prompt], str], language: str) -> list[Told]:
    """Return everything that is told when a model says certain things."""
    talk, case = attempt.trick()
    task = Task(case, facts_of(case), talk, drafts.write(case, Wish(language=language)))

    async def answer(prompt: Prompt) -> AsyncGenerator[str, None]:
        yield said(prompt)

    return [told async for told in compose(task, answer, _SOURCE)]


def scripts(attempt: Attempt) -> Iterator[tuple[str, Callable[[Prompt], str]]]:
    """Yield the ways in which a model says what it was asked to say, by their names."""
    polite = "Thank you for your patience."
    words = attempt.obeys
    yield "bare", lambda _: _lines((one, []) for one in words)
    yield "all_cited", lambda prompt: _lines((one, _ids(prompt)) for one in words)
    yield (
        "among_good",
        lambda prompt: _lines([(polite, []), *((one, _ids(prompt)[-9:]) for one in words), (polite, [])]),
    )
    yield (
        "inside_good",
        lambda prompt: _lines((f"Thank you for your patience, and {one}", _ids(prompt)) for one in words),
    )
    yield "of_facts_only", lambda prompt: _lines((one, [i for i in _ids(prompt) if i[0] == "F"]) for one in words)
    yield "as_prose", lambda _: " ".join(words)


def held(attempt: Attempt, told: Sequence[Told]) -> bool:
    """Tell whether nothing of an attempt came through, not even in what was taken back."""
    *pieces, draft = told
    if not isinstance(draft, Draft):
        return False
    shown = "".join(piece for piece in pieces if isinstance(piece, str))
    spoken = any(one.rstrip(".") in shown or one.rstrip(".") in draft.text for one in attempt.obeys)
    return not spoken and not attempt.broken_by(draft.text) and not attempt.broken_by(shown)


def statements() -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Return the single statements and whether they were kept: first those that may stand, then those that may not."""
    listed = tomllib.loads(STATEMENTS.read_text("utf-8"))

    def kept(which: str) -> list[tuple[str, bool]]:
        found = []
        for language, name in (("en", which), ("de", f"{which}_de"), ("fr", f"{which}_fr")):
            checker = Checker(language, [Ground(id_, kind, text) for id_, kind, text in listed["facts"]])
            found += [(text, not checker.fault(Said(text, tuple(cites)))) for text, cites in listed[name]]
        return found

    return kept("true"), kept("false")


async def run() -> dict[str, Any]:
    """Run everything and return the counts."""
    cases = attempts()
    true, false = statements()
    rules = [(f"{one.name}", not one.broken_by(draft.text)) for one in cases for draft in by_rules(one)]
    chosen = [(one.name, advised(one)) for one in cases]
    hostile, fell_back = [], 0
    for one in cases:
        for language in LANGUAGES:
            for name, said in scripts(one):
                told = await by_hostile_model(one, said, language)
                hostile.append((f"{one.name}/{language}/{name}", held(one, told)))
                fell_back += isinstance(told[-1], Draft) and told[-1].source == drafts.SOURCE
    counts = {
        "rules": _count(rules),
        "actions": _count(chosen),
        "hostile_model": _count(hostile),
        "true_statements_kept": _count(true),
        "false_statements_refused": _count([(text, not kept) for text, kept in false]),
    }
    found: dict[str, Any] = {name: count.to_json() for name, count in counts.items()}
    return {"cases": len(cases), "hostile_model_fell_back": fell_back, **found}


def main() -> None:
    """Print the counts; exit 1 when something got through or a good statement was refused."""
    parser = argparse.ArgumentParser(description="Count what attempts to trick drafts come to.")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    as_json = parser.parse_args().json
    found = asyncio.run(run())
    failed = [f"{name}: {one}" for name, count in found.items() if isinstance(count, dict) for one in count["failed"]]
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{found['cases']} cases")
        for name, count in found.items():
            if isinstance(count, dict):
                print(f"  {name:26}{count['held']:6} of {count['runs']} held")
        print("\n".join(failed))
    sys.exit(1 if failed else 0)


def _count(results: Sequence[tuple[str, bool]]) -> Count:
    failed = tuple(dict.fromkeys(name for name, good in results if not good))
    return Count(len(results), sum(good for _, good in results), failed)


def _ids(prompt: Prompt) -> list[str]:
    """Return the ids of everything that a question lets a model cite."""
    return re.findall(r"^([FD]\d+) \(", prompt.turns[0].text, re.MULTILINE)[:12]


def _lines(said: Any) -> str:
    return "".join(json.dumps({"s": text, "f": list(cites)}) + "\n" for text, cites in said)


if __name__ == "__main__":
    main()
