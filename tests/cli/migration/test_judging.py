"""Which tickets and orders move, in which words, and with which amounts."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.migration.judging import judge
from cli.migration.mapping import Rules
from cli.migration.rows import SourceLine, SourceMessage, SourceNote, SourceOrder, SourceTicket
from cli.migration.sales import SaleError, order_rows

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
MESSAGE = SourceMessage(UUID(int=1), False, "Where is it?", "Ada", "ada@example.com", "", AT)
TICKET = SourceTicket(
    UUID(int=7), "T-007", "c1", "email", "open", "normal", "", "Parcel", ("vip",), {}, AT, AT, None, (MESSAGE,)
)
LINE = SourceLine("c1", AT, "p1", "Wool", 3, Decimal("10.00"), Decimal(0), Decimal(0), "EUR", "paid")


def order(*lines: SourceLine) -> SourceOrder:
    """Return an order of these lines."""
    return SourceOrder("o1", "#1", None, lines)


def test_a_ticket_in_our_words_moves_as_it_is() -> None:
    """Nothing of it is changed."""
    assert judge(TICKET, Rules()).ticket == TICKET


def test_words_that_mean_the_same_are_put_for_each_other_and_told() -> None:
    """A solved ticket is closed, web is a form, medium is normal; letters' case does not matter."""
    found = judge(replace(TICKET, status="Solved", channel="web", priority="Medium"), Rules())
    assert found.ticket is not None
    assert (found.ticket.status, found.ticket.channel, found.ticket.priority) == ("closed", "form", "normal")
    assert "channel web is form" in found.changes
    assert found.ticket.closed == TICKET.updated, "a closed ticket has a time of it"


def test_a_word_without_counterpart_stays_behind_until_a_rule_names_one() -> None:
    """Nobody guesses what 'archived' means; a rule may say it, but only in our words."""
    strange = replace(TICKET, status="archived")
    assert judge(strange, Rules()).ticket is None
    assert "statuses" in judge(strange, Rules()).problem
    ruled = judge(strange, Rules(statuses={"archived": "closed"})).ticket
    assert ruled is not None
    assert ruled.status == "closed"
    assert judge(strange, Rules(statuses={"archived": "gone"})).ticket is None


def test_messages_without_text_or_author_are_left_out_and_the_ticket_moves() -> None:
    """One bad row does not keep a conversation back."""
    bad = (replace(MESSAGE, content=None), replace(MESSAGE, from_agent=None), replace(MESSAGE, author_name="x" * 300))
    notes = (SourceNote(UUID(int=3), None, "Anna", "", AT),)
    found = judge(replace(TICKET, messages=(MESSAGE, *bad), notes=notes), Rules())
    assert found.ticket is not None
    assert found.ticket.messages == (MESSAGE,)
    assert found.ticket.notes == ()
    assert len(found.left_out) == 4


def test_a_ticket_that_is_too_long_stays_behind() -> None:
    """Rapport's limits are looked at before anything is sent."""
    assert judge(replace(TICKET, customer="c" * 256), Rules()).ticket is None
    assert judge(replace(TICKET, subject="s" * 501), Rules()).ticket is None


def test_what_rapport_cannot_hold_of_a_ticket_is_told_beforehand() -> None:
    """Tags beyond 50, long ones, large fields and strange numbers change; too many texts stay behind whole."""
    tags = (*(f"tag{number}" for number in range(60)), "x" * 120, "", "tag1")
    found = judge(replace(TICKET, tags=tags, fields={"order": "y" * 70_000}, number="SUP-9"), Rules())
    assert found.ticket is not None
    assert (len(found.ticket.tags), found.ticket.fields) == (50, {})
    assert len(found.changes) == 4
    assert "texts" in judge(replace(TICKET, messages=(replace(MESSAGE, content="z" * 750_000),) * 2), Rules()).problem
    assert "messages" in judge(replace(TICKET, messages=(MESSAGE,) * 5001), Rules()).problem


@given(
    st.integers(1, 2_000),
    st.decimals(-10_000_000, 10_000_000, places=2),
    st.sampled_from(["EUR", "USD", "GBP"]),
)
def test_amounts_stay_exact_to_the_cent(quantity: int, sales: Decimal, currency: str) -> None:
    """Whatever a line came to: pieces times prices come to the same, and the pieces are as many."""
    rows = order_rows(order(replace(LINE, quantity=quantity, sales=sales, currency=currency)))
    assert sum(Decimal(row.unit_price) * row.quantity for row in rows) == sales
    assert sum(abs(row.quantity) for row in rows) == quantity
    assert len(rows) <= 2


def test_discounts_are_taken_off_unless_the_amounts_are_net() -> None:
    """What the operator says of the amounts decides."""
    line = replace(LINE, quantity=1, sales=Decimal("20.00"), discount=Decimal("5.00"), refunds=Decimal("3.00"))
    assert order_rows(order(line))[0].unit_price == "15.00"
    assert order_rows(order(line), net=True)[0].unit_price == "20.00"
    assert order_rows(order(line, replace(line, refunds=Decimal("1.50"))))[0].refunded == "4.50"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((LINE, replace(LINE, customer="c2")), "different customers"),
        ((replace(LINE, customer=""),), "no customer"),
        ((replace(LINE, quantity=0),), "quantity"),
        ((replace(LINE, sales=None),), "no amount"),
        ((replace(LINE, currency=""),), "currency"),
        ((replace(LINE, currency="EURO"),), "currency"),
        ((replace(LINE, ordered=None),), "date"),
        ((replace(LINE, ordered=datetime(9999, 12, 31, tzinfo=UTC)),), "after 2199"),
        ((LINE,) * 5001, "5000 lines"),
        ((replace(LINE, product_name="ß" * 500, quantity=1),) * 2000, "bytes"),
        ((replace(LINE, sales=Decimal("NaN")),), "no amount"),
        ((replace(LINE, sales=Decimal("2e12"), quantity=1_000_000),), "too large"),
        ((replace(LINE, refunds=Decimal("1e10")),), "too large"),
        ((replace(LINE, product_id=""),), "product"),
    ],
)
def test_an_order_that_makes_no_sense_stays_behind_whole(lines: tuple[SourceLine, ...], words: str) -> None:
    """The reason names what is wrong."""
    with pytest.raises(SaleError, match=words):
        order_rows(order(*lines))


def test_the_operators_currency_counts_where_a_line_names_none() -> None:
    """Old sales did not say it."""
    assert order_rows(order(replace(LINE, currency="")), currency="EUR")[0].currency == "EUR"


def test_a_currency_without_cents_is_divided_by_whole_units() -> None:
    """A thousand yen for three pieces are 333, 333 and 334."""
    rows = order_rows(order(replace(LINE, sales=Decimal(1000), currency="JPY")))
    assert [(row.quantity, row.unit_price) for row in rows] == [(2, "333"), (1, "334")]
