"""Everything that can go into the order of an inbox, as hypothesis draws it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from services.tickets import policies, scoring, weighing
from services.tickets.calendars import OFFICE, Calendar
from services.tickets.facts import Customer, Facts, Tier
from services.tickets.language import INTENTS, UNKNOWN, Signals
from services.tickets.policies import DEFAULT, FIXED, PRESETS, Learned, Policy, Weights
from services.tickets.scoring import Rank

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
CALENDARS = (
    Calendar(),
    Calendar("Europe/Berlin", OFFICE, "DE", "BY"),
    Calendar("America/New_York", (((8 * 60, 12 * 60), (13 * 60, 20 * 60)),) * 7, "US"),
)

values = st.none() | st.floats(0, 1e7)
chances = st.none() | st.floats(0, 1)
priorities = st.sampled_from(list(weighing.PRIORITY_WEIGHT))
fractions = st.floats(0, 1)
moments = st.floats(0, 24 * 365).map(lambda hours: NOW - timedelta(hours=hours))
customers = st.builds(Customer, lifetime_value=values, churn_probability=chances, origin=st.just("test"))
signals = st.builds(
    Signals,
    intent=st.sampled_from((*INTENTS, UNKNOWN, "of an earlier version")),
    urgency=fractions,
    upset=fractions,
    has_text=st.booleans(),
)
facts = st.builds(
    Facts,
    start=moments,
    priority=priorities,
    customer=customers,
    signals=signals,
    answer_hours=st.none() | st.floats(0, 1_000),
    topic_weight=st.floats(-1, 10),
    tier=st.sampled_from(list(Tier)),
)


def _policy(
    name: str,
    weights: Mapping[str, float],
    gamma: float,
    share: float,
    calendar: Calendar,
    handling: Mapping[str, Learned],
) -> Policy:
    """Return a policy; `weights`, `gamma` and `share` say where in the ranges that are proven it lies, from 0 to 1."""
    policy = replace(PRESETS[name], calendar=calendar, handling=handling)
    if name in FIXED:
        return policy
    least, most = policies.GAMMAS[name]
    gamma = least + gamma * (most - least)
    least, most = policies.shares(name, gamma)
    share = least + share * (most - least)
    ranges = {weight: policies.weights_range(name, weight) for weight in weights}
    inside = {weight: least + weights[weight] * (most - least) for weight, (least, most) in ranges.items()}
    return policies.edited(policy, policies.Edit(weights=inside, gamma=gamma, sla_share=share))


every_policy = st.builds(
    _policy,
    st.sampled_from([name for name in PRESETS if name != "predecessor"]),
    st.dictionaries(st.sampled_from(list(Weights().by_name())), fractions),
    fractions,
    fractions,
    st.sampled_from(CALENDARS),
    st.dictionaries(st.sampled_from(INTENTS), st.builds(Learned, st.floats(0.01, 500), st.integers(10, 2_000))),
)


def rank(customer: Customer, priority: str, said: Signals, start: datetime = NOW) -> Rank:
    """Place a ticket by the default policy."""
    return scoring.rank(DEFAULT, Facts(start, priority, customer, said))
