"""The simulated desk: it keeps its own rules, and ranks by the very numbers of production."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import ordering
from services.tickets import scoring
from services.tickets.facts import Customer, Facts
from services.tickets.language import Signals
from services.tickets.policies import BASE_RANGE, DEFAULT, PRESETS, WEIGHTS, Edit, Learned, edited
from services.tickets.simulation import policies
from services.tickets.simulation.clock import Clock
from services.tickets.simulation.desk import Day, serve
from services.tickets.simulation.measures import Outcome, interval, outcome, overtaken
from services.tickets.simulation.policies import Moving, Stored
from services.tickets.simulation.report import plot, table
from services.tickets.simulation.scenarios import AGENTS, SCENARIOS, Scenario
from services.tickets.simulation.study import COSTS, Study, as_json, compared, runs_of, study
from services.tickets.simulation.sweep import as_text, corners, ends, not_better, swept
from services.tickets.simulation.world import draw

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
SMALL = st.builds(
    replace,
    st.sampled_from(list(SCENARIOS.values())),
    tickets=st.integers(20, 120),
    load=st.floats(0.5, 2.0),
)
EVERY_POLICY = {policy.name: policy for policy in compared()}


def _serve(scenario: Scenario, seed: int, policy: policies.Policy) -> Day:
    return serve(draw(scenario, seed), policy, Clock.of(scenario))


@pytest.mark.parametrize("name", ["rapport", "sla-first", "value-first"])
def test_the_simulated_policies_rank_by_the_numbers_of_production(name: str) -> None:
    """For drawn messages the vectorised base is the rank that production gives the same facts at their start."""
    handling = {minutes: Learned(minutes, 100) for minutes in (4.0, 10.0, 25.0)}
    seen = draw(replace(SCENARIOS["A"], tickets=300), 1).seen
    policy = replace(PRESETS[name], handling={f"takes {minutes:g}": own for minutes, own in handling.items()})
    base = policies.of_tenant(policy).base(seen)
    for row in range(300):
        facts = Facts(
            START,
            priority=policies.PRIORITIES[seen.priority[row]],
            customer=Customer(float(seen.value[row]), float(seen.churn[row])),
            signals=Signals(intent=f"takes {seen.hours[row] * 60:g}", upset=1.0 if seen.upset[row] else 0.0),
            topic_weight=policies.TOPIC_WEIGHT if seen.topic[row] else 0.0,
        )
        rank = scoring.key(policy, facts) + policy.gamma * policy.calendar.hours_at(START)
        assert base[row] == pytest.approx(rank, abs=1e-5)


@given(SMALL, st.integers(0, 1000), st.sampled_from(sorted(EVERY_POLICY)))
def test_agents_answer_every_message_once_and_are_never_more_than_there_are(
    scenario: Scenario, seed: int, name: str
) -> None:
    """Whatever the policy: an answer follows its message, nobody is answered twice, and no agent does two at once."""
    world = draw(scenario, seed)
    day = serve(world, EVERY_POLICY[name], Clock.of(scenario))
    answered = ~np.isnan(day.begun)
    assert sorted(day.order) == np.flatnonzero(answered).tolist()
    assert np.all(day.begun[answered] >= day.start[answered])
    assert scenario.patience or np.array_equal(answered, day.came)
    begun, done = day.begun[answered], (day.begun + world.work)[answered]
    busy = np.array([np.sum((begun <= moment) & (done > moment)) for moment in begun])
    assert busy.max(initial=0) <= AGENTS


@given(SMALL, st.integers(0, 1000), st.sampled_from(sorted(EVERY_POLICY)))
def test_no_agent_is_idle_while_somebody_waits_and_the_desk_is_open(scenario: Scenario, seed: int, name: str) -> None:
    """A message that is not answered at once waits until an agent finishes or the desk opens."""
    world, clock = draw(scenario, seed), Clock.of(scenario)
    day = serve(world, EVERY_POLICY[name], clock)
    done = set((day.begun + world.work)[~np.isnan(day.begun)].tolist())
    for row in day.order:
        now = float(day.begun[row])
        assert now == clock.next_opening(now)
        opened = clock.next_opening(np.nextafter(now, -np.inf)) == now and not scenario.working_time
        assert now == day.start[row] or now in done or opened


@given(SMALL, st.integers(0, 1000), st.sampled_from(["rapport", "sla-first", "value-first"]))
def test_nobody_is_overtaken_by_one_that_starts_later_than_the_bound_allows(
    scenario: Scenario, seed: int, name: str
) -> None:
    """The published bound of starvation holds in every run: the range of the base divided by the ageing."""
    policy = EVERY_POLICY[name]
    assert isinstance(policy, Stored)
    assert overtaken(_serve(scenario, seed, policy)) <= BASE_RANGE / policy.gamma


@given(SMALL, st.integers(0, 1000), st.floats(0.01, 2.0), st.floats(0.0, 1.0))
def test_a_stored_key_serves_exactly_as_ranking_anew_at_every_moment(
    scenario: Scenario, seed: int, gamma: float, share: float
) -> None:
    """The order by key is the order by rank at any time, since all ranks rise alike."""
    stored = policies.due(gamma, share)
    moving = Moving("anew", lambda seen: stored.base(seen)[np.newaxis], lambda lines, age: lines[0] + gamma * age)
    assert _serve(scenario, seed, stored).order == _serve(scenario, seed, moving).order


@given(st.integers(0, 1000), st.sampled_from(["rapport", "sla-first", "value-first", "static 0.1/0.5", "c-mu"]))
def test_more_value_more_churn_or_an_upset_customer_never_lower_a_message(seed: int, name: str) -> None:
    """Nothing that makes waiting costlier takes a message further back."""
    policy = EVERY_POLICY[name]
    assert isinstance(policy, Stored)
    seen = draw(replace(SCENARIOS["A"], tickets=50), seed).seen
    before = policy.base(seen)
    for worse in (
        replace(seen, value=seen.value * 2),
        replace(seen, churn=np.minimum(1.0, seen.churn + 0.2)),
        replace(seen, upset=np.ones_like(seen.upset)),
        replace(seen, topic=np.ones_like(seen.topic)),
    ):
        assert np.all(policy.base(worse) >= before)


def test_the_same_seed_draws_the_same_tickets_and_another_seed_others() -> None:
    """Runs are paired: what is compared are policies, not luck."""
    scenario = replace(SCENARIOS["E"], tickets=200)
    one, same, other = draw(scenario, 3), draw(scenario, 3), draw(scenario, 4)
    assert np.array_equal(one.work, same.work)
    assert np.array_equal(one.seen.value, same.seen.value)
    assert not np.array_equal(one.work[:200], other.work[:200])


def test_the_world_is_the_one_that_is_described() -> None:
    """Drawn customers, priorities, work and load have the published shares and quantiles."""
    world = draw(replace(SCENARIOS["A"], tickets=40_000, noise=0.0), 0)
    assert np.median(world.seen.value) == pytest.approx(1080, rel=0.1)
    assert np.quantile(world.seen.value, 0.95) == pytest.approx(5349, rel=0.2)
    assert np.corrcoef(world.seen.value, world.seen.churn)[0, 1] == pytest.approx(-0.3, abs=0.1)
    assert np.bincount(world.seen.priority) / 40_000 == pytest.approx([0.2, 0.55, 0.18, 0.07], abs=0.01)
    assert np.mean(world.work) * 60 == pytest.approx(9.55, rel=0.02)
    assert np.sum(world.work) / AGENTS / world.arrival[-1] == pytest.approx(0.97, rel=0.02)
    assert np.allclose(world.seen.weight(), world.cost)


def test_conversations_go_on_and_impatient_customers_leave() -> None:
    """In E answers bring further messages of the same tickets; in F some customers are never answered."""
    several, leaving = replace(SCENARIOS["E"], tickets=1000), replace(SCENARIOS["F"], tickets=1000)
    day = _serve(several, 0, policies.fifo())
    assert 1300 < np.sum(day.came) < 1700
    assert 0 < np.sum(np.isnan(_serve(leaving, 0, policies.fifo()).begun)) < 200


def test_hours_at_night_do_not_count_on_a_clock_of_working_hours() -> None:
    """The axis of D knows the desk's hours only, and the desk of C begins nothing outside of them."""
    working, calendar = Clock.of(SCENARIOS["D"]), Clock.of(SCENARIOS["C"])
    assert working.on_axis(np.array([8.0, 9.0, 10.5, 17.0, 23.0, 33.5])).tolist() == [0.0, 0.0, 1.5, 8.0, 8.0, 8.5]
    assert [calendar.next_opening(moment) for moment in (8.0, 9.5, 17.0, 40.0)] == [9.0, 9.5, 33.0, 40.0]


