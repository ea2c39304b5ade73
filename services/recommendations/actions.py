"""Next best actions: what to do about a ticket, in what order, and why. Deterministic rules over a case's facts.

- An action of the catalogue is a candidate when it is for what the message is about, its precondition holds, and the
  shop's policy has it enabled, not blocked, and within its limits. Candidates are ranked by expected value, see
  `worth.py`; of those that exclude each other only the best stays, and what is worth no more than it costs is not
  recommended, unless it puts right what is wrong with the goods: that is owed.
- Priority: urgent when a valuable customer (spent more than 1,000 or bought more than 20 times, unless the policy says
  otherwise) has a missing, damaged or wrong item; high when more than 500 was spent or churn is above one half; else
  normal.
- `retention_probability` = 1 - churn (one half without evidence); minus 0.05 to 0.15 when something is wrong with the
  goods; plus 0.05 for a plain question, 0.10 when its answer is at hand; kept within 0 and 1.
- `revenue_at_risk` = lifetime value when something is wrong with the goods; lifetime value times churn for another
  complaint with churn above one half; else 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.recommendations import action_policy, facts, gifts, intents, talking, wording, worth
from services.recommendations.action_policy import DEFAULT, OFFER, REFUND, REPLACEMENT, ActionPolicy
from services.recommendations.case import Case
from services.recommendations.catalogue import ALWAYS, ENTRIES, Action
from services.recommendations.entry import REMEDY, Entry
from services.recommendations.gifts import Gift, Standing
from services.recommendations.grounds import Fact
from services.recommendations.intents import Intent
from services.recommendations.wording import Words

_LEAST_ACTIONS = 2
_HALF = 0.5
_STEP = 0.05
_WORST = 0.15
_NEW = Standing()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a case, before it gets an id and a date.

    Attributes:
        priority: urgent, high or normal.
        actions: two to four, the one that is worth most first.
        talking_points, warnings: what to say, and what to beware of; a limit that withheld an action is a warning.
        retention_probability: that the customer stays, 0 to 1.
        revenue_at_risk: money in main units.
        facts: what the actions rest on. Those of what a customer spent and of churn are for agents only.
        policy_version: the version of the shop's policy that decided.
    """

    priority: str
    actions: tuple[Action, ...]
    talking_points: tuple[str, ...]
    warnings: tuple[str, ...]
    retention_probability: float
    revenue_at_risk: float
    facts: tuple[Fact, ...] = ()
    policy_version: int = DEFAULT.version


def decide(case: Case, policy: ActionPolicy = DEFAULT, standing: Standing = _NEW) -> Decision:
    """Return what to do about a case by a policy; `standing` is the day, and what the customer was given before."""
    warnings = []
    if worth.is_abroad(case, policy) and worth.currency(case):
        text = f"The policy's amounts are in {policy.currency}, and the case in {worth.currency(case)}"
        warnings.append(f"{text}: nothing is given away, and the rest is reckoned with the default's amounts.")
        policy = action_policy.abroad(policy)
    candidates = _candidates(case, policy, standing)
    chosen = _chosen(candidates, policy, owed=case.critical)
    behind = {fact for action in chosen for fact in action.facts}
    stated = (fact for candidate in candidates for fact in candidate.gift.facts)
    known = {fact.id: fact for fact in (*wording.agents_facts(case), *stated)}
    warnings += talking.warnings(case, policy)
    warnings += [one.gift.withheld for one in candidates if not one.gift.allowed and one.gift.withheld]
    return Decision(
        priority=priority(case, policy),
        actions=chosen,
        talking_points=talking.points(case),
        warnings=tuple(dict.fromkeys(warnings)),
        retention_probability=retention_probability(case),
        revenue_at_risk=revenue_at_risk(case),
        facts=tuple(fact for fact in known.values() if fact.id in behind),
        policy_version=policy.version,
    )


def priority(case: Case, policy: ActionPolicy = DEFAULT) -> str:
    """Return urgent, high or normal."""
    customer = case.customer
    if customer is None:
        return "normal"
    if case.critical and talking.valuable(case, policy):
        return "urgent"
    limits = policy.thresholds
    if customer.lifetime_value > limits.notable_spent or (customer.churn or 0.0) > limits.churn:
        return "high"
    return "normal"


def retention_probability(case: Case) -> float:
    """Return the probability that the customer stays, 0 to 1."""
    churn = case.customer.churn if case.customer else None
    kept = 1.0 - (_HALF if churn is None else churn)
    if case.critical:
        wrong = sum(intent in intents.CRITICAL for intent in case.intents)
        kept -= min(_STEP * (wrong + (case.waiting > 1)), _WORST)
    elif all(intent in intents.QUESTIONS for intent in case.intents):
        kept += 2 * _STEP if case.parcel or case.products else _STEP
    return round(min(max(kept, 0.0), 1.0), 4)


