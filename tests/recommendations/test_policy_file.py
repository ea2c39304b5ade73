"""Policy files: what is wrong with one is named, all of it, each with its field and its line."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import policy_file
from services.recommendations.action_policy import CREDIT, REFUND, Limit, Offer
from services.recommendations.catalogue import ENTRIES
from services.recommendations.policy_file import LARGEST, PolicyFileError

GOOD = """\
# What our agents may give.
currency: EUR
costs: {agent_hour: "30.00", goods_share: 0.4, shipment: "4.50"}
least_stake: "40.00"
credit: "10.00"
limits:
  refund: {per_order: "100.00", per_customer: "200.00", days: 90}
  credit: {per_order: "10.00", per_customer: "20.00", days: 90}
offer: {percent: 10, least_churn: 0.6, days: 180}
thresholds: {valuable_spent: "2000", notable_spent: "800"}
most_actions: 3
actions:
  refund:
    effect: 0.5
    blocked_for: {intents: [billing_problem], spent_below: "20.00", orders_below: 2}
  escalate: {minutes: 15}
  expedite: {enabled: false}
"""

CONTRADICTORY = """\
currency: EUR
credit: "10.00"
limits:
  refund: {per_order: "300.00", per_customer: "200.00", days: 90}
  credit: {per_order: "5.00"}
  replacement: {days: 3}
thresholds: {notable_spent: "2000"}
actions:
  refund: {enabled: false, effect: 0.3}
  apologise_and_credit: {enabled: false}
  retention_offer: {enabled: true}
  nothing: {enabled: false}
  ask_photo: {blocked_for: {intents: [damaged_item]}}
  escalate: {only_for: {intents: [refund]}}
  close: {only_for: {intents: [thanks, refund]}, blocked_for: {intents: [refund]}}
