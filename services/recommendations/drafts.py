"""Draft answers: the customer's question answered from the case's facts, in a tone and a length. Deterministic.

A draft is the body only: no greeting, no signature. Whatever number, date, link, product or carrier stands in it comes
from the case; where a fact is missing the draft says so and asks or offers to find out. Nothing the customer wrote is
repeated but an order number. Short drafts have two or three sentences, medium ones one or two paragraphs, long ones
three or four.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.recommendations import facts, grounds, languages
from services.recommendations.case import Case
from services.recommendations.grounds import Fact
from services.recommendations.intents import Intent
from services.recommendations.phrases import ASSURANCES, CLOSINGS, OPENINGS, Length, Tone, mood

DEFAULT_TONE: Tone = "empathetic"
DEFAULT_LENGTH: Length = "medium"

_MOST_INTENTS = 2


SOURCE = "rules"
"""Where these drafts come from, as every answer says it."""


class Step(Protocol):
    """An action that a draft may name: a name that stays the same, and what the customer may be told (or nothing)."""

    @property
    def code(self) -> str:
        """The action's name."""

    @property
    def said(self) -> str:
        """What the customer may be told of it in English; may be empty."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a draft shall be written.

    Attributes:
        language: ISO 639-1; empty means the customer's own.
        include_offer: whether to name an offer, if a policy of the shop has one.
        template: the intent whose answer is wanted; empty means what the customer wrote about.
    """

    tone: Tone = DEFAULT_TONE
    length: Length = DEFAULT_LENGTH
    language: str = ""
    include_offer: bool = False
    template: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft: its text, how it was written, what it was fitted to in words, and the facts that it rests on.

    Attributes:
        source: "rules", or "model:<provider>/<model>".
        labels: what a reader should know besides, for example that a wish could not be met and why.
    """

    text: str
    tone: Tone
    length: Length
    language: str
    personalization: tuple[str, ...]
    facts: tuple[Fact, ...]
    source: str = SOURCE
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to one intent: what is said first, what more is known, and what happens next."""

    answer: str
    details: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def write(case: Case, wish: Wish, steps: Sequence[Step] = ()) -> Draft:
    """Return a draft for a case; `steps` are actions to name besides, as far as a customer may be told of them."""
    tone, length = wish.tone, wish.length
    answers = [_ANSWERS[intent](case) for intent in case.intents[:_MOST_INTENTS]]
    opening = OPENINGS[mood(case.main, answered=case.answered)][tone].format(topic=_topic(case))
    said = [one.answer for one in answers]
    details = [sentence for one in answers for sentence in one.details]
    next_steps = [sentence for one in answers for sentence in one.steps] + [step.said for step in steps if step.said]
    if case.unknown_reference:
        details.insert(0, _unknown_order(case))
    paragraphs = _arrange(length, opening, tone, _once(said), _once(details), _once(next_steps))
    text = "\n\n".join(" ".join(_once(sentences)) for sentences in paragraphs if sentences)
    return Draft(text, tone, length, languages.DEFAULT, _personalization(case, text), grounds.facts_of(case))


def _arrange(
    length: Length, opening: str, tone: Tone, said: list[str], details: list[str], steps: list[str]
) -> list[list[str]]:
    """Return the paragraphs of a draft, each a list of sentences."""
    if length == "short":
        return [[opening, *(said + details + steps)[:2]]]
    closing = CLOSINGS[tone]
    if length == "medium":
        return [[opening, *said, *details[:2]], [*steps[:2], closing]]
    return [[opening, ASSURANCES[tone]], [*said, *details], steps, [closing]]


def _once(sentences: Sequence[str]) -> list[str]:
    """Return the sentences without repetitions and gaps, in their order."""
    return list(dict.fromkeys(sentence for sentence in sentences if sentence))


def _topic(case: Case) -> str:
    return facts.joined(tuple(facts.TOPICS[intent] for intent in case.intents[:_MOST_INTENTS]))


