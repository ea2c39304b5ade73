"""The engine of actions: its ranking, its preconditions, and that no limit of a shop's policy is ever passed."""

import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import actions, worth
from services.recommendations.action_policy import (
    CREDIT,
    DEFAULT,
    GIFTS,
    OFFER,
    REFUND,
    REPLACEMENT,
    ActionPolicy,
    Limit,
    Offer,
    Rule,
    policy_of,
    settings_of,
)
from services.recommendations.case import Case, Customer, Order, Parcel
from services.recommendations.catalogue import ALWAYS, BY_CODE, ENTRIES, Action
from services.recommendations.gifts import Grant, Standing
from services.recommendations.intents import Intent

TODAY = date(2026, 3, 2)
PARCEL = Parcel("1Z999AA10123456784", "https://post.example/track/1Z999AA10123456784", "Parcel Post", "in_transit")
ORDER = Order("536365", date(2026, 2, 20), ("White Lantern", "Blue Mug"), (PARCEL,), "EUR", 9_000)
LOYAL = Customer(lifetime_value=2400.5, total_orders=25, churn=0.62, days_since_last_purchase=200, currency="EUR")
BROKEN = Case(intents=(Intent.DAMAGED_ITEM,), customer=LOYAL, order=ORDER, products=("Blue Mug",))
GENEROUS = ActionPolicy(
    version=2,
    currency="EUR",
    credit=Decimal("10.00"),
    limits={
        REFUND: Limit(Decimal("40.00"), Decimal("60.00"), 90),
        REPLACEMENT: Limit(Decimal("100.00"), Decimal("150.00"), 90),
        CREDIT: Limit(Decimal("10.00"), Decimal("15.00"), 90),
    },
    offer=Offer(10, 0.5, 365),
)

