"""What a policy of actions must not say at once: every contradiction, with the field that it is seen at."""

from collections.abc import Iterator
from dataclasses import replace

from services.recommendations.action_policy import CREDIT, GIFTS, OFFER, REFUND, REPLACEMENT, ActionPolicy, Limit, Rule
from services.recommendations.catalogue import ALWAYS, BY_CODE, ENTRIES

Contradiction = tuple[str, str]
"""A field, and what contradicts what."""

_GIVING = {gift: [entry.code for entry in ENTRIES if entry.gives == gift] for gift in GIFTS}


def contradictions(policy: ActionPolicy, stated: frozenset[str]) -> Iterator[Contradiction]:
    """Yield every contradiction of a policy; `stated` are the fields that its file names."""
    yield from _limits(policy)
    yield from _credit(policy, stated)
    yield from _offer(policy, stated)
    limits = policy.thresholds
    if limits.notable_spent > limits.valuable_spent:
        text = f"A notable customer ({limits.notable_spent}) would have spent more than a valuable one"
        yield "thresholds.notable_spent", f"{text} ({limits.valuable_spent})."
    for code, rule in policy.rules.items():
        yield from _rule(code, rule, stated)


def _limits(policy: ActionPolicy) -> Iterator[Contradiction]:
    for gift, limit in policy.limits.items():
        path = f"limits.{gift}"
        if limit == Limit():
            yield path, "This limit says nothing; give it per_order, or per_customer and days."
        if (limit.per_customer is None) != (limit.days is None):
            missing, there = ("days", "per_customer") if limit.days is None else ("per_customer", "days")
            yield f"{path}.{there}", f"{there} says nothing without {missing}."
        if limit.per_order is not None and limit.per_customer is not None and limit.per_order > limit.per_customer:
            text = f"An order may get {limit.per_order}, but its customer only {limit.per_customer}"
            yield f"{path}.per_order", f"{text} in {limit.days} days."
        if gift in {REFUND, REPLACEMENT} and 0 in {limit.per_order, limit.per_customer}:
            # "Never" is said by the action itself, where everybody looks for it.
            for code in _GIVING[gift]:
                if policy.rule(code).enabled:
                    yield path, f"The limit is 0 while {code} is enabled; say actions.{code}.enabled: false."
        yield from _all_disabled(policy, gift, path)


def _all_disabled(policy: ActionPolicy, gift: str, path: str) -> Iterator[Contradiction]:
    if not any(policy.rule(code).enabled for code in _GIVING[gift]):
        yield path, f"There is a limit, but {' and '.join(_GIVING[gift])} is disabled."


def _credit(policy: ActionPolicy, stated: frozenset[str]) -> Iterator[Contradiction]:
    enabled = _enabled(policy, CREDIT, stated)
    limit = policy.limit(CREDIT)
    if not policy.credit:
        if enabled:
            yield f"actions.{_GIVING[CREDIT][0]}.enabled", "The action is enabled, but the policy gives no credit."
        if CREDIT in policy.limits:
            yield f"limits.{CREDIT}", "There is a limit on credits, but the policy gives no credit."
        return
    if enabled is False:
        yield "credit", f"The policy gives a credit, but actions.{_GIVING[CREDIT][0]} is disabled."
    for name, most in (("per_order", limit.per_order), ("per_customer", limit.per_customer)):
        if most is not None and policy.credit > most:
            yield f"limits.{CREDIT}.{name}", f"A credit is {policy.credit}, but the limit is {most}."


def _offer(policy: ActionPolicy, stated: frozenset[str]) -> Iterator[Contradiction]:
    enabled = _enabled(policy, OFFER, stated)
    if policy.offer is None and enabled:
        yield f"actions.{_GIVING[OFFER][0]}.enabled", "The action is enabled, but the policy holds no offer."
    if policy.offer is not None and policy.offer.least_churn >= 1:
        yield "offer.least_churn", "Nobody's churn is above 1, so the offer is made to nobody."
    if policy.offer is not None and enabled is False:
        yield "offer", f"The policy holds an offer, but actions.{_GIVING[OFFER][0]} is disabled."


def _enabled(policy: ActionPolicy, gift: str, stated: frozenset[str]) -> bool | None:
    """Return what the file says of the one action that gives this; None when it says nothing."""
    (code,) = _GIVING[gift]
    return policy.rule(code).enabled if f"actions.{code}.enabled" in stated else None


def _rule(code: str, rule: Rule, stated: frozenset[str]) -> Iterator[Contradiction]:
    path = f"actions.{code}"
    if code in ALWAYS and replace(rule, effect=None, minutes=None) != Rule():
        yield path, "This is what is left when nothing else may be done; it is always there."
        return
    if not rule.enabled:
        said = [name for name in ("effect", "minutes", "blocked_for", "only_for") if f"{path}.{name}" in stated]
        for name in said:
            yield f"{path}.{name}", f"The action is disabled, so {name} says nothing."
        return
    for intent in sorted(rule.blocked_intents & rule.only_intents):
        yield f"{path}.only_for.intents", f"{intent} is in only_for and in blocked_for."
    kinds = {intent.value for intent in BY_CODE[code].intents}
    if kinds and kinds <= rule.blocked_intents:
        yield f"{path}.blocked_for.intents", "All that the action is for is blocked, while it is enabled."
    if kinds and rule.only_intents and not kinds & rule.only_intents:
        there = ", ".join(sorted(kinds))
        yield f"{path}.only_for.intents", f"The action is for none of these; it is for {there}."
