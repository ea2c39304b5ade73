"""Draft answers: the customer's question answered from the case's facts, in a tone, a length and a language.

A draft is the body only: no greeting, no signature. Whatever number, date, link, product or carrier stands in it comes
from a fact that the draft names; where a fact is missing the draft says so and asks or offers to find out. Nothing the
customer wrote is repeated but a plain order number. A remedy is promised only where an action gives it that the shop's
policy allows, an offer only where a policy of the shop makes it. Short drafts have two or three sentences, medium ones
two paragraphs, long ones three or four. The same case and wish give the same draft.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from services.recommendations import grounds, quoting
from services.recommendations.action_policy import OFFER, REFUND, REPLACEMENT
from services.recommendations.case import Case
from services.recommendations.grounds import Fact
from services.recommendations.intents import Intent
from services.recommendations.phrases import ENGLISH, LANGUAGES, Language, Length, PhraseMissingError, Tone, mood
from services.recommendations.replies import Reply, reply, unknown_order
from services.recommendations.telling import NOTHING, Said, Step, Telling

DEFAULT_TONE: Tone = "empathetic"
DEFAULT_LENGTH: Length = "medium"

SOURCE = "rules"
"""Where these drafts come from, as every answer says it."""

NO_OFFER = "no offer: no policy of the shop that fits makes one"
NO_ACTION = "an action that was asked for is not among those recommended now; it is left out"
NO_TEMPLATE = "no template of this name; the customer's own subject is answered"
OTHER_LANGUAGE = "written in English: there are not all sentences for this in the language"

_MOST_INTENTS = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """How a draft shall be written.

    Attributes:
        language: ISO 639-1; empty means the customer's own.
        include_offer: whether to name an offer, if a policy of the shop has one.
        template: the intent whose answer is wanted; empty means what the customer wrote about.
        actions: codes of recommended actions that the draft names as next steps.
    """

    tone: Tone = DEFAULT_TONE
    length: Length = DEFAULT_LENGTH
    language: str = ""
    include_offer: bool = False
    template: str = ""
    actions: tuple[str, ...] = ()


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


def write(case: Case, wish: Wish, steps: Sequence[Step] = ()) -> Draft:
    """Return a draft for a case; `steps` are actions to name besides, as far as a customer may be told of them."""
    labels = []
    if wish.template in set(Intent):
        case = replace(case, intents=(Intent(wish.template),))
    elif wish.template:
        labels.append(NO_TEMPLATE)
    if not set(wish.actions) <= {step.code for step in steps}:
        labels.append(NO_ACTION)
    language = LANGUAGES.get(wish.language or case.language)
    try:
        draft = _written(case, wish, steps, language) if language else None
    except PhraseMissingError:
        draft = None
    if draft is None:
        labels.append(OTHER_LANGUAGE)
        draft = _written(case, wish, steps, ENGLISH)
    return replace(draft, labels=(*labels, *draft.labels))


def steps_for(case: Case, actions: Sequence[Step], wish: Wish) -> list[Step]:
    """Return which of the recommended actions a draft names: those that were asked for and still are recommended.

    Where none was asked for and something is wrong with the goods, it is the best remedy that the shop's policy allows
    (a refund or a replacement); and with an offer wished for, the best offer.
    """
    by_code = {action.code: action for action in actions}
    chosen = [by_code[code] for code in dict.fromkeys(wish.actions) if code in by_code]
    if not wish.actions and case.critical:
        chosen = [action for action in actions if action.gives in {REFUND, REPLACEMENT}][:1]
    if wish.include_offer and not any(action.gives == OFFER for action in chosen):
        chosen += [action for action in actions if action.gives == OFFER][:1]
    return chosen


def _written(case: Case, wish: Wish, steps: Sequence[Step], language: Language) -> Draft:
    """Return the draft in a language.

    Raises:
        PhraseMissingError: the language lacks a sentence that it needs.
    """
    telling = Telling(case, language)
    quotes = [
        telling.quote(quote, grounds.passage_fact(quote.passage).id)
        for quote in quoting.quotes(case, language.code, most=2)
    ]
    offered, labels = _offer(case, wish, steps, telling, language)
    remedies = [telling.step(step) for step in steps if step.gives in {REFUND, REPLACEMENT} and step.said]
    named = [telling.step(step) for step in steps if step.gives not in {REFUND, REPLACEMENT}]
    replies = [_filled(reply(intent, case, telling), remedies, quotes) for intent in _subjects(case)]
    said = [one.answer for one in replies]
    # A remedy says what is done, but not for which order; and who gave another number is told which one is meant.
    unsaid = case.unknown_reference or any(one in remedies for one in said)
    order = telling.say("known.order") if case.order and unsaid else NOTHING
    details = [
        unknown_order(case, telling),
        order,
        *(one for each in replies for one in each.details),
        offered,
        *quotes,
    ]
    following = [*remedies, *named, *(one for each in replies for one in each.steps)]
    opening = telling.say(
        f"openings.{mood(case.main, answered=case.answered)}.{wish.tone}", topic=_topic(case, language)
    )
    asked = len(_once([*remedies, *named], said))
    body = _Body(opening, _once(said), _once(details, said), _once(following, said), asked)
    paragraphs = _arranged(body, wish, telling)
    text = "\n\n".join(" ".join(one.text for one in paragraph) for paragraph in paragraphs if paragraph)
    used = {fact for paragraph in paragraphs for one in paragraph for fact in one.facts}
    known = tuple(fact for fact in grounds.facts_of(case) if fact.id in used)
    return Draft(text, wish.tone, wish.length, language.code, _personalization(case, text, used), known, labels=labels)


@dataclass(frozen=True, slots=True)
class _Body:
    """What a draft has to say; the first `asked` of what follows were asked for."""

    opening: Said
    said: list[Said]
    details: list[Said]
    following: list[Said]
    asked: int


def _arranged(body: _Body, wish: Wish, telling: Telling) -> list[list[Said]]:
    """Return the paragraphs of a draft, each a list of sentences."""
    if wish.length == "short":
        asked, later = body.following[: body.asked], body.following[body.asked :]
        return [[body.opening, *(body.said + asked + body.details + later)[: max(2, 1 + body.asked)]]]
    closing = telling.say(f"closings.{wish.tone}")
    if wish.length == "medium":
        following = body.following[: max(2, body.asked)]
        return [_once([body.opening, *body.said, *body.details[:2]]), [*following, closing]]
    first = [body.opening, telling.say(f"assurances.{wish.tone}")]
    return [first, _once([*body.said, *body.details]), body.following, [closing]]


def _filled(made: Reply, remedies: Sequence[Said], quotes: Sequence[Said]) -> Reply:
    """Return a reply with its gap filled: what was to be looked into is known."""
    better = {"remedy": remedies, "knowledge": quotes, "": ()}[made.gap]
    return replace(made, answer=better[0]) if better else made


def _offer(
    case: Case, wish: Wish, steps: Sequence[Step], telling: Telling, language: Language
) -> tuple[Said, tuple[str, ...]]:
    """Return the offer of a policy, if one is wished for or asked about; and a label when the wish cannot be met."""
    if not wish.include_offer and Intent.DISCOUNT not in case.intents:
        return NOTHING, ()
    found = quoting.offer(case, language.code)
    if found is not None:
        return telling.quote(found, grounds.passage_fact(found.passage).id), ()
    missed = wish.include_offer and not any(step.gives == OFFER and step.said for step in steps)
    return NOTHING, (NO_OFFER,) if missed else ()


def _once(sentences: Iterable[Said], before: Iterable[Said] = ()) -> list[Said]:
    """Return the sentences without gaps, and without repetitions of each other or of those before."""
    seen = {said.text for said in before}
    kept: dict[str, Said] = {}
    for said in sentences:
        if said and said.text not in seen:
            kept.setdefault(said.text, said)
    return list(kept.values())


def _topic(case: Case, language: Language) -> Said:
    return Said(language.joined([language.sentence(f"topics.{intent}") for intent in _subjects(case)]))


def _subjects(case: Case) -> list[Intent]:
    """Return what is answered: who waits for a parcel need not be told of its state twice."""
    waiting = Intent.NOT_RECEIVED in case.intents
    return [one for one in case.intents if not (waiting and one is Intent.ORDER_STATUS)][:_MOST_INTENTS]


def _personalization(case: Case, text: str, used: Container[str]) -> tuple[str, ...]:
    """Return which facts of the case a text rests on and names; a title of an article may stand in it by chance."""
    found = [f"Topic: {intent.value.replace('_', ' ')}" for intent in _subjects(case)]
    order, parcel = case.order, case.parcel
    if order is not None:
        if f"order.{order.order_id}.placed_on" in used and order.order_id in text:
            found.append(f"Order {order.order_id}")
        places = {title: f"product.{order.order_id}.{place}" for place, title in enumerate(order.products, start=1)}
        found += [f"Product: {one}" for one in case.products if places.get(one, "") in used and one in text]
    if parcel is not None and f"parcel.{parcel.tracking_number}.state" in used and parcel.tracking_number in text:
        found.append(f"Tracking {parcel.tracking_number}")
    quoted = (passage for passage in case.passages if grounds.passage_fact(passage).id in used)
    found += [f"{passage.kind.capitalize()}: {passage.title}" for passage in quoted]
    if case.answered:
        found.append("Follow-up after our last answer")
    return tuple(dict.fromkeys(found))