_PARCELS = st.sampled_from(
    [(), (PARCEL,), (replace(PARCEL, status="delivered"),), (replace(PARCEL, status="pending"),)]
)
_AMOUNTS = st.one_of(st.none(), st.integers(0, 500_000))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return any case: with and without customer, order, amounts and parcels."""
    order = None
    if draw(st.booleans()):
        total = draw(_AMOUNTS)
        order = Order(
            "77",
            date(2026, 1, 5),
            draw(st.sampled_from([(), ("Mug",), ("Mug", "Lamp {x}")])),
            draw(_PARCELS),
            draw(st.sampled_from(["EUR", "JPY", ""])),
            total,
            draw(st.integers(0, total or 0)),
            draw(st.integers(0, total or 0)),
        )
    customer = draw(
        st.none()
        | st.builds(
            Customer,
            st.floats(0, 100_000),
            st.integers(0, 500),
            st.none() | st.floats(0, 1),
            st.none() | st.integers(0, 4000),
            st.sampled_from(["EUR", "JPY"]),
        )
    )
    wanted = draw(st.lists(st.sampled_from(Intent), min_size=1, max_size=4, unique=True))
    return Case(
        intents=tuple(intent for intent in Intent if intent in wanted),
        answered=draw(st.booleans()),
        waiting=draw(st.integers(0, 5)),
        customer=customer,
        order=order,
        order_named=draw(st.booleans()),
        products=order.products[:1] if order and draw(st.booleans()) else (),
    )


_MONEY = st.decimals(0, 500, places=2)
_LIMITS = st.builds(Limit, st.none() | _MONEY, _MONEY, st.integers(1, 400))
_GRANTS = st.lists(
    st.builds(
        Grant,
        st.sampled_from(GIFTS),
        st.integers(0, 50_000),
        st.sampled_from(["EUR", "USD"]),
        st.dates(date(2025, 1, 1), TODAY),
    ),
    max_size=6,
)


@st.composite
def policies(draw: st.DrawFn) -> ActionPolicy:
    """Return any policy, as contradictory as it may be."""
    codes = draw(st.lists(st.sampled_from(sorted(BY_CODE)), max_size=8, unique=True))
    rule = st.builds(
        Rule,
        st.booleans(),
        st.none() | st.floats(0, 1),
        st.none() | st.floats(0, 480),
        st.frozensets(st.sampled_from([intent.value for intent in Intent]), max_size=4),
    )
    return ActionPolicy(
        version=3,
        currency=draw(st.sampled_from(["EUR", "JPY", ""])),
        credit=draw(_MONEY),
        limits={gift: draw(_LIMITS) for gift in draw(st.sets(st.sampled_from((REFUND, REPLACEMENT, CREDIT))))},
        offer=draw(st.none() | st.builds(Offer, st.integers(1, 90), st.floats(0, 1), st.integers(1, 400))),
        most_actions=draw(st.integers(2, 4)),
        rules={code: draw(rule) for code in codes},
    )


def codes(one: Case, policy: ActionPolicy = DEFAULT, *grants: Grant) -> list[str]:
    """Return the names of the actions that are recommended, best first."""
    return [action.code for action in actions.decide(one, policy, Standing(TODAY, grants)).actions]


def action(one: Case, code: str, policy: ActionPolicy = DEFAULT, *grants: Grant) -> Action | None:
    """Return a recommended action by its name."""
    decided = actions.decide(one, policy, Standing(TODAY, grants))
    return next((found for found in decided.actions if found.code == code), None)


@given(cases(), policies(), _GRANTS)
def test_whatever_the_policy_a_recommendation_is_complete_and_within_it(
    one: Case, policy: ActionPolicy, grants: list[Grant]
) -> None:
    """Two to four actions by falling worth; none is disabled or blocked, and nothing passes what is left of a limit."""
    decided = actions.decide(one, policy, Standing(TODAY, grants))
    assert 2 <= len(decided.actions) <= policy.most_actions
    worths = [found.expected_value for found in decided.actions]
    assert worths == sorted(worths, reverse=True)
    assert len({found.code for found in decided.actions}) == len(decided.actions)
    assert decided.policy_version == policy.version
    for found in decided.actions:
        rule, entry = policy.rule(found.code), BY_CODE[found.code]
        assert found.text
        assert found.reason
        assert "{" not in found.text.replace("{x}", "")
        if found.code not in ALWAYS:
            assert rule.enabled
            assert not rule.blocked_intents & {intent.value for intent in one.intents}
        assert found.effect == (entry.effect if rule.effect is None else rule.effect)
        if found.amount_minor is not None:
            check_limits(found, policy, grants)


def check_limits(found: Action, policy: ActionPolicy, grants: list[Grant]) -> None:
    """Check an amount against the policy's limits, reckoned anew."""
    limit = policy.limit(found.gives)
    scale = 1 if found.currency == "JPY" else 100
    assert found.amount_minor is not None
    assert found.amount_minor > 0
    assert not policy.currency or policy.currency == found.currency
    if limit.per_order is not None and found.gives != CREDIT:
        assert found.amount_minor <= round(limit.per_order * scale)
    if limit.per_customer is not None and limit.days is not None:
        since = TODAY - timedelta(days=limit.days)
        before = [grant for grant in grants if grant.gift == found.gives and grant.on >= since]
        assert all(grant.currency == found.currency for grant in before)
        assert found.amount_minor + sum(grant.amount_minor for grant in before) <= round(limit.per_customer * scale)


@given(cases(), policies())
def test_every_fact_that_an_action_names_is_among_the_facts(one: Case, policy: ActionPolicy) -> None:
    """The ids of actions are resolved by the decision's facts, and every fact there is used by an action."""
    decided = actions.decide(one, policy, Standing(TODAY))
    known = {fact.id for fact in decided.facts}
    used = {fact for found in decided.actions for fact in found.facts}
    assert used <= known | {"order.unknown"}
    assert known <= used


@given(cases())
def test_the_default_policy_gives_no_money_beyond_what_was_paid(one: Case) -> None:
    """Without a policy of its own no shop makes an offer or gives a credit, and a refund is at most what is open."""
    for found in actions.decide(one).actions:
        assert found.gives in {"", REFUND, REPLACEMENT}
        if found.amount_minor is not None:
            assert found.amount_minor <= (worth.open_minor(one) or 0)


