"""How facts are put into words, for agents and for customers. Only what a case holds is ever named."""

from datetime import date

from servicekit import money as minor_units
from services.recommendations import plain
from services.recommendations.case import Case, Parcel
from services.recommendations.intents import Intent
from services.recommendations.phrases import ENGLISH

TOPICS: dict[Intent, str] = {intent: ENGLISH.sentence(f"topics.{intent}") for intent in Intent}
"""What each intent is called when one speaks to the customer."""


def topics_for_agent(case: Case, *, most: int = 3) -> str:
    """Return what the case is about, as one agent says it to another."""
    return joined(tuple(TOPICS[intent].replace("your", "the") for intent in case.intents), most=most)


_STATES = {
    "pending": "has not been handed to the carrier yet",
    "in_transit": "is on its way",
    "delivered": "is marked as delivered",
    "failed": "could not be delivered at the last attempt",
}


def day(when: date) -> str:
    """Return a date as people write it, for example "3 March 2026"."""
    return f"{when.day} {when:%B %Y}"


def money(amount: float, currency: str) -> str:
    """Return an amount with its currency, for agents, for example "1,240.50 EUR"."""
    return f"{amount:,.2f} {currency}"


def amount(minor: int, currency: str) -> str:
    """Return minor units as an amount with its currency, for example "24.50 EUR"."""
    return f"{minor_units.text(minor, currency)} {currency}"


def joined(names: tuple[str, ...], *, most: int = 3) -> str:
    """Return names as a list in words, at most `most` of them."""
    shown = names[:most]
    if len(shown) <= 1:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def order_for_customer(case: Case) -> str:
    """Return how the order is called towards the customer."""
    order, unknown = case.order, case.repeatable_reference
    form = "named" if case.order_named else "newest"
    if order is None:
        return ENGLISH.sentence("order.unknown" if unknown else "order.unnamed").format(id=unknown)
    return ENGLISH.sentence(f"order.{form}").format(id=order.order_id, date=day(order.placed_on))


def order_for_agent(case: Case) -> str:
    """Return how the order is called towards the agent."""
    if case.order is None:
        if case.unknown_reference:
            return f"order {case.unknown_reference} (not found for this customer)"
        return "the order in question"
    which = "" if case.order_named else " (the newest; none that is known was named)"
    return f"order {case.order.order_id} of {day(case.order.placed_on)}{which}"


def item(case: Case) -> str:
    """Return how the product is called; without a known name it is "the item"."""
    return joined(case.products) or "the item"


def parcel_where(parcel: Parcel) -> str:
    """Return a sentence on where a parcel is, with its number and its carrier where that is known."""
    carrier = f" ({parcel.carrier})" if plain.is_plain(parcel.carrier) else ""
    return f"Parcel {parcel.tracking_number}{carrier} {_STATES[parcel.status]}."


def parcel_state(parcel: Parcel) -> str:
    """Return where a parcel is, with its page where that is known."""
    page = f" You can follow it here: {parcel.tracking_url}" if plain.is_page(parcel.tracking_url) else ""
    return f"{parcel_where(parcel)}{page}"
