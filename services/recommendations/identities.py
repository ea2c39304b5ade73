"""Who is who: which of a shop's customer ids are one customer, by stable ids and by what people decided.

The answer is a function of everything that is stated, never of the order in which it came. Evidence is weighed by its
strength: first ids at providers, then e-mail addresses, then telephone numbers. At each step those who share an id of
that kind are joined, unless among them two contradict each other: by different ids at one provider, or for telephone
numbers by different addresses. Then nobody of them is joined by that step. A name is no evidence.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import phonenumbers

EMAIL, PHONE, PROVIDER = "email", "phone", "provider:"

MOST_HOLDERS = 10
"""An id of more customers than this is nobody's own: an address of a marketplace, the telephone of a company."""

KEPT_APART, TOO_MANY = "kept apart", "shared by too many"

_ADDRESS = re.compile(r"[^@\s<>\"(),:;\\]{1,64}@[^@\s<>\"(),:;\\]{1,255}")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_DEVIANT = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")
"""Letters that the older rules of international domains turn into others or drop, and the newer ones do not."""
_DEVIANT_LABEL = re.compile(r"(?!-)[\w\u200c\u200d-]{1,63}(?<!-)")
_KINDS = re.compile(r"email|phone|provider:[a-z0-9_.-]{1,50}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A stable id of a customer: `kind` is "email", "phone" or "provider:…"; `value` is normalised."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """An id that a customer shares, and with whom."""

    kind: str
    value: str
    shared_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """A customer who is joined to a survivor by evidence."""

    customer_id: str
    survivor_id: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Another customer with whom an id is shared without being one: what speaks against it."""

    customer_id: str
    kind: str
    value: str
    against: str


@dataclass(frozen=True, slots=True)
class Stated:
    """What is stated about some customers: all who are connected to each other by any of it.

    Attributes:
        identities: by customer.
        merged: whom people merged into whom, by the merged customer.
        apart: customers whom only people join.
        known: customers who have a contact or orders of their own; they survive rather than a mere id of a helpdesk.
    """

    identities: Mapping[str, frozenset[Identity]]
    merged: Mapping[str, str]
    apart: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()

    @property
    def customers(self) -> frozenset[str]:
        """Everybody who is named."""
        named = (self.identities, self.merged, self.merged.values(), self.apart, self.known)
        return frozenset[str]().union(*named)

    def survivor(self, group: Iterable[str]) -> str:
        """Return who of a group survives: whom people chose, else the first who is known; shops number them up."""
        chosen = frozenset(self.merged.values())
        return min(group, key=lambda one: (one not in chosen, one not in self.known, *_seniority(one)))


@dataclass(frozen=True, slots=True)
class Resolved:
    """Who is who: the survivor of each customer (itself where it is nobody else), and whom evidence joined."""

    survivors: Mapping[str, str]
    joined: tuple[Joined, ...]


def normalise(kind: str, value: str) -> str | None:
    """Return a stable id in the one form in which it is compared; None when it is no such id.

    Addresses lose their case, and no letter becomes another one; their domain is in ASCII where that says the same as
    it was, so that no two domains become one. Telephone numbers must be international and become E.164.
    """
    text = value.strip()
    if not _KINDS.fullmatch(kind) or "\x00" in text:
        return None
    if kind == EMAIL:
        return _email(text)
    if kind == PHONE:
        return _phone(text)
    return text or None


def _email(text: str) -> str | None:
    if not _ADDRESS.fullmatch(text):
        return None
    local, _, domain = text.rpartition("@")
    known = _domain(domain.rstrip("."))
    return None if known is None else f"{local.lower()}@{known}"


def _domain(text: str) -> str | None:
    """Return a domain in ASCII, or one that could not stay apart from others by that in lower case."""
    if _DEVIANT.search(text):
        known, label = text.lower(), _DEVIANT_LABEL
    else:
        try:
            known, label = text.encode("idna").decode("ascii").lower(), _LABEL
        except UnicodeError:
            return None
    labels = known.split(".")
    return known if len(labels) > 1 and all(label.fullmatch(one) for one in labels) else None


def _phone(text: str) -> str | None:
    if not text.startswith("+"):
        return None
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number) or number.extension:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def resolve(stated: Stated) -> Resolved:
    """Return who is who."""
    trees = _Groups(stated.customers)
    for merged, into in sorted(stated.merged.items()):
        trees.join(merged, into)
    root_of = {customer: _root(customer, stated.merged) for customer in stated.customers}
    groups = _Groups(root_of.values())
    held = _by_root(stated, root_of)
    for kinds, contradict in _STEPS:
        _join_by(groups, held, kinds, contradict)
    survivors = {customer: stated.survivor(groups.members(root)) for customer, root in root_of.items()}
    joined = tuple(
        Joined(root, survivor, _evidence(root, groups.members(root), held))
        for root in sorted(set(root_of.values()))
        if (survivor := survivors[root]) != root
    )
    return Resolved(survivors, joined)


def matches(customer_id: str, stated: Stated, survivors: Mapping[str, str]) -> list[Match]:
    """Return with whom a customer shares an id without being one, and what speaks against it."""
    mine = [member for member, survivor in survivors.items() if survivor == survivors.get(customer_id, customer_id)]
    own = frozenset[Identity]().union(*(stated.identities.get(member, frozenset()) for member in mine))
    found = []
    for other, theirs in sorted(stated.identities.items()):
        if other in mine:
            continue
        for shared in sorted(own & theirs, key=_strength):
            holders = sum(shared in held for held in stated.identities.values())
            if holders > MOST_HOLDERS:
                against = TOO_MANY
            elif other in stated.apart or any(member in stated.apart for member in mine):
                against = KEPT_APART
            else:
                against = _contradiction(own, theirs) or "a contradiction among others who share it"
            found.append(Match(other, shared.kind, shared.value, against))
    return found


class _Groups:
    """Who is together with whom."""

    def __init__(self, members: Iterable[str]) -> None:
        self._group = {member: frozenset((member,)) for member in members}

    def members(self, member: str) -> frozenset[str]:
        return self._group[member]

    def join(self, one: str, other: str) -> None:
        together = self._group[one] | self._group[other]
        for member in together:
            self._group[member] = together

    def all(self) -> set[frozenset[str]]:
        return set(self._group.values())


_Held = Mapping[str, frozenset[Identity]]


def _by_root(stated: Stated, root_of: Mapping[str, str]) -> _Held:
    """Return the ids by which those are known whom people made one; without those of customers who are kept apart."""
    held: dict[str, set[Identity]] = defaultdict(set)
    holders: dict[Identity, int] = defaultdict(int)
    for identities in stated.identities.values():
        for identity in identities:
            holders[identity] += 1
    for customer, identities in stated.identities.items():
        if customer not in stated.apart:
            held[root_of[customer]] |= {one for one in identities if holders[one] <= MOST_HOLDERS}
    return {root: frozenset(identities) for root, identities in held.items()}


def _join_by(
    groups: _Groups,
    held: _Held,
    is_kind: Callable[[str], bool],
    contradict: Callable[[frozenset[Identity], frozenset[Identity]], str],
) -> None:
    """Join the groups that share an id of some kinds; where two of a connected set contradict, none of that set."""
    known = {
        group: frozenset[Identity]().union(*(held.get(one, frozenset()) for one in group)) for group in groups.all()
    }
    sharing: dict[Identity, list[frozenset[str]]] = defaultdict(list)
    for group, identities in known.items():
        for identity in identities:
            if is_kind(identity.kind):
                sharing[identity].append(group)
    sets = _Groups(_first(group) for group in known)
    by_first = {_first(group): group for group in known}
    for together in sharing.values():
        for other in together[1:]:
            sets.join(_first(together[0]), _first(other))
    for connected in sets.all():
        if len(connected) > 1 and not any(
            contradict(known[by_first[one]], known[by_first[other]]) for one, other in combinations(connected, 2)
        ):
            first, *rest = connected
            for member in rest:
                groups.join(first, member)


def _different(one: frozenset[Identity], other: frozenset[Identity], is_kind: Callable[[str], bool]) -> str:
    """Return a kind of which both have ids and share none; empty when there is none."""
    for kind in sorted({identity.kind for identity in one if is_kind(identity.kind)}):
        mine = {identity.value for identity in one if identity.kind == kind}
        theirs = {identity.value for identity in other if identity.kind == kind}
        if theirs and not mine & theirs:
            return kind
    return ""


def _of_provider(kind: str) -> bool:
    return kind.startswith(PROVIDER)


def _by_provider(one: frozenset[Identity], other: frozenset[Identity]) -> str:
    return _different(one, other, _of_provider)


def _contradiction(one: frozenset[Identity], other: frozenset[Identity]) -> str:
    return _different(one, other, lambda kind: _of_provider(kind) or kind == EMAIL)


_STEPS: Sequence[tuple[Callable[[str], bool], Callable[[frozenset[Identity], frozenset[Identity]], str]]] = (
    (_of_provider, _by_provider),
    (lambda kind: kind == EMAIL, _by_provider),
    (lambda kind: kind == PHONE, _contradiction),
)


def _evidence(customer: str, group: frozenset[str], held: _Held) -> tuple[Evidence, ...]:
    """Return the ids that a customer shares with others of the group, the strongest first."""
    found = []
    for identity in sorted(held.get(customer, frozenset()), key=_strength):
        others = tuple(sorted((one for one in group - {customer} if identity in held.get(one, ())), key=_seniority))
        if others:
            found.append(Evidence(identity.kind, identity.value, others))
    return tuple(found)


def _root(customer: str, merged: Mapping[str, str]) -> str:
    """Return whom the merges end at; of merges in a circle, whom nothing should bring about, one of the circle."""
    passed: list[str] = []
    while customer in merged:
        if customer in passed:
            return _first(passed[passed.index(customer) :])
        passed.append(customer)
        customer = merged[customer]
    return customer


def _first(group: Iterable[str]) -> str:
    """Return who stands for a group: the shortest id, and the first in order among those."""
    return min(group, key=_seniority)


def _seniority(customer: str) -> tuple[int, str]:
    return len(customer), customer


def _strength(identity: Identity) -> tuple[int, str, str]:
    rank = 0 if _of_provider(identity.kind) else 1 if identity.kind == EMAIL else 2
    return rank, identity.kind, identity.value