def _personalization(case: Case, text: str) -> tuple[str, ...]:
    """Return which facts of the case the text really holds."""
    found = [f"Topic: {intent.value.replace('_', ' ')}" for intent in case.intents[:_MOST_INTENTS]]
    if case.order is not None and case.order.order_id in text:
        found.append(f"Order {case.order.order_id}")
    found += [f"Product: {product}" for product in case.products if product in text]
    if case.parcel is not None and case.parcel.tracking_number in text:
        found.append(f"Tracking {case.parcel.tracking_number}")
    if case.answered:
        found.append("Follow-up after our last answer")
    return tuple(found)


def _unknown_order(case: Case) -> str:
    return f"I could not match {case.unknown_reference} to an order of yours yet, so please check the number for me."


def _ask_for_order(case: Case) -> tuple[str, ...]:
    """Return a request for the order number where no order is known."""
    if case.order is not None or case.unknown_reference:
        return ()
    return ("Could you send me the order number, so that I can look at the right order?",)


def _where(case: Case) -> tuple[str, ...]:
    """Return what is known about the parcel, or that nothing is."""
    if case.parcel is not None:
        return (facts.parcel_state(case.parcel),)
    if case.order is not None:
        return (f"I do not have a tracking number for {facts.order_for_customer(case)} at hand.",)
    return ()


def _missing(case: Case) -> _Answer:
    return _Answer(
        f"I can arrange a replacement shipment for {facts.item(case)} from {facts.order_for_customer(case)}.",
        _ask_for_order(case),
        (
            "Please confirm which item is missing and that your delivery address is still right.",
            "As soon as it is on its way, I will send you the tracking details.",
        ),
    )


def _damaged(case: Case) -> _Answer:
    return _Answer(
        f"I can arrange a replacement or a refund for {facts.item(case)} from {facts.order_for_customer(case)}.",
        _ask_for_order(case),
        (
            "Please tell me which you prefer, and attach a photo of the damage if you can.",
            "Please keep the item and its packaging until I have written to you again.",
        ),
    )


def _wrong(case: Case) -> _Answer:
    return _Answer(
        f"I can send you a return label for the wrong item and arrange for the correct one from "
        f"{facts.order_for_customer(case)} to be sent.",
        _ask_for_order(case),
        (
            "Please tell me what you received, and confirm that your delivery address is still right.",
            "You will hear from me when the correct item is on its way.",
        ),
    )


def _not_received(case: Case) -> _Answer:
    known = _where(case)
    first = known[0] if known else f"I am looking into where {facts.order_for_customer(case)} is."
    parcel = case.parcel
    steps = ["I will check with the carrier and come back to you with what I learn."]
    if parcel is not None and parcel.status == "delivered":
        steps.insert(0, "Please check with your neighbours and tell me whether the delivery address is right.")
    return _Answer(first, (*known[1:], *_ask_for_order(case)), tuple(steps))


def _order_status(case: Case) -> _Answer:
    known = _where(case)
    first = known[0] if known else f"I am checking where {facts.order_for_customer(case)} is at the moment."
    details = (*known[1:], *_ask_for_order(case))
    if case.parcel is None:
        return _Answer(first, details, ("I will find out where it stands and write to you with what I learn.",))
    return _Answer(first, details, ("If the tracking does not move on, reply here and I will ask the carrier.",))


def _timed(verb: str, ask: str) -> Callable[[Case], _Answer]:
    """Make the answer to a request that can only be met before the parcel leaves."""

    def answer(case: Case) -> _Answer:
        order = facts.order_for_customer(case)
        if case.parcel is not None and case.parcel.status != "pending":
            first = f"{_capital(order)} has left already, so I need to ask the carrier whether I can still {verb} it."
            return _Answer(first, _where(case), (ask, "I will write to you as soon as I know."))
        return _Answer(
            f"I am checking whether {order} has left yet; if it has not, I can {verb} it.",
            _ask_for_order(case),
            (ask, "I will confirm the outcome to you in writing."),
        )

    return answer


def _billing(case: Case) -> _Answer:
    return _Answer(
        f"I am comparing what was charged with {facts.order_for_customer(case)}.",
        _ask_for_order(case),
        (
            "Please tell me the date and the amount of the charge as on your statement; never send card numbers.",
            "I will tell you what I find, and what can be done about it.",
        ),
    )


