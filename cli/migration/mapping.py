"""Which shop a row of the predecessor belongs to, or why to none: evidence is weighed, and nothing is ever guessed.

Evidence about a customer is what rows of the source say (`tenant_id`, `store_id`), about a ticket also its customer
and the helpdesk's account that it came from. An operator's own word, a rule, stands above all evidence. Evidence that
points to different shops is a conflict: such rows stay behind until a rule decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Reason = Literal[
    "one_shop",
    "rule",
    "tenant_id",
    "store_id",
    "customer",
    "connection",
    "conflict",
    "rules_disagree",
    "store_unknown",
    "tenant_unknown",
    "no_evidence",
    "customer_unmapped",
    "no_customer",
]
"""How a row came to its shop, or why it came to none."""

WORDS: Mapping[Reason, str] = {
    "one_shop": "the operator said that there is one shop",
    "rule": "a rule of the operator names the shop",
    "tenant_id": "a row of the customer names the tenant",
    "store_id": "a row of the customer names a store that is mapped to a shop",
    "customer": "the ticket's or order's customer belongs to the shop",
    "connection": "the helpdesk's account that the ticket names belongs to the shop",
    "conflict": "the evidence points to more than one shop",
    "rules_disagree": "two rules name different shops",
    "store_unknown": "the customer's store is mapped to no shop",
    "tenant_unknown": "the customer's tenant is none of those that move",
    "no_evidence": "no row says which store or tenant the customer is of",
    "customer_unmapped": "the customer belongs to no shop, and nothing else says whose the row is",
    "no_customer": "the row names no customer",
}
"""The reasons in words."""

IDENTIFIERS: Mapping[str, str] = {
    "gorgias_domain": "gorgias",
    "zendesk_subdomain": "zendesk",
    "salesforce_org_id": "salesforce",
    "helpshift_app_id": "helpshift",
    "intercom_workspace_id": "intercom",
    "freshdesk_domain": "freshdesk",
}
"""The names under which the predecessor kept helpdesks' accounts, in webhook identifiers and in tickets' own fields."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one row says about a customer: a store or a tenant, and the table in which the row stands."""

    kind: Literal["store", "tenant"]
    value: str
    table: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a row goes.

    Attributes:
        slug: the shop; empty when the row stays behind.
        reason: how it was found, or why there is none.
        between: the shops that evidence points to, when they are more than one.
        evidence: the stores or tenants that nobody mapped, for the operator to see.
    """

    slug: str
    reason: Reason
    between: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerRule:
    """An operator's word about customers: exactly one of an id, a prefix, or a range of whole numbers (inclusive)."""

    slug: str
    id: str = ""
    prefix: str = ""
    first: int | None = None
    last: int | None = None

    def matches(self, customer: str) -> bool:
        """Tell whether the rule is about that customer."""
        if self.id:
            return customer == self.id
        if self.prefix:
            return customer.startswith(self.prefix)
        if self.first is None or self.last is None or not (customer.isascii() and customer.isdigit()):
            return False
        return self.first <= int(customer) <= self.last


@dataclass(frozen=True, slots=True)
class TicketRule:
    """An operator's word about tickets: a tag that they carry, or a value of one of their own fields."""

    slug: str
    tag: str = ""
    field: str = ""
    value: str = ""

    def matches(self, tags: Sequence[str], fields: Mapping[str, str]) -> bool:
        """Tell whether the rule is about a ticket with these tags and fields."""
        return self.tag in tags if self.tag else fields.get(self.field) == self.value


@dataclass(frozen=True, slots=True)
class Rules:
    """All that decides; a plan carries it, so that a run decides alike.

    Attributes:
        one_shop: the shop of every row, when the operator said that there is but one.
        stores: the shop of each store by `store_id`.
        tenants: the shop of each of the predecessor's tenants by id.
        accounts: the shop of each helpdesk's account by "name=value", for example "gorgias_domain=harbour"; empty for
            the account of a shop that does not move.
        customers: the operator's rules about customers.
        tickets: the operator's rules about tickets.
        channels: the channel of Rapport for a channel that only the source has.
        statuses: the same for statuses.
        priorities: the same for priorities.
        currency: the currency of sales that name none; empty leaves them behind.
        net: whether the amounts of sales have the discount taken off already.
    """

    one_shop: str = ""
    stores: Mapping[str, str] = field(default_factory=dict)
    tenants: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    customers: tuple[CustomerRule, ...] = ()
    tickets: tuple[TicketRule, ...] = ()
    channels: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    priorities: Mapping[str, str] = field(default_factory=dict)
    currency: str = ""
    net: bool = False


