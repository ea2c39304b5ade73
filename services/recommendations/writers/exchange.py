"""One draft to be written by a model: what is sent of a case, by which stand-ins, and what an answer becomes.

Sent are the customer's unanswered words, the facts that a draft may rest on and the rules' own draft, all with
stand-ins. The shop's words that speak to a machine instead of to people are not sent, and nothing can rest on them.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_lowercase

from services.recommendations import sentences
from services.recommendations.case import Case, Contact, Conversation, customer_text
from services.recommendations.drafts import Draft
from services.recommendations.grounds import Fact
from services.recommendations.writers import atoms, manner, prompting
from services.recommendations.writers.checking import Checker, Ground, Said
from services.recommendations.writers.provider import Prompt
from services.recommendations.writers.pseudonyms import Pseudonyms
from services.recommendations.writers.vocabulary import LANGUAGES

_MOST_FACTS = 60
_LONGEST_FACT = 1_500
_LONGEST_MESSAGE = 4_000
_TO_A_MACHINE = re.compile(
    r"\b(?:ignor\w*|disregard\w*|overrid\w*|prompt|assistant|chatbot|language model|llm|jailbreak|instructions?|"
    r"api.?keys?|passwords?|anweisung\w*|"
    r"you (?:are|must) now|reply with|respond with|tell (?:the|every|all) customers?)\b"
    r"|<\/?\w+>|\[/?\w+\]|^\s*(?:system|assistant|user|human)\s*:",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Task:
    """A draft to be written.

    Attributes:
        case: what it is about.
        facts: what it may rest on.
        conversation: the customer's words.
        fallback: the rules' own draft, in the tone, length and language that are wanted.
        contact: what the shop knows of the customer; it is only looked for in what is sent, so that it is not.
    """

    case: Case
    facts: Sequence[Fact]
    conversation: Conversation
    fallback: Draft
    contact: Contact = field(default_factory=Contact)


class Exchange:
    """A task on its way to a model and back."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stand_ins = _stand_ins(task)
        self._facts = {f"F{place}": fact for place, fact in enumerate(_sendable(task.facts), start=1)}
        own = [one for one in sentences.split(task.fallback.text) if not _TO_A_MACHINE.search(one)]
        self._grounds = [
            *(Ground(name, fact.kind, self._stand_ins.hide(fact.text)) for name, fact in self._facts.items()),
            *(Ground(f"D{place}", "draft", self._stand_ins.hide(one)) for place, one in enumerate(own, start=1)),
        ]
        self._checker = Checker(self.language, self._grounds)
        self._message = self._stand_ins.hide(customer_text(task.conversation)[:_LONGEST_MESSAGE], guess_names=True)

    @staticmethod
    def possible(task: Task) -> bool:
        """Tell whether a draft in this language can be checked."""
        return task.fallback.language in LANGUAGES

    @property
    def language(self) -> str:
        """The language of the draft."""
        return self._task.fallback.language

    @property
    def grounds(self) -> Sequence[Ground]:
        """What a sentence may rest on, as it is sent: facts, and the sentences of the rules' own draft."""
        return self._grounds

    def prompt(self) -> Prompt:
        """Return what a model is asked."""
        draft = self._task.fallback
        wanted = prompting.Wanted(draft.language, draft.tone, draft.length, manner.SENTENCES[draft.length])
        return prompting.first(
            wanted, self._grounds, self._message, "".join(secrets.choice(ascii_lowercase) for _ in range(16))
        )

    def leaks(self, prompt: Prompt) -> bool:
        """Tell whether a prompt still holds something that must not leave."""
        return any(self._stand_ins.leaks(text) for text in (prompt.system, *(turn.text for turn in prompt.turns)))

    def fault(self, said: Said) -> str:
        """Return what is wrong with a sentence; empty when nothing is."""
        return self._checker.fault(said)

    def fault_of_all(self, said: Sequence[Said]) -> str:
        """Return what is wrong with an answer as a whole; empty when nothing is."""
        draft = self._task.fallback
        return manner.fault([one.text for one in said], draft.language, draft.tone, draft.length)

    def restored(self, said: Said) -> str:
        """Return a sentence with what its stand-ins stand for; it has passed the checks, so all are known."""
        return self._stand_ins.restore(said.text)

    def finished(self, text: str, said: Sequence[Said], source: str) -> Draft:
        """Return the draft that an answer has become."""
        fallback = self._task.fallback
        shown = [one for one in fallback.personalization if _speaks_of(one, text)]
        return replace(fallback, text=text, facts=self._used(said), source=source, personalization=tuple(shown))

    def _used(self, said: Sequence[Said]) -> tuple[Fact, ...]:
        """Return the facts that an answer rests on, by itself or by the sentences of ours that it cites."""
        cited = {name for one in said for name in one.cites}
        used = {fact.id: fact for name, fact in self._facts.items() if name in cited}
        ours = [ground.text for ground in self._grounds if ground.kind == "draft" and ground.id in cited]
        held = {atom for text in ours for atom in atoms.read(text, self.language).atoms}
        for fact in self._task.fallback.facts:
            if held & atoms.read(self._stand_ins.hide(fact.text), self.language).atoms:
                used.setdefault(fact.id, fact)
        return tuple(used.values())


def _stand_ins(task: Task) -> Pseudonyms:
    case, stand_ins = task.case, Pseudonyms()
    stand_ins.learn_contact(task.contact.email, task.contact.phone)
    for name in dict.fromkeys((task.contact.name, case.customer_name)):
        stand_ins.learn_name(name)
    if case.order is not None:
        stand_ins.learn("ORDER", [case.order.order_id])
        stand_ins.learn("PARCEL", [parcel.tracking_number for parcel in case.order.parcels])
    stand_ins.learn("ORDER", [case.unknown_reference])
    return stand_ins


def _sendable(facts: Sequence[Fact]) -> Iterator[Fact]:
    """Yield the facts that a model may see."""
    kept = [fact for fact in facts if not _TO_A_MACHINE.search(fact.text) and len(fact.text) <= _LONGEST_FACT]
    yield from kept[:_MOST_FACTS]


def _speaks_of(personalization: str, text: str) -> bool:
    """Tell whether a text holds what the rules' draft was fitted to ("Order 536365"); subjects always count."""
    name, _, value = personalization.partition(": ")
    if name == "Topic" or (not value and " " not in name):
        return True
    return (value or name.partition(" ")[2]) in text
