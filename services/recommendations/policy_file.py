"""The policy of actions as a YAML file: read strictly, every mistake and every contradiction named with its line.

Anchors, aliases and tags are refused: a file of a few lines must not unfold into millions, and only plain values count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from services.recommendations import policy_values
from services.recommendations.action_policy import (
    CREDIT,
    DEFAULT,
    REFUND,
    REPLACEMENT,
    ActionPolicy,
    Limit,
    Offer,
    Rule,
    Thresholds,
)
from services.recommendations.catalogue import BY_CODE
from services.recommendations.policy_checks import contradictions
from services.recommendations.policy_values import ValueMistakeError

LARGEST = 16_384
"""Characters of a policy file."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C where it is there: what somebody sends must not keep a processor busy for seconds."""

_DEEPEST = 6
_MOST_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a policy file: in which line (0 for the file as a whole), at which field, and how."""

    line: int
    field: str
    text: str


class PolicyFileError(ValueError):
    """A policy file cannot be taken; `problems` says why, in the order of lines."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = sorted(problems, key=lambda one: (one.line, one.field))[:_MOST_PROBLEMS]


def read(document: str) -> ActionPolicy:
    """Return the policy of a file; what the file leaves out is as the default has it.

    Raises:
        PolicyFileError: it is no YAML, holds something unknown or out of its range, or contradicts itself.
    """
    sheet = _Sheet()
    root = _composed(document)
    policy = _policy(sheet, sheet.mapping(root, "", _FIELDS) if root is not None else {})
    if root is None:
        sheet.note(0, "", "The file holds no policy.")
    if not sheet.problems:
        for path, text in contradictions(policy, frozenset(sheet.lines)):
            sheet.note(sheet.line(path), path, text)
    if sheet.problems:
        raise PolicyFileError(sheet.problems)
    return policy


_FIELDS = ("currency", "costs", "least_stake", "credit", "limits", "offer", "thresholds", "most_actions", "actions")
_LIMITED = (REFUND, REPLACEMENT, CREDIT)
_RULES = ("enabled", "effect", "minutes", "blocked_for", "only_for")


