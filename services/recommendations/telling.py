"""A case in a language's words, with the facts behind each: what the sentences of drafts are filled in with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Protocol

from services.recommendations import plain
from services.recommendations.case import Case, Parcel
from services.recommendations.phrases import ENGLISH, Language, PhraseMissingError
from services.recommendations.quoting import Quote


class Step(Protocol):
    """An action that a draft may name.

    `code` is a name that stays the same, `said` what the customer may be told of it in English (or nothing), `gives`
    what it gives away (refund, replacement, credit, offer; empty for nothing), `amount_minor` of `currency` or
    `percent` how much, and `facts` are the ids of the facts that it rests on.
    """

    @property
    def code(self) -> str: ...  # noqa: D102 - see the class
    @property
    def said(self) -> str: ...  # noqa: D102
    @property
    def gives(self) -> str: ...  # noqa: D102
    @property
    def amount_minor(self) -> int | None: ...  # noqa: D102
    @property
    def currency(self) -> str: ...  # noqa: D102
    @property
    def percent(self) -> int: ...  # noqa: D102
    @property
    def facts(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Said:
    """Words, and the ids of the facts behind them."""

    text: str
    facts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is said."""
        return bool(self.text)

    def then(self, other: "Said") -> "Said":
        """Return these words and then others."""
        return Said(f"{self.text} {other.text}", (*self.facts, *other.facts)) if other else self


NOTHING = Said("")


class Telling:
    """Fills in the sentences of a language for a case."""

    def __init__(self, case: Case, language: Language) -> None:
        self._language = language
        self._fields: Mapping[str, Said] = {
            **_orders(case, language),
            "item": _item(case, language),
            "reference": Said(case.repeatable_reference, ("order.unknown",)),
            "tracking": _tracking(case.parcel),
        }

    def say(self, key: str, *behind: str, **more: Said) -> Said:
        """Return a sentence with its fields filled in; `behind` are the ids of facts that it rests on as a whole.

        Raises:
            PhraseMissingError: the language lacks it, or a form of a word that it needs.
        """
        template = self._language.sentence(key)
        try:
            fields = {name: more[name] if name in more else self._fields[name] for name in _fields_of(template)}
        except KeyError as error:
            raise PhraseMissingError(str(error)) from error
        text = template.format_map({name: said.text for name, said in fields.items()})
        named = [fact for said in fields.values() for fact in said.facts]
        return Said(text[:1].upper() + text[1:], (*behind, *named))

    def parcel(self, parcel: Parcel) -> Said:
        """Return where a parcel is, and its page where that is known."""
        about = f"parcel.{parcel.tracking_number}"
        carrier = f" ({parcel.carrier})" if plain.is_plain(parcel.carrier) else ""
        number = Said(parcel.tracking_number, (f"{about}.state",))
        where = self.say(f"parcel.{parcel.status}", number=number, carrier=Said(carrier))
        if not plain.is_page(parcel.tracking_url):
            return where
        return where.then(self.say("parcel.page", url=Said(parcel.tracking_url, (f"{about}.page",))))

    def amount(self, key: str, minor: int, currency: str, fact: str) -> Said:
        """Return a sentence on an amount of money."""
        return self.say(key, amount=Said(self._language.amount(minor, currency), (fact,)))

    def quote(self, quote: Quote, fact: str) -> Said:
        """Return a quotation with its source, and its page where that is known."""
        passage = quote.passage
        title, sentence = Said(passage.title), Said(quote.sentence, (fact,))
        said = self.say(f"quotes.{passage.kind}", title=title, sentence=sentence)
        return said.then(self.say("quotes.page", url=Said(passage.url))) if passage.url else said

    def step(self, step: Step) -> Said:
        """Return what the customer is told of an action; nothing of an inner one.

        Raises:
            PhraseMissingError: the language has no words for it.
        """
        if not step.said:
            return NOTHING
        if self._language is ENGLISH:
            return Said(step.said, step.facts)
        amount = "" if step.amount_minor is None else self._language.amount(step.amount_minor, step.currency)
        fields = {"amount": Said(amount), "percent": Said(str(step.percent))}
        told = self.say(f"steps.{step.code}", **fields)
        return Said(told.text, (*told.facts, *step.facts))


def _fields_of(template: str) -> Sequence[str]:
    return [field for _, field, _, _ in Formatter().parse(template) if field]


def _orders(case: Case, language: Language) -> dict[str, Said]:
    """Return what the order is called, in every form that the language has for it."""
    order = case.order
    if order is None:
        form = "unknown" if case.repeatable_reference else "unnamed"
        values = {"id": case.repeatable_reference, "date": ""}
        behind: tuple[str, ...] = ("order.unknown",) if case.repeatable_reference else ()
    else:
        form = "named" if case.order_named else "newest"
        values = {"id": order.order_id, "date": language.day(order.placed_on)}
        about = f"order.{order.order_id}"
        behind = (f"{about}.placed_on",) if case.order_named else (f"{about}.placed_on", f"{about}.newest")
    return {
        name: Said(language.sentence(key).format_map(values), behind)
        for key in language.sentences
        for name, _, last in (key.partition("."),)
        if name.startswith("order") and last == form
    }


def _item(case: Case, language: Language) -> Said:
    """Return what the products are called."""
    order = case.order
    if order is None or not case.products:
        return Said(language.sentence("item"))
    behind = [f"product.{order.order_id}.{order.products.index(title) + 1}" for title in case.products[:3]]
    return Said(language.joined(case.products[:3]), tuple(behind))


def _tracking(parcel: Parcel | None) -> Said:
    if parcel is None:
        return NOTHING
    return Said(parcel.tracking_number, (f"parcel.{parcel.tracking_number}.state",))