@given(cases(), st.floats(0, 1), st.floats(0, 1))
def test_a_greater_effect_never_lowers_an_action(one: Case, low: float, high: float) -> None:
    """Whoever reckons an action to save more finds it no further down."""
    low, high = sorted((low, high))
    for code in codes(one):
        before, after = (codes(one, replace(DEFAULT, rules={code: Rule(effect=effect)})) for effect in (low, high))
        if code in before and code in after:
            assert after.index(code) <= before.index(code)


def test_the_expected_value_is_the_stated_formula() -> None:
    """Effect times what is endangered, less minutes, shipments and goods: reckoned by hand for one case."""
    found = action(BROKEN, "send_replacement")
    assert found is not None
    average = 2400.5 / 25
    endangered = 0.75 * (90.0 + average * (1 - 0.62))
    cost = 5 / 60 * 24 + 5 + 90.0 * 0.5 * 0.5
    assert found.endangered == pytest.approx(endangered, abs=0.01)
    assert found.cost == pytest.approx(cost, abs=0.01)
    assert found.expected_value == pytest.approx(0.75 * endangered - cost, abs=0.02)


def test_what_a_customer_is_expected_to_spend_is_at_stake() -> None:
    """The profile's expectation counts where there is one, and the policy's least stake for a stranger."""
    regular = replace(BROKEN, customer=replace(LOYAL, expected_spend=310.0))
    assert worth.stake(regular, DEFAULT).total == pytest.approx(90.0 + 310.0)
    assert worth.stake(BROKEN, DEFAULT).total == pytest.approx(90.0 + 2400.5 / 25 * 0.38)
    stranger = replace(BROKEN, customer=None, order=None, products=())
    assert worth.stake(stranger, DEFAULT).total == 50.0


def test_reasons_name_the_facts_that_they_use() -> None:
    """The order's number and date stand in the reason, and their ids with it."""
    found = action(BROKEN, "send_replacement")
    assert found is not None
    assert "536365 of 20 February 2026" in found.reason
    assert "Blue Mug" in found.text
    assert set(found.facts) == {"order.536365.placed_on", "order.536365.total", "product.536365.2"}


def test_of_remedies_that_exclude_each_other_only_the_best_is_recommended() -> None:
    """A replacement or a refund, not both; and what puts goods right is there though it costs more than it saves."""
    for intent in (Intent.DAMAGED_ITEM, Intent.MISSING_ITEM):
        found = codes(replace(BROKEN, intents=(intent,)))
        assert len({"send_replacement", "refund"} & set(found)) == 1
    dear = replace(BROKEN, customer=None, order=replace(ORDER, total_minor=900_000, products=("Piano",)), products=())
    decided = actions.decide(dear, replace(DEFAULT, goods_share=1.0)).actions
    remedy = [one for one in decided if one.code in {"send_replacement", "refund"}]
    assert len(remedy) == 1


def test_a_refund_is_cut_to_the_limit_and_then_promised_to_nobody() -> None:
    """Above the limit of an order the text names the limit, and the customer is told nothing of a whole refund."""
    only_refund = replace(GENEROUS, rules={"send_replacement": Rule(enabled=False)})
    found = action(BROKEN, "refund", only_refund)
    assert found is not None
    assert found.amount_minor == 4_000
    assert "at most 40.00 EUR" in found.text
    assert found.said == ""
    assert {"policy.refund.per_order", "policy.refund.per_customer"} <= set(found.facts)


def test_what_was_refunded_or_cancelled_is_not_refunded_again() -> None:
    """Only what is open of the order can be paid back; of nothing there is no refund."""
    part = replace(BROKEN, order=replace(ORDER, refunded_minor=8_000))
    no_replacement = replace(DEFAULT, rules={"send_replacement": Rule(enabled=False)})
    found = action(part, "refund", no_replacement)
    assert found is not None
    assert found.amount_minor == 1_000
    done = replace(BROKEN, order=replace(ORDER, refunded_minor=9_000))
    assert "refund" not in codes(done, no_replacement)
    cancelled = replace(BROKEN, order=replace(ORDER, cancelled_minor=9_000))
    assert not {"refund", "send_replacement"} & set(codes(cancelled))