def revenue_at_risk(case: Case) -> float:
    """Return the money at risk in main units."""
    customer = case.customer
    if customer is None:
        return 0.0
    churn = customer.churn or 0.0
    if case.critical:
        return round(customer.lifetime_value, 2)
    if case.complaint and churn > _HALF:
        return round(customer.lifetime_value * churn, 2)
    return 0.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An action that fits, and what it may give away."""

    entry: Entry
    action: Action
    gift: Gift


def _candidates(case: Case, policy: ActionPolicy, standing: Standing) -> list[_Candidate]:
    """Return what fits the case, the one that is worth most first; what a limit withholds is among it."""
    words, stake = wording.words(case, policy), worth.stake(case, policy)
    found = []
    for entry in ENTRIES:
        intent = _intent(entry, case)
        if intent is not None and _fits(entry, case, policy):
            gift = gifts.gift(entry.gives, case, policy, standing)
            endangered = stake.total * worth.SEVERITY[intent]
            found.append(_Candidate(entry, _action(entry, gift, endangered, words, policy), gift))
    return sorted(found, key=lambda one: -one.action.expected_value)


def _intent(entry: Entry, case: Case) -> Intent | None:
    """Return the gravest matter of the case that an action is for; None when it is for none of them."""
    fitting = [intent for intent in case.intents if not entry.intents or intent in entry.intents]
    return max(fitting, key=lambda intent: worth.SEVERITY[intent], default=None)


def _fits(entry: Entry, case: Case, policy: ActionPolicy) -> bool:
    if not entry.when(case):
        return False
    if (entry.whom == "valuable" and not talking.valuable(case, policy)) or (
        entry.whom == "leaving" and not talking.leaving(case, policy)
    ):
        return False
    return entry.code in ALWAYS or _allowed(entry, case, policy)


def _allowed(entry: Entry, case: Case, policy: ActionPolicy) -> bool:
    """Tell whether the policy has nothing against an action in this case."""
    rule = policy.rule(entry.code)
    about = {intent.value for intent in case.intents}
    if not rule.enabled or about & rule.blocked_intents or (rule.only_intents and not about & rule.only_intents):
        return False
    spent = case.customer.lifetime_value if case.customer else 0.0
    orders = case.customer.total_orders if case.customer else 0
    return spent >= (rule.spent_below or 0) and orders >= (rule.orders_below or 0)


def _action(entry: Entry, gift: Gift, endangered: float, words: Words, policy: ActionPolicy) -> Action:
    rule = policy.rule(entry.code)
    effect = entry.effect if rule.effect is None else rule.effect
    minutes = entry.minutes if rule.minutes is None else rule.minutes
    cost = worth.work_cost(minutes, policy) + entry.shipments * float(policy.shipment) + gift.cost
    spoken = replace(words, said={**words.said, "amount": _amount(entry, gift)})
    amount = words.behind["open"] if gift.amount_minor is not None and entry.gives in {REFUND, REPLACEMENT} else ()
    return Action(
        entry.code,
        spoken.fill(entry.text),
        spoken.fill(entry.reason),
        "" if gift.partial else spoken.fill(entry.said),
        expected_value=round(effect * endangered - cost, 2),
        effect=effect,
        endangered=round(endangered, 2),
        cost=round(cost, 2),
        gives=entry.gives,
        amount_minor=gift.amount_minor,
        currency=gift.currency,
        percent=policy.offer.percent if policy.offer and entry.gives == OFFER else 0,
        facts=tuple(
            dict.fromkeys((*words.facts(entry.text, entry.reason), *amount, *(fact.id for fact in gift.facts)))
        ),
    )


def _amount(entry: Entry, gift: Gift) -> str:
    """Return the amount as sentences name it; that of a refund is left out where it is all that was paid."""
    if gift.amount_minor is None:
        return ""
    amount = facts.amount(gift.amount_minor, gift.currency)
    if entry.gives != REFUND:
        return amount
    return f"at most {amount} of " if gift.partial else ""


def _chosen(candidates: Iterable[_Candidate], policy: ActionPolicy, *, owed: bool) -> tuple[Action, ...]:
    """Return the actions that are worth more than they cost, and at least two with those that give nothing away.

    With `owed` the best remedy is always among them.
    """
    best: list[_Candidate] = []
    for one in candidates:
        rivals = {other.entry.group for other in best if other.entry.group}
        if one.gift.allowed and one.entry.group not in rivals:
            best.append(one)
    remedy = [one.action for one in best if owed and one.entry.group == REMEDY]
    worthy = [one.action for one in best if one.action.expected_value > 0 and one.action not in remedy]
    chosen = [*remedy, *worthy][: policy.most_actions]
    rest = [one.action for one in best if one.action not in chosen and not one.entry.gives]
    chosen += rest[: max(_LEAST_ACTIONS - len(chosen), 0)]
    return tuple(sorted(chosen, key=lambda action: -action.expected_value))