def place_customer(rules: Rules, customer: str, evidence: Iterable[Evidence]) -> Placement:
    """Say whose a customer is; rules come first, then all evidence must agree."""
    if rules.one_shop:
        return Placement(rules.one_shop, "one_shop")
    said = {rule.slug for rule in rules.customers if rule.matches(customer)}
    if said:
        return _single(said, "rule", "rules_disagree")
    shops: dict[str, Reason] = {}
    unmapped: list[Evidence] = []
    for one in evidence:
        known = rules.tenants if one.kind == "tenant" else rules.stores
        if slug := known.get(one.value):
            # What names the tenant itself is the stronger word for the same shop.
            shops[slug] = "tenant_id" if one.kind == "tenant" else shops.get(slug, "store_id")
        else:
            unmapped.append(one)
    names = tuple(sorted({f"{one.kind} {one.value}" for one in unmapped}))
    # A store that nobody mapped may be another shop: it contradicts as well.
    if len(shops) > 1 or (shops and unmapped):
        return Placement("", "conflict", tuple(sorted(shops)), names)
    if shops:
        ((slug, reason),) = shops.items()
        return Placement(slug, reason)
    if unmapped:
        unknown: Reason = "tenant_unknown" if any(one.kind == "tenant" for one in unmapped) else "store_unknown"
        return Placement("", unknown, evidence=names)
    return Placement("", "no_evidence")


def place_ticket(rules: Rules, customer: Placement | None, tags: Sequence[str], fields: Mapping[str, str]) -> Placement:
    """Say whose a ticket is: by a rule, else by its customer and the account it names, which must not contradict.

    A ticket's own account also decides where its customer is of several shops or of none. `customer` is None for a
    ticket without one; `fields` are the texts among the ticket's own fields.
    """
    if rules.one_shop:
        return Placement(rules.one_shop, "one_shop")
    said = {rule.slug for rule in rules.tickets if rule.matches(tags, fields)}
    if said:
        return _single(said, "rule", "rules_disagree")
    accounts = [account(name, fields[name]) for name in IDENTIFIERS if name in fields]
    named = {slug for one in accounts if (slug := rules.accounts.get(one))}
    owner = customer.slug if customer else ""
    if strange := tuple(one for one in accounts if _of_another(rules, one)):
        return Placement("", "conflict", tuple(sorted(named | ({owner} - {""}))), strange)
    if named and owner and named != {owner}:
        return Placement("", "conflict", tuple(sorted(named | {owner})))
    if named and not owner:
        return _single(named, "connection", "conflict")
    return _of_customer(customer)


def place_order(rules: Rules, customer: Placement | None) -> Placement:
    """Say whose an order is: its customer's; one without a customer is nobody's, also where there is one shop."""
    if rules.one_shop and customer is not None:
        return Placement(rules.one_shop, "one_shop")
    return _of_customer(customer)


def account(name: str, value: str) -> str:
    """Return how an account is written in `Rules.accounts`; upper and lower case are one, and so are host and label."""
    short = value.strip().lower()
    for host in (".gorgias.com", ".zendesk.com", ".freshdesk.com", ".helpshift.com"):
        short = short.removesuffix(host)
    return f"{name}={short}"


def _of_another(rules: Rules, one: str) -> bool:
    """Tell whether an account is of a shop that does not move: others of its helpdesk are mapped, and it is not."""
    kind = one.partition("=")[0] + "="
    return not rules.accounts.get(one) and any(known.startswith(kind) for known in rules.accounts)


def _of_customer(customer: Placement | None) -> Placement:
    if customer is None:
        return Placement("", "no_customer")
    if customer.slug:
        return Placement(customer.slug, "customer")
    if customer.reason == "conflict":
        return customer
    return Placement("", "customer_unmapped", evidence=customer.evidence)


def _single(slugs: set[str], reason: Reason, otherwise: Reason) -> Placement:
    if len(slugs) == 1:
        return Placement(next(iter(slugs)), reason)
    return Placement("", otherwise, tuple(sorted(slugs)))
