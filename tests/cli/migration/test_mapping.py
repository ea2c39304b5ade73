"""Whose a row is: rules before evidence, agreement or nothing, and no guess."""

from hypothesis import given
from hypothesis import strategies as st

from cli.migration.mapping import (
    CustomerRule,
    Evidence,
    Placement,
    Rules,
    TicketRule,
    account,
    place_customer,
    place_order,
    place_ticket,
)

RULES = Rules(
    stores={"s1": "yarns", "s2": "bikes"},
    tenants={"t1": "yarns", "t2": "bikes"},
    accounts={"gorgias_domain=yarns": "yarns", "zendesk_subdomain=bikes": "bikes"},
)


def store(value: str, table: str = "facts") -> Evidence:
    """Return what a row says of a store."""
    return Evidence("store", value, table)


def tenant(value: str, table: str = "facts") -> Evidence:
    """Return what a row says of a tenant."""
    return Evidence("tenant", value, table)


def test_agreeing_evidence_names_the_shop_and_the_strongest_reason() -> None:
    """Store and tenant of the same shop agree; the tenant is the stronger word, whichever comes first."""
    assert place_customer(RULES, "c", [store("s1")]) == Placement("yarns", "store_id")
    assert place_customer(RULES, "c", [store("s1"), tenant("t1")]) == Placement("yarns", "tenant_id")
    assert place_customer(RULES, "c", [tenant("t1"), store("s1", "profiles")]) == Placement("yarns", "tenant_id")


def test_a_customer_of_two_stores_is_a_conflict() -> None:
    """Neither shop gets the customer; a store that nobody mapped contradicts as well."""
    assert place_customer(RULES, "c", [store("s1"), store("s2")]) == Placement("", "conflict", ("bikes", "yarns"))
    found = place_customer(RULES, "c", [store("s1"), store("s9")])
    assert (found.slug, found.reason, found.evidence) == ("", "conflict", ("store s9",))


def test_what_nobody_maps_is_told_with_its_reason() -> None:
    """Without evidence, with an unknown store, with an unknown tenant: three reasons."""
    assert place_customer(RULES, "c", []).reason == "no_evidence"
    assert place_customer(RULES, "c", [store("s9")]) == Placement("", "store_unknown", (), ("store s9",))
    assert place_customer(RULES, "c", [tenant("t9")]).reason == "tenant_unknown"


def test_a_rule_stands_above_evidence_and_two_rules_that_disagree_decide_nothing() -> None:
    """An operator's word resolves conflicts, but only one word can count."""
    rules = Rules(
        stores=RULES.stores,
        customers=(
            CustomerRule("yarns", id="7"),
            CustomerRule("bikes", first=5, last=7),
            CustomerRule("x", prefix="A-"),
        ),
    )
    assert place_customer(rules, "6", [store("s1")]) == Placement("bikes", "rule")
    assert place_customer(rules, "A-1", [store("s1"), store("s2")]) == Placement("x", "rule")
    assert place_customer(rules, "7", []) == Placement("", "rules_disagree", ("bikes", "yarns"))
    assert place_customer(rules, "8", []).reason == "no_evidence"
    assert place_customer(rules, "٦", []).reason == "no_evidence", "other digits are no number of a range"


def test_a_ticket_follows_its_customer_unless_its_account_contradicts() -> None:
    """The account that a ticket names decides where the customer does not, and is a conflict where it differs."""
    yarns = Placement("yarns", "store_id")
    assert place_ticket(RULES, yarns, (), {}) == Placement("yarns", "customer")
    assert place_ticket(RULES, yarns, (), {"gorgias_domain": "Yarns.gorgias.com"}).slug == "yarns"
    assert place_ticket(RULES, yarns, (), {"zendesk_subdomain": "bikes"}) == Placement(
        "", "conflict", ("bikes", "yarns")
    )
    nobody = Placement("", "no_evidence")
    assert place_ticket(RULES, nobody, (), {"zendesk_subdomain": "bikes"}) == Placement("bikes", "connection")
    both = Placement("", "conflict", ("bikes", "yarns"))
    assert place_ticket(RULES, both, (), {"zendesk_subdomain": "bikes"}).slug == "bikes"
    assert place_ticket(RULES, both, (), {}) == both
    assert place_ticket(RULES, None, (), {}).reason == "no_customer"
    assert place_ticket(RULES, nobody, (), {"order_number": "bikes"}).reason == "customer_unmapped"


def test_a_ticket_of_an_account_that_does_not_move_goes_to_no_other_shop() -> None:
    """Neither its customer's shop nor the only other account takes it; where no account is known it says nothing."""
    yarns = Placement("yarns", "store_id")
    strange = {"gorgias_domain": "closed"}
    assert place_ticket(RULES, yarns, (), strange) == Placement("", "conflict", ("yarns",), ("gorgias_domain=closed",))
    assert place_ticket(RULES, None, (), strange | {"zendesk_subdomain": "bikes"}).slug == ""
    known = Rules(accounts={"zendesk_subdomain=closed": ""})
    assert place_ticket(known, yarns, (), {"zendesk_subdomain": "closed"}).reason == "conflict"
    assert place_ticket(Rules(), yarns, (), strange).slug == "yarns"
    assert place_ticket(Rules(one_shop="yarns"), None, (), strange).slug == "yarns"


def test_a_tickets_rule_stands_above_all() -> None:
    """A tag or a field that the operator names decides, also against the customer."""
    rules = Rules(stores=RULES.stores, tickets=(TicketRule("bikes", tag="velo"), TicketRule("x", field="f", value="1")))
    yarns = Placement("yarns", "store_id")
    assert place_ticket(rules, yarns, ("velo",), {}) == Placement("bikes", "rule")
    assert place_ticket(rules, yarns, (), {"f": "1"}) == Placement("x", "rule")
    assert place_ticket(rules, yarns, ("velo",), {"f": "1"}).reason == "rules_disagree"
    assert place_ticket(rules, yarns, ("other",), {"f": "2"}) == Placement("yarns", "customer")


def test_the_only_shop_gets_everything_but_orders_of_nobody() -> None:
    """One shop needs no evidence, but an order without a customer is of no use to anybody."""
    rules = Rules(one_shop="yarns")
    assert place_customer(rules, "c", [store("s1")]).slug == "yarns"
    assert place_ticket(rules, None, (), {}).slug == "yarns"
    assert place_order(rules, Placement("yarns", "one_shop")).slug == "yarns"
    assert place_order(rules, None).reason == "no_customer"


def test_an_account_is_the_same_with_and_without_its_host() -> None:
    """Payloads named accounts by host, labels stand in the registry."""
    assert account("gorgias_domain", " Yarns.gorgias.com ") == account("gorgias_domain", "yarns")


PLACES = st.lists(
    st.builds(
        Evidence, st.sampled_from(["store", "tenant"]), st.sampled_from(["s1", "s2", "t1", "t2", "?"]), st.just("f")
    ),
    max_size=5,
)


@given(PLACES)
def test_a_shop_is_named_only_by_unanimous_evidence(evidence: list[Evidence]) -> None:
    """Whatever rows say: a shop comes out only where each of them names it, and never where there are none."""
    known = {("store", "s1"): "yarns", ("store", "s2"): "bikes", ("tenant", "t1"): "yarns", ("tenant", "t2"): "bikes"}
    said = {known.get((one.kind, one.value), "") for one in evidence}
    found = place_customer(RULES, "c", evidence)
    assert found.slug == (next(iter(said)) if len(said) == 1 else "")
    assert found.slug or found.reason in {"conflict", "store_unknown", "tenant_unknown", "no_evidence"}
