"""What is answered to each intent: which sentences, by what is known and what is not. The same in every language.

A reply says what the facts say. Where it can only say that somebody is looking into the matter, it leaves a gap: for
the remedy that an action of the shop's policy gives, or for what the shop's own articles say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from services.recommendations.case import Case
from services.recommendations.intents import Intent
from services.recommendations.telling import NOTHING, Said, Telling

Gap = Literal["", "remedy", "knowledge"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one intent: what is said first, what more is known, what happens next, and what it leaves open."""

    answer: Said
    details: tuple[Said, ...] = ()
    steps: tuple[Said, ...] = ()
    gap: Gap = ""


def reply(intent: Intent, case: Case, telling: Telling) -> Reply:
    """Return the answer to an intent."""
    return _REPLIES[intent](case, telling)


def unknown_order(case: Case, telling: Telling) -> Said:
    """Return that the order which the customer named is not known, if so."""
    if not case.unknown_reference:
        return NOTHING
    return telling.say("known.unknown_order" if case.repeatable_reference else "known.unclear_order")


def _ask_order(case: Case, telling: Telling) -> tuple[Said, ...]:
    """Return a request for the order number where no order is known."""
    if case.order is not None or case.unknown_reference:
        return ()
    return (telling.say("known.ask_order"),)


def _where(case: Case, telling: Telling) -> tuple[Said, ...]:
    """Return what is known about the parcel, or that nothing is."""
    if case.parcel is not None:
        return (telling.parcel(case.parcel),)
    return (telling.say("parcel.none"),) if case.order is not None else ()


def _money(case: Case, telling: Telling, *, refunds: bool) -> tuple[Said, ...]:
    """Return what is known of an order's money: what was cancelled, and what was refunded if that is asked."""
    order = case.order
    if order is None:
        return ()
    about, found = f"order.{order.order_id}", []
    if order.cancelled:
        found.append(telling.say("known.cancelled", f"{about}.cancelled"))
    elif order.cancelled_minor and order.currency:
        part = telling.amount("known.cancelled_part", order.cancelled_minor, order.currency, f"{about}.cancelled")
        found.append(part)
    if order.refunded_minor and order.currency:
        found.append(telling.amount("known.refunded", order.refunded_minor, order.currency, f"{about}.refunded"))
    elif refunds and order.total_minor is not None:
        found.append(telling.say("known.not_refunded", f"{about}.refunded"))
    return tuple(found)


def _state(case: Case, telling: Telling) -> tuple[Said, ...]:
    """Return how things are with the order: that it was cancelled comes before where it is, all else behind it."""
    where, paid = _where(case, telling), _money(case, telling, refunds=False)
    return (*paid, *where) if case.order is not None and case.order.cancelled else (*where, *paid)


def _goods(case: Case, telling: Telling, intent: Intent) -> Reply:
    """Answer that something is wrong with the goods."""
    key = f"answers.{intent}"
    details = (*_ask_order(case, telling), *_money(case, telling, refunds=False))
    return Reply(
        telling.say(f"{key}.answer"), details, (telling.say(f"{key}.ask"), telling.say(f"{key}.next")), gap="remedy"
    )


def _not_received(case: Case, telling: Telling) -> Reply:
    known = _state(case, telling)
    first = known[0] if known else telling.say("answers.not_received.answer")
    steps = [telling.say("answers.not_received.next")]
    if case.parcel is not None and case.parcel.status == "delivered":
        steps.insert(0, telling.say("answers.not_received.delivered"))
    return Reply(first, (*known[1:], *_ask_order(case, telling)), tuple(steps))


def _order_status(case: Case, telling: Telling) -> Reply:
    known = _state(case, telling)
    first = known[0] if known else telling.say("answers.order_status.answer")
    step = telling.say("answers.order_status.next" if case.parcel is None else "answers.order_status.watch")
    return Reply(first, (*known[1:], *_ask_order(case, telling)), (step,))


def _timed(intent: Intent) -> Callable[[Case, Telling], Reply]:
    """Make the answer to a request that can only be met before the parcel leaves."""
    key = f"answers.{intent}"

    def answer(case: Case, telling: Telling) -> Reply:
        ask, following = (telling.say(f"{key}.ask"),), (telling.say(f"{key}.next"),)
        if case.order is not None and case.order.cancelled:
            return Reply(_money(case, telling, refunds=False)[0], _money(case, telling, refunds=True)[1:], following)
        status = case.parcel.status if case.parcel is not None else "pending"
        if status == "delivered":
            return _arrived(intent, case, telling)
        if case.parcel is not None and status != "pending":
            left = telling.say(f"{key}.sent", f"parcel.{case.parcel.tracking_number}.state")
            return Reply(left, _where(case, telling), (*ask, *following))
        # Before it has left there is nothing yet that could be refused at the door.
        steps = following if intent is Intent.CANCEL_ORDER else (*ask, *following)
        return Reply(telling.say(f"{key}.unsent"), _ask_order(case, telling), steps)

    return answer