def test_an_outcome_counts_what_waiting_costs() -> None:
    """First come, first served on a desk with room: nobody waits, nothing is late, nobody is overtaken."""
    scenario = replace(SCENARIOS["A"], load=0.05, tickets=200)
    world = draw(scenario, 0)
    found = outcome(world, serve(world, policies.fifo(), Clock.of(scenario)), 200)
    assert found == Outcome(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_intervals_are_students() -> None:
    """The half width is t times the standard error: for 1, 2, 3 that is 4.303 · 1 / √3."""
    assert interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2.0, 4.3027 / 3**0.5), rel=1e-4)


@pytest.mark.parametrize(("letter", "runs"), [("A", 60), ("B", 12), ("C", 12), ("D", 24), ("E", 60), ("F", 24)])
def test_the_default_beats_the_predecessor_on_both_costs(letter: str, runs: int) -> None:
    """In every scenario both intervals of ours minus the predecessor's lie below zero."""
    both = (policies.rapport(), policies.predecessor())
    found = [runs_of(letter, 10_000 + seed, both) for seed in range(runs)]
    names = [policy.name for policy in both]
    short = Study({letter: {name: [run[place] for run in found] for place, name in enumerate(names)}})
    for cost in COSTS:
        mean, half = short.difference(letter, names[0], names[1], cost)
        assert mean + half < 0
    assert short.overtaken() <= DEFAULT.bound_hours


