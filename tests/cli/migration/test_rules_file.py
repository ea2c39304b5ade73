"""The file of rules, the predecessor's tenants, and its settings."""

from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.migration.environment import read_environment, translated
from cli.migration.mapping import CustomerRule, Rules, TicketRule
from cli.migration.rows import SourceTenant
from cli.migration.rules_file import read_rules, with_options, with_tenants

TENANT = SourceTenant("t1", "harbour", "Harbour", "s1", "gorgias", {"gorgias_domain": "harbour.gorgias.com"})


def write(tmp_path: Path, text: str) -> Path:
    """Write a file of rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_kind_of_rule_is_read(tmp_path: Path) -> None:
    """Stores, accounts, customers by id, prefix and range, tickets by tag and field, words and the currency."""
    rules = read_rules(
        write(
            tmp_path,
            "stores: {s1: harbour}\naccounts: {zendesk_subdomain=Bikes: bikes}\nstatuses: {archived: closed}\n"
            "currency: eur\nnet: true\ncustomers:\n  - {shop: harbour, id: 17}\n  - {shop: bikes, prefix: B-}\n"
            "  - {shop: bikes, from: 100, to: 199}\ntickets:\n  - {shop: bikes, tag: velo}\n"
            "  - {shop: harbour, field: brand, value: 2}\n",
        )
    )
    assert rules.stores == {"s1": "harbour"}
    assert rules.customers == (
        CustomerRule("harbour", id="17"),
        CustomerRule("bikes", prefix="B-"),
        CustomerRule("bikes", first=100, last=199),
    )
    assert rules.tickets == (TicketRule("bikes", tag="velo"), TicketRule("harbour", field="brand", value="2"))
    assert (rules.currency, rules.net, rules.statuses) == ("EUR", True, {"archived": "closed"})
    assert with_tenants(rules, []).accounts == {"zendesk_subdomain=bikes": "bikes"}


@pytest.mark.parametrize(
    "text",
    ["stores: [s1]", "shops: {a: b}", "stores: {s1: No Slug}", "- a", "customers: [{shop: a}]", "tickets: [{tag: x}]",
     "customers: [{shop: a, from: 9, to: 1}]", "a: b: c", "customers: {shop: a}"],
)  # fmt: skip
def test_what_nobody_understands_is_refused(tmp_path: Path, text: str) -> None:
    """A rule that is passed over would decide nothing, and nobody would know."""
    with pytest.raises(CommandError) as raised:
        read_rules(write(tmp_path, text))
    assert raised.value.reason == "RULES_INVALID"


def test_tenants_that_were_served_map_themselves() -> None:
    """Their id, store and account; one that was not active, or has no slug of ours, needs the operator's word."""
    rules = with_tenants(Rules(), [TENANT])
    assert (rules.tenants, rules.stores) == ({"t1": "harbour"}, {"s1": "harbour"})
    assert rules.accounts == {"gorgias_domain=harbour": "harbour"}
    closed = SourceTenant("t2", "closed", "Closed", "s2", active=False)
    odd = SourceTenant("t3", "Odd_Slug", "Odd", "s3")
    assert with_tenants(Rules(), [closed, odd]).tenants == {}
    told = with_tenants(Rules(tenants={"Odd_Slug": "odd"}, stores={"s2": "closed"}), [closed, odd])
    assert (told.tenants["t3"], told.tenants["t2"], told.stores["s3"]) == ("odd", "closed", "odd")


def test_the_operators_word_stands_above_the_tenants() -> None:
    """A tenant may go to a shop of another name."""
    rules = with_tenants(with_options(Rules(), [("s1", "new-name")], ""), [TENANT])
    assert rules.stores["s1"] == "new-name"
    assert rules.tenants["t1"] == "new-name"


def test_settings_are_translated_and_no_secret_is_shown(tmp_path: Path) -> None:
    """Weights become weights within what is proven, secrets only a word, unknown ones nothing."""
    path = tmp_path / "env"
    path.write_text(
        "# old\nexport ADMIN_KEY='very-secret-key'\nSCORING_CHURN_WEIGHT=6\nSCORING_VALUE_WEIGHT=20\nOTHER=1\n"
        "SCORING_URGENCY_WEIGHT=1.5\nTOPIC_ALERT_BOOST=many\nCACHE_TTL=3600\n",
        encoding="utf-8",
    )
    found = {one.theirs: one for one in translated(read_environment(path))}
    assert "very-secret" not in str(found)
    assert found["SCORING_CHURN_WEIGHT"].ours.endswith("--weight churn_risk=0.6")
    assert found["SCORING_VALUE_WEIGHT"].ours.endswith("customer_value=1")
    assert found["SCORING_URGENCY_WEIGHT"].ours.startswith("nothing")
    assert "no number" in found["TOPIC_ALERT_BOOST"].note
    assert "OTHER" not in found
