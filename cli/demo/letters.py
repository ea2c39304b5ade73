"""What the demo world's customers write about, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from cli.demo.histories import DemoCustomer
from cli.demo.shops import DemoShop

_OLDEST_HOURS = 47.5


@dataclass(frozen=True)
class Letter:
    """A ticket before it is sent: who writes what, how urgent the helpdesk thinks it is, and when it was written."""

    ticket: int
    customer: DemoCustomer
    subject: str
    text: str
    priority: str
    written: datetime


_TEXTS: tuple[tuple[str, str, str], ...] = (
    ("Where is my parcel?", "I ordered {product} and the tracking has not moved for days. Where is it?", "NORMAL"),
    (
        "Charged twice for one order",
        "My card was charged twice for {product}. Please refund one of the two payments today.",
        "HIGH",
    ),
    (
        "I will dispute this charge",
        "Nobody answered my last two mails about {product}. If I do not hear from you I open a chargeback.",
        "URGENT",
    ),
    ("Wrong item in the box", "Instead of {product} I got something else entirely. How do we swap it?", "NORMAL"),
    ("{product} arrived broken", "The box was crushed and {product} is broken. I need it for a birthday.", "HIGH"),
    ("Please cancel my order", "I ordered {product} by mistake an hour ago. Please cancel before it ships.", "HIGH"),
    ("Return label does not print", "I want to send back {product} but the label page stays white.", "NORMAL"),
    ("Refund still missing", "You confirmed my return of {product} two weeks ago and nothing has arrived.", "HIGH"),
    ("Does it fit?", "I have the older model. Will {product} fit, or do I need another size?", "LOW"),
    (
        "Voucher not accepted",
        "The code WELCOME10 is refused when I add {product}. It should work until Sunday.",
        "NORMAL",
    ),
    ("Change of address", "I moved. Can {product} still go to the new address? It has not shipped yet.", "HIGH"),
    ("Lovely, thank you!", "{product} is even nicer than in the pictures. Just wanted to say thanks.", "LOW"),
    ("When will it be back?", "{product} has been sold out for a month. When do you expect it again?", "LOW"),
    ("STILL NO ANSWER!!!", "THIS IS THE THIRD TIME I WRITE ABOUT {product}. ANSWER ME NOW!!!", "NORMAL"),
    ("Invoice with VAT number", "I need an invoice for {product} with our VAT number on it, please.", "LOW"),
    ("Delete my account", "Please close my account and delete my data. I have not shopped in a while.", "NORMAL"),
    (
        "Thinking of going elsewhere",
        "Third late delivery in a row, now {product}. I am about to buy elsewhere.",
        "NORMAL",
    ),
    ("Missing part", "One part of {product} is missing, the instructions list seven and I count six.", "NORMAL"),
    ("Customs fee", "The carrier asks for a customs fee for {product}. You said there is none.", "NORMAL"),
    ("Gift note", "Could you put a note into the parcel with {product}? It is for my sister.", "LOW"),
    ("Login does not work", "The page says my password is wrong, and the reset mail never comes.", "NORMAL"),
    ("Unsafe!", "{product} failed while I was using it and I got hurt. I want to talk to somebody today.", "URGENT"),
    ("Bulk order for a club", "We are forty people and would like a price for {product}. Who can help?", "NORMAL"),
    ("Subscribed by accident", "I keep getting your newsletter although I ticked no. Please stop it.", "LOW"),
    ("Repair instead of new?", "{product} is two years old. Do you repair, or should I buy a new one?", "LOW"),
)

TICKETS = len(_TEXTS)
"""How many tickets a shop has in the demo world."""


def write_letters(shop: DemoShop, customers: list[DemoCustomer], now: datetime) -> list[Letter]:
    """Let customers of every kind write: the best ones, some who were never back, and some in between."""
    draw = np.random.default_rng(shop.seed + 2)
    ranked = sorted(customers, key=lambda customer: (-customer.spent, customer.id))
    third = TICKETS // 3
    best = ranked[:third]
    rest = draw.choice(len(ranked) - third, TICKETS - third, replace=False)
    chosen = [*best, *(ranked[third + int(index)] for index in rest)]
    writers = [chosen[int(index)] for index in draw.permutation(TICKETS)]
    order = draw.permutation(TICKETS)
    hours = sorted((float(draw.uniform(0.1, _OLDEST_HOURS)) for _ in _TEXTS), reverse=True)
    letters = []
    for number, (text, age) in enumerate(zip(order, hours, strict=True), start=1):
        subject, body, priority = _TEXTS[int(text)]
        product = shop.products[int(draw.integers(len(shop.products)))].name
        letters.append(
            Letter(
                ticket=35_000 + number,
                customer=writers[number - 1],
                subject=subject.format(product=product),
                text=f"Hello,\n\n{body.format(product=product)}\n\nKind regards\n{writers[number - 1].name}",
                priority=priority,
                written=now - timedelta(hours=age),
            )
        )
    return letters
