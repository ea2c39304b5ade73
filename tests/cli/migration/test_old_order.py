"""The predecessor's order of tickets, and the reasons that are given where Rapport's is another one."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.migration.old_order import Facts, compare, old_score

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ticket(name: str, hours: float, priority: str = "normal", **more: object) -> Facts:
    """Return what the predecessor's order looks at; without more a customer of no value."""
    fields: dict[str, object] = {"last_text": "hello", "value": 0.0, "churn": 0.0} | more
    return Facts(id=name, priority=priority, created=NOW - timedelta(hours=hours), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "score"),
    [
        (ticket("a", 1 / 60), 11.5),
        (ticket("a", 1), 2.5),
        (ticket("a", 48), 1.52),
        (ticket("a", 48, value=20_000.0), 41.52),
        (ticket("a", 48, "urgent"), 6.02),
        (ticket("a", 1, value=None, churn=None), 0.0),
        (ticket("a", 1, last_text="Where is my order?"), 3.5),
        (ticket("a", 1, last_text="It arrived damaged"), 1.0),
    ],
)
def test_the_score_is_what_was_measured_on_the_original(facts: Facts, score: float) -> None:
    """Its defects included: a new ticket without value stands above an urgent one of two days."""
    assert old_score(facts, NOW) == pytest.approx(score, abs=0.006)


@pytest.mark.parametrize(
    ("above", "below", "reason"),
    [
        (ticket("a", 40), ticket("b", 0.1), "age"),
        (ticket("a", 5, "urgent"), ticket("b", 5, value=20_000.0), "value"),
        (ticket("a", 5, last_text="refund"), ticket("b", 5), "difficulty"),
        (ticket("a", 5, "urgent", value=None, churn=None), ticket("b", 5), "unknown"),
        (ticket("a", 5, "urgent", last_text="refund"), ticket("b", 0.1, value=9_000.0), "several"),
        (ticket("a", 5, "low"), ticket("b", 5, "urgent"), "other"),
    ],
)
def test_each_turned_pair_has_the_reason_that_turned_it(above: Facts, below: Facts, reason: str) -> None:
    """The defect that, put right, lets the predecessor agree; "other" where none does."""
    found = compare([above, below], NOW)
    assert (found.pairs, found.turned, dict(found.reasons)) == (1, 1, {reason: 1})


def test_what_only_rapport_weighs_is_named_by_its_part_and_must_add_up() -> None:
    """An order that contradicts the parts of its own scores has no reason."""
    above = ticket("a", 5, "low", parts={"urgency": 0.0, "sentiment": 2.0})
    below = ticket("b", 5, "urgent", parts={"urgency": 1.5, "sentiment": 0.0})
    found = compare([above, below], NOW)
    assert (dict(found.decided), found.unexplained) == ({"sentiment": 1}, 0)
    assert compare([below, above], NOW).unexplained == 1


def test_a_turned_pair_without_a_part_that_decided_it_is_unexplained() -> None:
    """Neither without any parts, nor with parts of which none speaks for the upper ticket."""
    above, below = ticket("a", 5, "low"), ticket("b", 5, "urgent")
    assert compare([above, below], NOW).unexplained == 1
    same = {"urgency": 1.0}
    alike = (ticket("a", 5, "low", parts=same), ticket("b", 5, "urgent", parts=same))
    assert compare(alike, NOW).unexplained == 1


def test_the_same_order_needs_no_reason() -> None:
    """Every pair is looked at."""
    found = compare([ticket("a", 1, "urgent"), ticket("b", 1, "high"), ticket("c", 1, "low")], NOW)
    assert (found.pairs, found.turned) == (3, 0)