def test_a_customer_who_had_their_share_gets_no_more_of_it_until_the_days_are_over() -> None:
    """A credit of last month uses the limit up, one of long ago does not, and the agent hears why."""
    angry = replace(BROKEN, intents=(Intent.COMPLAINT,))
    assert "apologise_and_credit" in codes(angry, replace(GENEROUS, offer=None))
    recent = Grant(CREDIT, 1_000, "EUR", TODAY - timedelta(days=30))
    decided = actions.decide(angry, replace(GENEROUS, offer=None), Standing(TODAY, (recent,)))
    assert "apologise_and_credit" not in [found.code for found in decided.actions]
    assert any("15.00 EUR for a customer in 90 days" in warning for warning in decided.warnings)
    old = replace(recent, on=TODAY - timedelta(days=91))
    assert "apologise_and_credit" in codes(angry, replace(GENEROUS, offer=None), old)
    foreign = replace(recent, currency="USD", amount_minor=1)
    assert "apologise_and_credit" not in codes(angry, replace(GENEROUS, offer=None), foreign)


def test_an_offer_is_made_to_those_who_may_leave_and_once_only() -> None:
    """Below the policy's churn there is none, and none for whoever had one within its days."""
    leaving = replace(BROKEN, intents=(Intent.CANCEL_ACCOUNT,))
    found = action(leaving, "retention_offer", GENEROUS)
    assert found is not None
    assert (found.percent, found.said) == (10, "I can offer you 10% off your next order.")
    staying = replace(leaving, customer=replace(LOYAL, churn=0.2))
    assert "retention_offer" not in codes(staying, GENEROUS)
    assert "retention_offer" not in codes(replace(leaving, customer=replace(LOYAL, churn=None)), GENEROUS)
    assert "retention_offer" not in codes(leaving, GENEROUS, Grant(OFFER, 0, "EUR", TODAY))


def test_a_policy_in_another_currency_gives_nothing_away_and_says_so() -> None:
    """Limits in euros say nothing about an order in yen."""
    abroad = replace(
        BROKEN, customer=replace(LOYAL, currency="JPY"), order=replace(ORDER, currency="JPY", total_minor=9_000)
    )
    decided = actions.decide(abroad, GENEROUS, Standing(TODAY))
    assert not any(found.gives for found in decided.actions)
    (said,) = (warning for warning in decided.warnings if "EUR" in warning)
    assert said.startswith("The policy's amounts are in EUR, and the case in JPY: nothing is given away")


def test_amounts_of_a_policy_in_another_currency_decide_nothing() -> None:
    """Thresholds, costs, the least stake and what must have been spent are the default's; all the rest is kept."""
    amounts = replace(
        DEFAULT,
        currency="EUR",
        agent_hour=Decimal(999),
        shipment=Decimal(999),
        least_stake=Decimal(99_999),
        thresholds=replace(DEFAULT.thresholds, valuable_spent=Decimal(1), notable_spent=Decimal(1)),
        rules={"senior_agent": Rule(spent_below=Decimal(99_999))},
    )
    case = replace(BROKEN, customer=replace(LOYAL, currency="JPY", lifetime_value=2_400.0), order=None, products=())
    plain = actions.decide(case, DEFAULT, Standing(TODAY))
    abroad = actions.decide(case, amounts, Standing(TODAY))
    assert (abroad.priority, abroad.actions) == (plain.priority, plain.actions)
    assert abroad.warnings[1:] == plain.warnings


def test_nothing_is_said_of_gifts_that_a_policy_does_not_have() -> None:
    """A policy without a credit and an offer withholds none, in whatever currency."""
    bare = replace(DEFAULT, version=2, currency="USD")
    everything = replace(BROKEN, intents=(Intent.DAMAGED_ITEM, Intent.COMPLAINT, Intent.CANCEL_ACCOUNT))
    warnings = actions.decide(everything, bare, Standing(TODAY)).warnings
    assert len([warning for warning in warnings if "USD" in warning]) == 1
    assert not any("offer" in warning or "credit" in warning for warning in warnings)


