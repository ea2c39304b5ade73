"""Which numbers in a message name an order, and what is said where the order is not known."""

from datetime import date

import pytest

from services.recommendations import drafts, references
from services.recommendations.case import Conversation, Message, Order, Parcel, assemble
from services.recommendations.drafts import Wish

PARCEL = Parcel("1Z999AA10123456784", "https://post.example/1Z9", "Parcel Post", "in_transit")
ORDER = Order("536365", date(2026, 2, 20), ("White Lantern",), (PARCEL,))


@pytest.mark.parametrize(
    "text",
    [
        "My order is 100% late",
        "Where is my parcel? I live in apartment #1204",
        "Where is my stuff? Unit no. #1204, Main Street",
        "I placed the order 10days ago",
        "My order is 3weeks late",
        "The order 150 EUR has not come",
        "My order 1500 euros, where is it?",
        "Where is the order 2026-02-01 placed by me?",
        "The order 1500.00 in total has not come",
        "My order is 120 pieces, where is it?",
        "Where is it? The tracking number #1Z99AA77 says nothing",
        "Wo ist meine Bestellung? Die Bestellung 100 Tage her",
        "This is the order 3rd time that is late",
    ],
)
def test_amounts_dates_and_other_numbers_name_no_order(text: str) -> None:
    """The newest order is assumed, and its parcel is told."""
    assert references.named(text) is None
    talk = Conversation("t", "c-1", "Help", "email", 1, (Message(from_agent=False, content=text),))
    made = assemble(talk, None, None, ORDER)
    assert (made.order, made.unknown_reference) == (ORDER, "")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Where is order 999111?", "999111"),
        ("Where is my order #1204?", "1204"),
        ("Where is #1204 please", "1204"),
        ("My order number is 777.", "777"),
        ("order no. #777", "777"),
        ("order: 999111", "999111"),
        ("Order ID: DE-20417, placed 10 days ago", "DE-20417"),
        ("order 999111, 3 items are missing", "999111"),
        ("The order 150 EUR is order 999111", "999111"),
        ("Meine Bestellnummer ist 4711", "4711"),
        ("Wo ist die Bestellung Nr. 4711?", "4711"),
        ("Ma commande numéro 4711", "4711"),
        ("I am in flat #12, the order 150 is #4711", "4711"),
    ],
)
def test_what_names_an_order_is_found(text: str, number: str) -> None:
    """By its word or sign, or by its length."""
    found = references.named(text)
    assert found is not None
    assert (found.number, found.certain) == (number, True)


def test_a_number_that_may_be_an_order_hides_no_known_one() -> None:
    """The draft says that it fits none, and tells what is known of the newest order as such."""
    talk = Conversation("t", "c-1", "Help", "email", 1, (Message(from_agent=False, content="Where is my order 777?"),))
    made = assemble(talk, None, None, ORDER)
    assert (made.order, made.order_named, made.unknown_reference) == (ORDER, False, "777")
    text = drafts.write(made, Wish()).text
    assert "could not match 777" in text
    assert PARCEL.tracking_number in text
    assert "your most recent order 536365" in text