def _refund(case: Case) -> _Answer:
    return _Answer(
        f"I am checking what can be refunded for {facts.order_for_customer(case)} and how far it is.",
        _ask_for_order(case),
        ("I will write to you with what I find.",),
    )


def _return(case: Case) -> _Answer:
    return _Answer(
        f"I can start the return of {facts.item(case)} from {facts.order_for_customer(case)} for you.",
        _ask_for_order(case),
        (
            "Please tell me whether you would like a refund or an exchange.",
            "I will then send you the steps, one by one.",
        ),
    )


def _preorder(case: Case) -> _Answer:
    return _Answer(
        f"I do not have a confirmed date for {facts.item(case)} at hand, and I do not want to guess.",
        _ask_for_order(case),
        (
            "I will ask for the expected date and write to you with it.",
            "If you would rather not wait, tell me and we will look at the alternatives.",
        ),
    )


def _account(_: Case) -> _Answer:
    return _Answer(
        "I can help you to close your account.",
        ("Before that I will check whether an order of yours is still under way.",),
        (
            "Please confirm from the e-mail address of the account that you want to close it.",
            "If something led to this that we can put right, I would be glad to know.",
        ),
    )


def _discount(_: Case) -> _Answer:
    return _Answer(
        "I am checking which of our published offers apply to you.",
        ("I can only name offers that are really there, so I do not want to promise any before I know.",),
        ("Tell me which product it is about, and I will write to you with what I find.",),
    )


def _product(case: Case) -> _Answer:
    name = facts.joined(case.products)
    about = f"about {name}" if name else "about this product"
    return _Answer(
        f"I do not have that detail {about} confirmed here, and I would rather check than guess.",
        ("The maker's own guide is the surest source until then.",),
        ("I will look up the details and write to you with the answer.",)
        if name
        else ("Tell me the exact product, and I will look up the answer for you.",),
    )


def _complaint(case: Case) -> _Answer:
    return _Answer(
        "I will take care of this personally, from here to the end.",
        _ask_for_order(case) if case.order is None else (f"I am going through {facts.order_for_customer(case)} now.",),
        (
            "Please tell me what would put this right for you.",
            "I will write to you with what I can do about it.",
        ),
    )


def _legal(_: Case) -> _Answer:
    return _Answer(
        "I am passing this to the person who is responsible for disputes, with everything that you have sent us.",
        ("Your message and the records of the order are kept together, so you need not repeat anything.",),
        ("You will get an answer in writing.",),
    )


def _thanks(_: Case) -> _Answer:
    return _Answer("It is good to know that all is well.")


def _general(case: Case) -> _Answer:
    detail = () if case.order is None else (f"I am looking at {facts.order_for_customer(case)} alongside.",)
    return _Answer(
        "I am looking into your message and want to be sure that I understand it right.",
        detail,
        ("Could you tell me in a sentence what you would like to happen, and which order or product it is about?",),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_ANSWERS: dict[Intent, Callable[[Case], _Answer]] = {
    Intent.FRAUD_OR_LEGAL: _legal,
    Intent.MISSING_ITEM: _missing,
    Intent.DAMAGED_ITEM: _damaged,
    Intent.WRONG_ITEM: _wrong,
    Intent.CANCEL_ORDER: _timed("cancel", "Please do not refuse the parcel until you hear from me."),
    Intent.ADDRESS_CHANGE: _timed("redirect", "Please send me the full new address, with postal code and country."),
    Intent.ORDER_CHANGE: _timed("change", "Please tell me exactly what should be different."),
    Intent.NOT_RECEIVED: _not_received,
    Intent.BILLING_PROBLEM: _billing,
    Intent.REFUND: _refund,
    Intent.RETURN_OR_EXCHANGE: _return,
    Intent.ORDER_STATUS: _order_status,
    Intent.PREORDER: _preorder,
    Intent.CANCEL_ACCOUNT: _account,
    Intent.DISCOUNT: _discount,
    Intent.PRODUCT_QUESTION: _product,
    Intent.COMPLAINT: _complaint,
    Intent.THANKS: _thanks,
    Intent.GENERAL: _general,
}