def _composed(document: str) -> yaml.Node | None:
    """Return the tree of a file."""
    if len(document) > LARGEST:
        raise PolicyFileError([Problem(0, "", f"The file is longer than {LARGEST} characters.")])
    try:
        problems = list(_unsafe(document))
        if problems:
            raise PolicyFileError(problems)
        tree: yaml.Node | None = yaml.compose(document, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise PolicyFileError([Problem(line, "", "This is no YAML of a single document.")]) from error
    return tree


def _unsafe(document: str) -> Iterator[Problem]:
    """Yield what a plain file has no need of: anchors, aliases, tags, depth. The events come one by one, not nested."""
    depth = 0
    for event in yaml.parse(document, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if depth > _DEEPEST:
            yield Problem(line, "", "This is nested too deeply.")
            return
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield Problem(line, "", "Anchors and aliases are not taken; write the values out.")
        if getattr(event, "tag", None):
            yield Problem(line, "", "Tags are not taken.")


@dataclass(slots=True)
class _Sheet:
    """What was found in a file so far: the lines of its fields, and the problems."""

    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def note(self, line: int, path: str, text: str) -> None:
        self.problems.append(Problem(line, path, text))

    def line(self, path: str) -> int:
        """Return the line of a field, or of the nearest field around it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 0)

    def mapping(self, node: yaml.Node | None, path: str, allowed: tuple[str, ...]) -> dict[str, yaml.Node]:
        """Return the fields of a mapping; what is unknown or there twice is noted."""
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.note(node.start_mark.line + 1, path, "This must be a mapping of names to values.")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            full = f"{path}.{name[:64]}" if path else name[:64]
            if name not in allowed:
                self.note(line, full, f"There is no such field here; there are {', '.join(allowed)}.")
            elif name in found:
                self.note(line, full, f"This is there twice; line {self.lines[full]} says it first.")
            else:
                found[name], self.lines[full] = value, line
        return found

    def value(self, fields: Mapping[str, yaml.Node], path: str, default: Any, kind: Any, **bounds: Any) -> Any:
        """Return a field's value by the function of its kind, or the default where it is left out or wrong."""
        node = fields.get(path.rpartition(".")[2])
        if node is None:
            return default
        try:
            return kind(node, **bounds)
        except ValueMistakeError as mistake:
            self.note(node.start_mark.line + 1, path, str(mistake))
            return default


def _policy(sheet: _Sheet, fields: Mapping[str, yaml.Node]) -> ActionPolicy:
    amount, share = policy_values.amount, policy_values.share
    currency = sheet.value(fields, "currency", "", policy_values.currency)
    if "currency" not in fields:
        sheet.note(0, "currency", "The currency of the policy's amounts is missing.")
    costs = sheet.mapping(fields.get("costs"), "costs", ("agent_hour", "goods_share", "shipment"))
    return ActionPolicy(
        currency=currency,
        agent_hour=sheet.value(costs, "costs.agent_hour", DEFAULT.agent_hour, amount, currency=currency),
        goods_share=sheet.value(costs, "costs.goods_share", DEFAULT.goods_share, share),
        shipment=sheet.value(costs, "costs.shipment", DEFAULT.shipment, amount, currency=currency),
        least_stake=sheet.value(fields, "least_stake", DEFAULT.least_stake, amount, currency=currency),
        credit=sheet.value(fields, "credit", DEFAULT.credit, amount, currency=currency),
        limits=_limits(sheet, fields.get("limits"), currency),
        offer=_offer(sheet, fields.get("offer")),
        thresholds=_thresholds(sheet, fields.get("thresholds"), currency),
        most_actions=sheet.value(
            fields, "most_actions", DEFAULT.most_actions, policy_values.whole, least=2, most=DEFAULT.most_actions
        ),
        rules=_rules(sheet, fields.get("actions"), currency),
    )


def _limits(sheet: _Sheet, node: yaml.Node | None, currency: str) -> Mapping[str, Limit]:
    amount, found = policy_values.amount, {}
    for gift, limited in sheet.mapping(node, "limits", _LIMITED).items():
        path = f"limits.{gift}"
        given = sheet.mapping(limited, path, ("per_order", "per_customer", "days"))
        found[gift] = Limit(
            sheet.value(given, f"{path}.per_order", None, amount, currency=currency),
            sheet.value(given, f"{path}.per_customer", None, amount, currency=currency),
            sheet.value(given, f"{path}.days", None, policy_values.whole, least=1, most=3650),
        )
    return MappingProxyType(found)


def _offer(sheet: _Sheet, node: yaml.Node | None) -> Offer | None:
    if node is None:
        return None
    given = sheet.mapping(node, "offer", ("percent", "least_churn", "days"))
    if "percent" not in given and isinstance(node, yaml.MappingNode):
        sheet.note(sheet.line("offer"), "offer.percent", "An offer needs its percentage.")
    return Offer(
        sheet.value(given, "offer.percent", 1, policy_values.whole, least=1, most=90),
        sheet.value(given, "offer.least_churn", 0.5, policy_values.share),
        sheet.value(given, "offer.days", 365, policy_values.whole, least=1, most=3650),
    )


def _thresholds(sheet: _Sheet, node: yaml.Node | None, currency: str) -> Thresholds:
    usual = DEFAULT.thresholds
    names = ("valuable_spent", "valuable_orders", "notable_spent", "churn")
    given = sheet.mapping(node, "thresholds", names)
    amount = policy_values.amount
    return Thresholds(
        sheet.value(given, "thresholds.valuable_spent", usual.valuable_spent, amount, currency=currency),
        sheet.value(
            given, "thresholds.valuable_orders", usual.valuable_orders, policy_values.whole, least=1, most=100_000
        ),
        sheet.value(given, "thresholds.notable_spent", usual.notable_spent, amount, currency=currency),
        sheet.value(given, "thresholds.churn", usual.churn, policy_values.share),
    )


def _rules(sheet: _Sheet, node: yaml.Node | None, currency: str) -> Mapping[str, Rule]:
    found = {}
    for code, ruled in sheet.mapping(node, "actions", tuple(BY_CODE)).items():
        path = f"actions.{code}"
        given = sheet.mapping(ruled, path, _RULES)
        blocked = sheet.mapping(
            given.get("blocked_for"), f"{path}.blocked_for", ("intents", "spent_below", "orders_below")
        )
        only = sheet.mapping(given.get("only_for"), f"{path}.only_for", ("intents",))
        found[code] = Rule(
            sheet.value(given, f"{path}.enabled", True, policy_values.truth),
            sheet.value(given, f"{path}.effect", None, policy_values.share),
            sheet.value(given, f"{path}.minutes", None, policy_values.minutes),
            sheet.value(blocked, f"{path}.blocked_for.intents", frozenset(), policy_values.intents),
            sheet.value(only, f"{path}.only_for.intents", frozenset(), policy_values.intents),
            sheet.value(blocked, f"{path}.blocked_for.spent_below", None, policy_values.amount, currency=currency),
            sheet.value(blocked, f"{path}.blocked_for.orders_below", None, policy_values.whole, least=1, most=100_000),
        )
    return MappingProxyType(found)