def test_no_policy_is_better_than_the_default_on_both_costs_on_desks_of_the_calendar() -> None:
    """In A, B and C nothing of the table is better than ours beyond both intervals."""
    found = study(["A", "B", "C"], 6, first_seed=20_000, told=lambda _done, _total: None)
    assert {letter: found.dominating(letter) for letter in "ABC"} == {letter: [] for letter in "ABC"}


def test_the_benchmark_fails_for_each_claim_that_does_not_hold() -> None:
    """A cost above the predecessor's, a better policy in A, and an overtaker beyond the bound are all said."""

    def runs(cost: float, overtaken: float = 0.0) -> list[Outcome]:
        return [Outcome(cost + step, cost + step, 0.0, 0.0, 0.0, overtaken, 0.0) for step in (0.0, 0.1, 0.2)]

    good = {"rapport": runs(1.0), "predecessor": runs(2.0)}
    assert ordering.failures(Study({"A": good, "D": good | {"better": runs(0.5)}})) == []
    assert ordering.failures(Study({"A": good | {"better": runs(0.5)}})) == ["A: better is better on both costs"]
    bad = Study({"F": {"rapport": runs(3.0, 81.0), "predecessor": runs(2.0)}})
    assert [failure.partition(" ")[0] for failure in ordering.failures(bad)] == ["overtaken", "F:"]


def test_a_sweep_tries_what_may_be_set_and_nothing_else() -> None:
    """All that it tries could be set by a shop; an end differs from the default in one thing, a corner in all."""
    for tried in (ends() | corners()).values():
        assert edited(DEFAULT, Edit("", tried.weights.by_name(), tried.gamma, tried.sla_share)) == tried
    for weight, borders in WEIGHTS.items():
        assert {getattr(tried.weights, weight) for tried in corners().values()} == set(borders)
    found = study(["D"], 2, swept, workers=1, told=lambda _done, _total: None)
    assert set(not_better(found, ends())) <= set(ends())
    assert all(f"| {name} |" in as_text(found) for name in ends())


def test_a_study_tells_the_same_as_table_picture_and_json() -> None:
    """Every policy has its row, its point and its figures; the ratios are the predecessor's costs over ours."""
    steps: list[tuple[int, int]] = []
    found = study(["B", "F"], 2, workers=1, told=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    told = as_json(found)
    assert set(found.ratios()) == {"B.wtard", "B.cod", "F.wtard", "F.cod"}
    assert found.ratios()["B.cod"] == pytest.approx(
        found.mean("B", "predecessor", "cod") / found.mean("B", "rapport", "cod"), abs=1e-3
    )
    assert isinstance(told["scenarios"], dict)
    assert set(told["scenarios"]["B"]["policies"]) == set(EVERY_POLICY)
    assert all(f"| {name} |" in table(found) for name in EVERY_POLICY)
    drawn = fromstring(plot(found))  # noqa: S314 - our own text
    assert {"rapport", "predecessor"} <= {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}


def test_a_policy_that_is_worse_on_both_costs_is_said_to_be_dominated() -> None:
    """Better means beyond both intervals, and on both costs."""

    def runs(wtard: float, cod: float) -> list[Outcome]:
        return [Outcome(wtard + step, cod + step, 0.0, 0.0, 0.0, 0.0, 0.0) for step in (0.0, 0.1, 0.2)]

    found = Study({"A": {"rapport": runs(2.0, 2.0), "better": runs(1.0, 1.0), "mixed": runs(1.0, 3.0)}})
    assert found.dominating("A") == ["better"]
    assert found.dominating("A", "better") == []


def test_the_bound_is_that_of_the_range_and_the_ageing() -> None:
    """A ticket at the upper end of the range overtakes one at the lower end by at most the bound, and no more."""
    hours = BASE_RANGE / DEFAULT.gamma
    assert DEFAULT.bound_hours == pytest.approx(hours)
    low = scoring.key(DEFAULT, Facts(START, priority="low"))
    urgent = Facts(START + timedelta(hours=hours, minutes=1), "urgent", Customer(1e9, 1.0), Signals(upset=1.0))
    assert scoring.key(DEFAULT, urgent) < low
