"""The report of a check: when it is green, what the page shows, and what a cut-over goes through."""

import pytest

from cli.migration.cutover import Wish, rate, shops_moved
from cli.migration.live_checks import failed_rate
from cli.migration.plan import State
from cli.migration.report import MOST_DETAILS, Finding, Report, Section, ShopTable, bounded


def report(*states: State) -> Report:
    """Return a report with a finding of each of these states."""
    found = tuple(Finding(f"thing {at}", state, "<seen> & told", "do it") for at, state in enumerate(states))
    table = ShopTable("acme", (2, 2), (5, 4), (0, 0), ("ab" * 32, "cd" * 32), (7, 8), (9, 9), ("ef" * 32, "01" * 32))
    return Report((Section("Rows", found),), (table,))


@pytest.mark.parametrize(
    ("states", "result", "verdict"),
    [
        (("green", "yellow"), "yellow", "Nothing is red; 1 need a look."),
        (("green", "red", "yellow"), "red", "Not everything is green."),
        ((), "green", "Everything is green."),
    ],
)
def test_only_red_stops_and_yellow_is_not_called_green(states: tuple[State, ...], result: str, verdict: str) -> None:
    """Yellow asks a person to look."""
    assert report(*states).green is (result != "red")
    assert report(*states).as_dict()["result"] == result
    assert report(*states).verdict == verdict
    assert verdict in report(*states).as_html()


def test_the_page_shows_everything_and_runs_nothing() -> None:
    """Texts are escaped, and nothing is fetched from elsewhere."""
    page = report("green", "red").as_html()
    assert "&lt;seen&gt; &amp; told" in page
    assert page.count("do it") == 1, "advice stands where it is needed"
    assert "<td>5 / 4</td>" in page
    assert "<td>7 / 8</td>" in page
    assert "http" not in page
    assert "<script" not in page


def test_details_are_bounded() -> None:
    """How many there are more is said."""
    assert bounded(["a"]) == ("a",)
    assert bounded(["a"] * (MOST_DETAILS + 3))[-1] == "and 3 more"


@pytest.mark.parametrize(
    ("now", "to", "shares"),
    [(0, 10, [1, 5, 10]), (5, 100, [10, 25, 50, 75, 100]), (50, 0, [0]), (50, 50, [50]), (0, 30, [1, 5, 10, 25, 30])],
)
def test_a_cut_over_goes_up_by_steps_and_back_at_once(now: int, to: int, shares: list[int]) -> None:
    """From where it stands."""
    assert Wish(to).shares(now) == shares


@pytest.mark.parametrize(
    ("unit", "count", "percent", "said"),
    [
        ("CUTOVER_UNIT_SHOP", 5, 0, "0 of 5 shops"),
        ("CUTOVER_UNIT_SHOP", 5, 10, "1 of 5 shops"),
        ("CUTOVER_UNIT_SHOP", 5, 21, "2 of 5 shops"),
        ("CUTOVER_UNIT_SHOP", 1, 1, "1 of 1 shops"),
        ("CUTOVER_UNIT_CLIENT", 5, 50, ""),
    ],
)
def test_whole_shops_are_counted(unit: str, count: int, percent: int, said: str) -> None:
    """A share of shops is not a share of requests."""
    assert shops_moved({"unit": unit, "tenant_count": count, "percent": percent}) == said


def test_rates_of_failures_are_judged_by_the_worst_side() -> None:
    """The limit itself is too many; no requests are no proof."""
    assert failed_rate("x", 0.1, [("one", 2000, 1), ("two", 0, 0)]).state == "green"
    assert failed_rate("x", 0.1, [("one", 2000, 1), ("two", 1000, 1)]).state == "red"
    assert failed_rate("x", 0.1, [("one", 0, 0)]).state == "yellow"
    few = failed_rate("x", 0.1, [("one", 893, 4)])
    assert (few.state, "4 of 893" in few.evidence) == ("yellow", True)
    assert failed_rate("x", 0.1, [("one", 893, 9)]).state == "red"
    assert failed_rate("x", 0.1, [("one", 5, 0), ("two", 5000, 0)]).state == "yellow"
    assert rate({"request_count": "200", "failure_count": "1"}) == 0.5
    assert rate({"request_count": "0", "failure_count": "0"}) == 0