def test_what_an_order_got_under_other_tickets_is_taken_from_its_limit() -> None:
    """The limit of an order is what is left of it, for as long as one likes, and another order has its own."""
    only_refund = replace(
        GENEROUS, limits={REFUND: Limit(per_order=Decimal(40))}, rules={"send_replacement": Rule(enabled=False)}
    )
    long_ago = Grant(REFUND, 3_000, "EUR", TODAY - timedelta(days=900), ORDER.order_id)
    found = action(BROKEN, "refund", only_refund, long_ago)
    assert found is not None
    assert found.amount_minor == 1_000
    assert action(BROKEN, "refund", only_refund, long_ago, replace(long_ago, amount_minor=1_000)) is None
    other = action(BROKEN, "refund", only_refund, replace(long_ago, order_id="1"))
    assert other is not None
    assert other.amount_minor == 4_000
    assert action(BROKEN, "refund", only_refund, replace(long_ago, currency="USD")) is None


def test_an_order_of_unknown_worth_is_not_given_away_under_a_limit() -> None:
    """Where the total is not known, a limit cannot be kept; without a limit the remedy stands without an amount."""
    unknown = replace(BROKEN, order=replace(ORDER, total_minor=None))
    assert not {"send_replacement", "refund"} & set(codes(unknown, GENEROUS))
    found = action(unknown, "send_replacement")
    assert found is not None
    assert found.amount_minor is None


def test_without_an_order_it_is_asked_for_and_nothing_is_given() -> None:
    """No remedy for an order that nobody knows."""
    found = codes(replace(BROKEN, order=None, products=()), GENEROUS)
    assert found[0] == "ask_order"
    assert not {"send_replacement", "refund"} & set(found)


def test_thanks_needs_nothing_but_an_answer() -> None:
    """Nothing is an action of its own, with a worth of nothing."""
    found = actions.decide(Case(intents=(Intent.THANKS,), customer=LOYAL)).actions
    assert [one.code for one in found] == ["close", "nothing"]
    assert found[1].expected_value == 0


def test_rules_for_whom_an_action_is_blocked_are_kept() -> None:
    """Blocked by what the message is about, by what was spent, and by how often somebody bought."""
    rules = (
        Rule(blocked_intents=frozenset({"complaint"})),
        Rule(only_intents=frozenset({"missing_item"})),
        Rule(spent_below=Decimal(3000)),
        Rule(orders_below=26),
        Rule(enabled=False),
    )
    both = replace(BROKEN, intents=(Intent.DAMAGED_ITEM, Intent.COMPLAINT))
    assert "send_replacement" in codes(both)
    for rule in rules:
        assert "send_replacement" not in codes(both, replace(DEFAULT, rules={"send_replacement": rule}))


def test_thresholds_of_the_policy_decide_the_priority() -> None:
    """Who is valuable is the shop's to say."""
    assert actions.priority(BROKEN) == "urgent"
    strict = replace(DEFAULT, thresholds=replace(DEFAULT.thresholds, valuable_spent=Decimal(5000), valuable_orders=99))
    assert actions.priority(BROKEN, strict) == "high"
    assert "senior_agent" not in codes(BROKEN, strict)


@given(policies())
def test_a_policy_is_the_same_after_it_was_kept(policy: ActionPolicy) -> None:
    """What is stored as JSON values is read back as it was."""
    assert policy_of(policy.version, settings_of(policy)) == policy


def test_the_catalogue_is_sound() -> None:
    """Names differ, effects are shares, and every intent has an action of its own that gives nothing away."""
    assert len(BY_CODE) == len(ENTRIES)
    assert all(0 <= entry.effect <= 1 and entry.minutes >= 0 for entry in ENTRIES)
    assert all(re.fullmatch(r"[a-z_]{3,32}", entry.code) for entry in ENTRIES)
    for intent in Intent:
        assert any(intent in entry.intents and not entry.gives for entry in ENTRIES), intent
    assert set(worth.SEVERITY) == set(Intent)
