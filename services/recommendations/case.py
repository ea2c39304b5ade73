"""A case: what a ticket is about, who asks, and which facts about the order are known. Everything advice rests on."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from services.recommendations import intents, languages, plain, reading, references
from services.recommendations.intents import Intent

_MOST_REFERENCES = 20
_MOST_MESSAGES = 20
_MOST_TEXT = 10_000
"""Characters of a message that are read: a pasted log must not keep everybody else waiting."""

_ANY_REFERENCE = re.compile(r"#?\b[A-Za-z]{0,4}-?\d[A-Za-z0-9-]{2,40}\b")
_WORD = re.compile(r"[^\W_]{4,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """about after also been before came come could does each from gift have into item items just like lost made
        many more much need order orders pack package parcel part please product received return sent side since size
        some sorry still than thank thanks that them then there they this time very want wanted were what when where
        which will with would wrong your broken damaged missing arrived""",
    )
)
"""Words of messages that say nothing about which product is meant, though a title may hold them."""

_CLEAR_MENTION = 2
_REPEATABLE = re.compile(r"#?[A-Za-z]{0,4}-?\d{3,12}")
"""Order numbers of a customer's that may be repeated to the customer: too plain to carry anything else."""


@dataclass(frozen=True, slots=True)
class Message:
    """A visible message of the conversation."""

    from_agent: bool
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A ticket's conversation as the tickets service tells it; `version` rises when it moves on."""

    ticket_id: str
    customer_id: str
    subject: str
    channel: str
    version: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """What advice needs of a customer; `churn` is None without enough evidence.

    `expected_spend` is what the customer is expected to spend within the models' horizon, None where that is not known.
    """

    lifetime_value: float
    total_orders: int
    churn: float | None
    days_since_last_purchase: int | None
    currency: str
    expected_spend: float | None = None

    @classmethod
    def from_profile(cls, profile: Mapping[str, Any], churn: float | None, currency: str) -> "Customer":
        """Return the customer that a profile describes."""
        metrics = profile["business_metrics"]
        expected = profile.get("value", {}).get("expected")
        return cls(
            metrics["lifetime_value"],
            metrics["total_orders"],
            churn,
            metrics["days_since_last_purchase"],
            currency,
            expected["amount"] if expected else None,
        )


@dataclass(frozen=True, slots=True)
class Contact:
    """A customer's name, e-mail address and telephone number as the shop keeps them; none of it is for a draft."""

    name: str = ""
    email: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A parcel; `status` is pending, in_transit, delivered or failed; the other texts may be empty."""

    tracking_number: str
    tracking_url: str
    carrier: str
    status: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order with the facts that a person may be told; the newest parcel comes last.

    Attributes:
        total_minor: what was ordered, in minor units of `currency`; None when it is not known.
        cancelled_minor: what of it was cancelled before it was sent.
        refunded_minor: what of it was paid back.
    """

    order_id: str
    placed_on: date
    products: tuple[str, ...]
    parcels: tuple[Parcel, ...] = ()
    currency: str = ""
    total_minor: int | None = None
    cancelled_minor: int = 0
    refunded_minor: int = 0

    @property
    def cancelled(self) -> bool:
        """Whether all of it was cancelled."""
        return bool(self.total_minor) and self.cancelled_minor >= (self.total_minor or 0)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one of the shop's own articles or policies that fits what the customer wrote.

    `url` may be empty; `language` is that of the whole article, ISO 639-1.
    """

    article_id: str
    title: str
    url: str
    text: str
    score: float
    kind: Literal["article", "policy"]
    language: str = languages.DEFAULT


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that advice on a ticket rests on.

    Attributes:
        intents: what the customer's unanswered messages are about, the most pressing first.
        answered: True when the newest visible message is the shop's own.
        waiting: how many customer messages in a row await an answer.
        customer: None when the shop has no profile.
        order: the order that it is about, as far as that is known.
        order_named: True when the customer named that order, False when it is the newest one.
        unknown_reference: an order number that the customer named and the shop does not know; else empty. Beside it
            the newest order is assumed only where it is unsure that the number names an order at all.
        products: the products of the order that the customer mentions, or its only one.
        language: what the customer writes in (ISO 639-1), "en" when unsure.
        customer_name: the name as the shop knows it; may be empty.
        passages: what the shop's articles and policies say on it, the best fitting first.
        words: the words of the customer's text that say what it is about; to compare with, never to be repeated.
    """

    intents: tuple[Intent, ...]
    answered: bool = False
    waiting: int = 1
    customer: Customer | None = None
    order: Order | None = None
    order_named: bool = False
    unknown_reference: str = ""
    products: tuple[str, ...] = ()
    language: str = languages.DEFAULT
    customer_name: str = ""
    passages: tuple[Passage, ...] = ()
    words: frozenset[str] = frozenset()

    @property
    def main(self) -> Intent:
        """The most pressing intent."""
        return self.intents[0]

    @property
    def parcel(self) -> Parcel | None:
        """The newest parcel of the order."""
        return self.order.parcels[-1] if self.order and self.order.parcels else None

    @property
    def repeatable_reference(self) -> str:
        """The unknown order number if it may be repeated to the customer, else empty."""
        return self.unknown_reference if _REPEATABLE.fullmatch(self.unknown_reference) else ""

    @property
    def critical(self) -> bool:
        """Whether something is wrong with the goods themselves."""
        return any(intent in intents.CRITICAL for intent in self.intents)

    @property
    def complaint(self) -> bool:
        """Whether the customer is unhappy with something."""
        return any(intent in intents.COMPLAINTS for intent in self.intents)