"""


def problems(document: str) -> dict[str, int]:
    """Return the lines of what is wrong with a file, by field."""
    with pytest.raises(PolicyFileError) as refused:
        policy_file.read(document)
    return {problem.field: problem.line for problem in refused.value.problems}


def test_a_policy_file_is_read_as_it_says() -> None:
    """Every field arrives, and what is left out is as the default has it."""
    policy = policy_file.read(GOOD)
    assert (policy.currency, str(policy.agent_hour), policy.goods_share) == ("EUR", "30.00", 0.4)
    assert policy.limit(REFUND) == Limit(policy.limit(REFUND).per_order, policy.limit(REFUND).per_customer, 90)
    assert str(policy.limit(CREDIT).per_customer) == "20.00"
    assert policy.offer == Offer(10, 0.6, 180)
    assert policy.most_actions == 3
    assert policy.thresholds.valuable_orders == 20
    assert policy.rule("refund").blocked_intents == {"billing_problem"}
    assert policy.rule("refund").orders_below == 2
    assert not policy.rule("expedite").enabled
    assert policy.rule("acknowledge").enabled


def test_the_file_in_the_documentation_is_a_policy_and_the_catalogue_stands_there() -> None:
    """The example is accepted as it is printed, and the table has each action with its figures."""
    page = (Path(__file__).parents[2] / "docs" / "actions.md").read_text()
    example = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    assert policy_file.read(example).offer == Offer(10, 0.6, 180)
    for entry in ENTRIES:
        row = re.search(rf"^\| `{entry.code}` \| .* \| {entry.effect:g} \| {entry.minutes:g} \|", page, re.MULTILINE)
        assert row, entry.code


def test_every_contradiction_of_a_file_is_named_with_its_line() -> None:
    """Thirteen things in one file cannot hold together, and all thirteen are told at once."""
    assert problems(CONTRADICTORY) == {
        "credit": 2,
        "limits.refund": 4,
        "limits.refund.per_order": 4,
        "limits.credit": 5,
        "limits.credit.per_order": 5,
        "limits.replacement.days": 6,
        "thresholds.notable_spent": 7,
        "actions.refund.effect": 9,
        "actions.retention_offer.enabled": 11,
        "actions.nothing": 12,
        "actions.ask_photo.blocked_for.intents": 13,
        "actions.escalate.only_for.intents": 14,
        "actions.close.only_for.intents": 15,
    }


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("currency: USD", "currency"),
        ("colour: red", "colour"),
        ("credit: -3", "credit"),
        ('credit: "10.005"', "credit"),
        ("credit: .inf", "credit"),
        ("limits: 4", "limits"),
        ("limits: {gift: {}}", "limits.gift"),
        ("limits: {refund: {days: 0}}", "limits.refund.days"),
        ('limits: {refund: {per_order: "0"}}', "limits.refund"),
        ('limits: {credit: {per_order: "5"}}', "limits.credit"),
        ("offer: {}", "offer.percent"),
        ("offer: {percent: 100}", "offer.percent"),
        ("most_actions: 9", "most_actions"),
        ("costs: {goods_share: 1.5}", "costs.goods_share"),
        ("costs: {agent_hour: [1]}", "costs.agent_hour"),
        ("thresholds: {churn: nan}", "thresholds.churn"),
        ("actions: {refund: {enabled: maybe}}", "actions.refund.enabled"),
        ("actions: {refund: {enabled: [true]}}", "actions.refund.enabled"),
        ("actions: {give_all: {}}", "actions.give_all"),
        ("actions: {refund: {blocked_for: {intents: [everything]}}}", "actions.refund.blocked_for.intents"),
        ("actions: {refund: {blocked_for: {intents: []}}}", "actions.refund.blocked_for.intents"),
        ("actions: {refund: {blocked_for: {intents: [refund, refund]}}}", "actions.refund.blocked_for.intents"),
        ("actions: {answer_fully: {blocked_for: {intents: [thanks]}}}", "actions.answer_fully"),
        ("actions: {apologise_and_credit: {enabled: true}}", "actions.apologise_and_credit.enabled"),
        ("limits: {refund: {}}", "limits.refund"),
        ("offer: {percent: 10, least_churn: 1.0}", "offer.least_churn"),
        ('actions: {answer_fully: {blocked_for: {spent_below: "10"}}}', "actions.answer_fully"),
        ("actions: {nothing: {blocked_for: {orders_below: 2}}}", "actions.nothing"),
        ("actions: {escalate: {minutes: 1_0}}", "actions.escalate.minutes"),
        ("actions: {escalate: {effect: 1e-1}}", "actions.escalate.effect"),
        ("? [a]\n: 3", ""),
    ],
)
def test_a_wrong_line_is_named(line: str, field: str) -> None:
    """Unknown names, values out of their range, wrong types, what is there twice, and single contradictions."""
    assert problems(f"currency: EUR\n{line}\n") == {field: 2}


@pytest.mark.parametrize("code", ["ZZZ", "XXX", "eur", "EURO"])
def test_a_currency_that_nobody_pays_in_is_refused(code: str) -> None:
    """Three letters are not enough."""
    assert problems(f"currency: {code}\n") == {"currency": 1}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "# only a comment",
        "- a list",
        "just words",
        "currency: [",
        "\tcurrency: EUR",
        "currency: EUR\x00",
        "currency: &a EUR\nlimits: {refund: {per_order: *a}}",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "currency: !!python/object/apply:os.system [ls]",
        "<<: {currency: EUR}",
        "[" * 9_000,
        "{a: " * 3_000,
        "currency: EUR\n" + "#" * LARGEST,
        "--- {currency: EUR}\n--- {currency: USD}",
        "limits: {}",
    ],
    ids=lambda document: repr(document[:24]),
)
def test_what_is_no_plain_policy_is_refused_without_being_unfolded(document: str) -> None:
    """Broken, nested, aliased, tagged and overlong files are refused by name."""
    assert problems(document)


@given(st.text(alphabet="abcurency: EUR{}[]&*!|>-\n\t\"'#0123456789,.", max_size=300))
def test_no_text_breaks_the_reader(document: str) -> None:
    """Whatever is given is a policy or is refused by problems, never anything else."""
    found: list[policy_file.Problem] = []
    try:
        assert policy_file.read(document).currency
    except PolicyFileError as error:
        found = error.problems
    assert all(problem.text for problem in found)