def _arrived(intent: Intent, case: Case, telling: Telling) -> Reply:
    """Answer what comes too late: goods that arrived can be sent back, and a wrong address explains a parcel's way."""
    where = _where(case, telling)[0]
    if intent is Intent.ADDRESS_CHANGE:
        key = "answers.not_received"
        return Reply(where, steps=(telling.say(f"{key}.delivered"), telling.say(f"{key}.next")))
    back = _return(case, telling)
    return Reply(where, (back.answer, *back.details), back.steps)


def _billing(case: Case, telling: Telling) -> Reply:
    order = case.order
    total: tuple[Said, ...] = ()
    if order is not None and order.total_minor is not None and order.currency:
        fact = f"order.{order.order_id}.total"
        total = (telling.amount("known.total", order.total_minor, order.currency, fact),)
    details = (*total, *_money(case, telling, refunds=False), *_ask_order(case, telling))
    key = "answers.billing_problem"
    return Reply(telling.say(f"{key}.answer"), details, (telling.say(f"{key}.ask"), telling.say(f"{key}.next")))


def _refund(case: Case, telling: Telling) -> Reply:
    known = _money(case, telling, refunds=True)
    return Reply(
        telling.say("answers.refund.answer"),
        (*known, *_ask_order(case, telling)),
        (telling.say("answers.refund.next"),),
    )


def _return(case: Case, telling: Telling) -> Reply:
    key = "answers.return_or_exchange"
    return Reply(
        telling.say(f"{key}.answer"),
        _ask_order(case, telling),
        (telling.say(f"{key}.ask"), telling.say(f"{key}.next")),
        gap="knowledge",
    )


def _preorder(case: Case, telling: Telling) -> Reply:
    key = "answers.preorder"
    return Reply(
        telling.say(f"{key}.answer"), _ask_order(case, telling), (telling.say(f"{key}.next"), telling.say(f"{key}.ask"))
    )


def _account(_: Case, telling: Telling) -> Reply:
    key = "answers.cancel_account"
    return Reply(
        telling.say(f"{key}.answer"),
        (telling.say(f"{key}.detail"),),
        (telling.say(f"{key}.ask"), telling.say(f"{key}.next")),
    )


def _plain(intent: Intent, gap: Gap = "") -> Callable[[Case, Telling], Reply]:
    """Make the answer to what no fact of an order bears on."""
    key = f"answers.{intent}"

    def answer(_: Case, telling: Telling) -> Reply:
        return Reply(telling.say(f"{key}.answer"), (telling.say(f"{key}.detail"),), (telling.say(f"{key}.next"),), gap)

    return answer


def _product(case: Case, telling: Telling) -> Reply:
    key = "answers.product_question"
    step = telling.say(f"{key}.next" if case.products else f"{key}.ask")
    return Reply(telling.say(f"{key}.answer"), (telling.say(f"{key}.detail"),), (step,), gap="knowledge")


def _complaint(case: Case, telling: Telling) -> Reply:
    key = "answers.complaint"
    details = _ask_order(case, telling) if case.order is None else (telling.say(f"{key}.detail"),)
    return Reply(telling.say(f"{key}.answer"), details, (telling.say(f"{key}.ask"), telling.say(f"{key}.next")))


def _thanks(_: Case, telling: Telling) -> Reply:
    return Reply(telling.say("answers.thanks.answer"))


def _general(case: Case, telling: Telling) -> Reply:
    key = "answers.general"
    detail = () if case.order is None else (telling.say(f"{key}.detail"),)
    return Reply(telling.say(f"{key}.answer"), detail, (telling.say(f"{key}.ask"),))


_REPLIES: dict[Intent, Callable[[Case, Telling], Reply]] = {
    Intent.FRAUD_OR_LEGAL: _plain(Intent.FRAUD_OR_LEGAL),
    Intent.MISSING_ITEM: lambda case, telling: _goods(case, telling, Intent.MISSING_ITEM),
    Intent.DAMAGED_ITEM: lambda case, telling: _goods(case, telling, Intent.DAMAGED_ITEM),
    Intent.WRONG_ITEM: lambda case, telling: _goods(case, telling, Intent.WRONG_ITEM),
    Intent.CANCEL_ORDER: _timed(Intent.CANCEL_ORDER),
    Intent.ADDRESS_CHANGE: _timed(Intent.ADDRESS_CHANGE),
    Intent.ORDER_CHANGE: _timed(Intent.ORDER_CHANGE),
    Intent.NOT_RECEIVED: _not_received,
    Intent.BILLING_PROBLEM: _billing,
    Intent.REFUND: _refund,
    Intent.RETURN_OR_EXCHANGE: _return,
    Intent.ORDER_STATUS: _order_status,
    Intent.PREORDER: _preorder,
    Intent.CANCEL_ACCOUNT: _account,
    Intent.DISCOUNT: _plain(Intent.DISCOUNT),
    Intent.PRODUCT_QUESTION: _product,
    Intent.COMPLAINT: _complaint,
    Intent.THANKS: _thanks,
    Intent.GENERAL: _general,
}