def customer_text(conversation: Conversation) -> str:
    """Return what the customer said last: the messages since the shop's last answer, or before it if there are none.

    Without any message of the customer it is the subject.
    """
    said: list[str] = []
    for message in reversed(conversation.messages):
        if not message.from_agent:
            said.append(message.content)
        elif said:
            break
    return "\n".join(reversed(said))[:_MOST_TEXT] if said else conversation.subject


def waiting(conversation: Conversation) -> int:
    """Return how many messages of the customer stand at the end without an answer."""
    count = 0
    for message in reversed(conversation.messages):
        if message.from_agent:
            break
        count += 1
    return count


def order_references(conversation: Conversation) -> list[str]:
    """Return words of the customer's that may be order ids, the newest message's first, with and without a "#"."""
    texts = [message.content[:_MOST_TEXT] for message in reversed(conversation.messages) if not message.from_agent]
    found: dict[str, None] = {}
    for text in (*texts[:_MOST_MESSAGES], conversation.subject):
        for match in _ANY_REFERENCE.findall(text):
            found[match.lstrip("#")] = None
            found["#" + match.lstrip("#")] = None
    return list(found)[: 2 * _MOST_REFERENCES]


def question(conversation: Conversation) -> tuple[str, str]:
    """Return what articles are searched for on a conversation: the subject with the customer's text, its language."""
    text = f"{conversation.subject}\n{customer_text(conversation)}"
    return text, languages.guess(text)


def assemble(
    conversation: Conversation,
    customer: Customer | None,
    named: Order | None,
    newest: Order | None,
    *,
    customer_name: str = "",
    passages: Sequence[Passage] = (),
) -> Case:
    """Return the case of a conversation.

    `named` is an order of this customer whose id stands in the conversation, `newest` the customer's last order,
    `passages` what the shop's articles say on the customer's text.
    """
    text = customer_text(conversation)
    language = languages.guess(f"{conversation.subject}\n{text}")
    detected = reading.detect(text, language)
    if detected == (Intent.GENERAL,):
        detected = reading.detect(f"{conversation.subject}\n{text}", language)
    unanswered = waiting(conversation)
    said = references.named(text) if named is None else None
    order = named or (None if said and said.certain else newest)
    return Case(
        intents=detected,
        answered=bool(conversation.messages) and unanswered == 0,
        waiting=unanswered,
        customer=customer,
        order=order,
        order_named=named is not None,
        unknown_reference=said.number if said else "",
        products=_mentioned(text, order.products) if order else (),
        language=language,
        customer_name=customer_name if plain.is_name(customer_name) else "",
        passages=tuple(passages),
        words=frozenset(_WORD.findall(text.lower())) - _COMMON,
    )


def _mentioned(text: str, products: Sequence[str]) -> tuple[str, ...]:
    """Return the products that a text mentions by their words; the only product counts as mentioned.

    One word is enough where no other product of the order has it, else it takes two. A product whose title may not be
    repeated is not named.
    """
    if len(products) == 1:
        return tuple(filter(plain.is_plain, products))
    said = set(_WORD.findall(text.lower())) - _COMMON
    titles = {title: set(_WORD.findall(title.lower())) for title in products}
    shared = Counter(word for words in titles.values() for word in words)
    return tuple(
        title
        for title, words in titles.items()
        if plain.is_plain(title)
        and (len(words & said) >= _CLEAR_MENTION or any(shared[word] == 1 for word in words & said))
    )
