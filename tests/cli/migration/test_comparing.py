"""What a comparison of rows makes of missing, different, surplus and changed tickets."""

from collections import Counter

from cli.migration.comparing import Said, ShopDifference, Sums, rows_section
from cli.migration.plan import Plan
from cli.migration.report import Finding


def judged(found: ShopDifference, *, seen: int, left: int = 0) -> dict[str, Finding]:
    """Return the findings about one shop, by the word that tells them apart."""
    with Said() as said:
        said.seen, said.left = seen, Counter({"no counterpart": left} if left else {})
        findings = rows_section(plan(), said, {"acme": found}).findings
    return dict(zip(("orphans", "missing", "different", "surplus", "changed"), findings, strict=True))


def plan() -> Plan:
    """Return a plan by which nothing stays behind."""
    empty = Plan.__new__(Plan)
    for name in ("unmapped", "conflicts", "invalid", "shops"):
        object.__setattr__(empty, name, ())
    return empty


def both(tickets: int) -> ShopDifference:
    """Return a shop whose sides are the same."""
    return ShopDifference(old=Sums(tickets), new=Sums(tickets))


def test_the_same_on_both_sides_is_green() -> None:
    """Every finding, with how many were looked at."""
    found = judged(both(3), seen=3)
    assert {one.state for one in found.values()} == {"green"}
    assert found["missing"].evidence == "3 tickets of 1 shops"


def test_each_kind_of_difference_is_said_with_its_ids() -> None:
    """What is missing, different or too many is red; what somebody worked on is for a person to look at."""
    for kind, state in (("missing", "red"), ("different", "red"), ("surplus", "red"), ("changed", "yellow")):
        shop = both(3)
        getattr(shop, kind).append("t-1")
        found = judged(shop, seen=3)
        assert {name for name, one in found.items() if one.state != "green"} == {kind}
        assert (found[kind].state, found[kind].details) == (state, ("acme: t-1",))


def test_tickets_that_neither_move_nor_stay_for_a_reason_are_red() -> None:
    """And more that stay behind than the plan said are for a person to look at."""
    assert judged(both(3), seen=4)["orphans"].state == "red"
    late = judged(both(3), seen=4, left=1)["orphans"]
    assert (late.state, late.details) == ("yellow", ("no counterpart: 1",))
