"""Evaluates PromQL over series that a test gives, as far as our rules and dashboards use it, and runs alerting rules.

Where `promtool` is installed it runs the same files (`promtool test rules deploy/prometheus/tests/*.yaml`). The grammar
is Prometheus' own, by promql-parser; the meaning of what is used here follows Prometheus' documentation and its source:
extrapolated rates, a lookback of five minutes, comparisons that filter, matching by labels without the metric's name.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import promql_parser as promql

LOOKBACK = 300.0
NAME = "__name__"

Labels = tuple[tuple[str, str], ...]
Vector = dict[Labels, float]
Points = list[tuple[float, float]]
Value = float | Vector

_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "/": lambda one, other: one / other if other else math.copysign(math.inf, one) if one else math.nan,
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
}
_AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "count": len,
    "avg": lambda values: math.fsum(values) / len(values),
}
_OVER_TIME: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max_over_time": max,
    "min_over_time": min,
    "avg_over_time": lambda values: math.fsum(values) / len(values),
}


class NotSupportedError(Exception):
    """The expression uses something that none of ours did before: teach it to this module."""


def labels(given: Mapping[str, str]) -> Labels:
    """Return labels as series are kept by."""
    return tuple(sorted((name, text) for name, text in given.items() if text))


def parse_series(text: str) -> Labels:
    """Read a series as promtool's files write it: `name{label="value"}`."""
    selector = promql.parse(text)
    assert isinstance(selector, promql.VectorSelector), text
    found = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
    return labels(found | ({NAME: selector.name} if selector.name else {}))


def parse_values(text: str, interval: float) -> Points:
    """Read values as promtool's files write them: `1 2 3`, `0+10x60` (60 steps more), `_` and `_x5` for none."""
    points: Points = []
    number = 0
    for word in text.split():
        run = re.fullmatch(r"(-?[\d.]+)(?:([+-][\d.]+)x(\d+)|x(\d+))?|(_)(?:x(\d+))?", word)
        if run is None:
            raise NotSupportedError(f"values {word}")
        first, step, steps, repeats, gap, gaps = run.groups()
        if gap:
            number += int(gaps or 1)
            continue
        # `ax3` and `a+bx3` are four values: the first and three steps.
        for count in range(int(steps or repeats or 0) + 1):
            points.append((number * interval, float(first) + count * float(step or 0)))
            number += 1
    return points


@dataclass
class Store:
    """Series by their labels, the name among them."""

    series: dict[Labels, Points] = field(default_factory=dict)

    def add(self, of: Labels, when: float, value: float) -> None:
        """Append a point."""
        self.series.setdefault(of, []).append((when, value))

    def matching(self, selector: Any) -> Iterator[tuple[Labels, Points]]:
        """Yield the series that a selector means."""
        matchers = [(matcher.op, matcher.name, matcher.value) for matcher in selector.matchers.matchers]
        for of, points in self.series.items():
            known = dict(of)
            if selector.name and known.get(NAME) != selector.name:
                continue
            if all(_matches(str(op), known.get(name, ""), wanted) for op, name, wanted in matchers):
                yield of, points


def _matches(operator: str, text: str, wanted: str) -> bool:
    kind = operator.rpartition(".")[2]
    if kind in {"Equal", "NotEqual"}:
        return (text == wanted) is (kind == "Equal")
    return (re.fullmatch(wanted, text) is not None) is (kind == "Re")


def without_name(of: Labels) -> Labels:
    """Return labels without the metric's name, as every function and operator does."""
    return tuple(each for each in of if each[0] != NAME)


def evaluate(expression: str, store: Store, when: float) -> Vector:
    """Return the value of an expression at a time; a number is a series without labels."""
    found = _value(parsed(expression), store, when)
    return found if isinstance(found, dict) else {(): found}


@cache
def parsed(expression: str) -> Any:
    """Parse an expression once."""
    return promql.parse(expression)


def _value(node: Any, store: Store, when: float) -> Value:
    match node:
        case promql.NumberLiteral():
            return float(node.val)
        case promql.ParenExpr():
            return _value(node.expr, store, when)
        case promql.VectorSelector():
            return {of: last for of, points in store.matching(node) if (last := _last(points, when)) is not None}
        case promql.AggregateExpr():
            return _aggregate(node, store, when)
        case promql.BinaryExpr():
            return _binary(node, store, when)
        case promql.Call():
            return _call(node, store, when)
    raise NotSupportedError(type(node).__name__)


def _last(points: Points, when: float) -> float | None:
    """Return the latest value that is not older than the lookback."""
    for at, value in reversed(points):
        if at <= when:
            return value if at > when - LOOKBACK else None
    return None


def _aggregate(node: Any, store: Store, when: float) -> Vector:
    work = _AGGREGATIONS.get(str(node.op))
    inner = _value(node.expr, store, when)
    if work is None or not isinstance(inner, dict):
        raise NotSupportedError(str(node.op))
    groups: dict[Labels, list[float]] = {}
    for of, value in inner.items():
        groups.setdefault(_grouped(of, node.modifier), []).append(value)
    return {of: float(work(values)) for of, values in groups.items()}


def _grouped(of: Labels, modifier: Any) -> Labels:
    if modifier is None:
        return ()
    named = set(modifier.labels)
    by = modifier.type == promql.AggModifierType.By
    return tuple(each for each in without_name(of) if (each[0] in named) is by)


def _binary(node: Any, store: Store, when: float) -> Value:
    left, right = _value(node.lhs, store, when), _value(node.rhs, store, when)
    operator = str(node.op)
    if node.modifier is not None and (node.modifier.matching is not None or node.modifier.return_bool):
        raise NotSupportedError("matching by chosen labels")
    if operator in {"and", "or", "unless"}:
        if not isinstance(left, dict) or not isinstance(right, dict):
            raise NotSupportedError(f"{operator} of numbers")
        return _of_sets(operator, left, right)
    if operator in _COMPARISONS:
        return _compared(_COMPARISONS[operator], left, right)
    if operator not in _ARITHMETIC:
        raise NotSupportedError(operator)
    work = _ARITHMETIC[operator]
    if not isinstance(left, dict) and not isinstance(right, dict):
        return work(left, right)
    return {without_name(of): work(one, other) for of, one, other in _pairs(left, right)}


def _of_sets(operator: str, left: Vector, right: Vector) -> Vector:
    theirs = {without_name(of) for of in right}
    if operator == "or":
        ours = {without_name(of) for of in left}
        return left | {of: value for of, value in right.items() if without_name(of) not in ours}
    return {of: value for of, value in left.items() if (without_name(of) in theirs) is (operator == "and")}


def _compared(holds: Callable[[float, float], bool], left: Value, right: Value) -> Vector:
    if not isinstance(left, dict) and not isinstance(right, dict):
        raise NotSupportedError("a comparison of numbers")
    kept: Vector = {}
    for of, one, other in _pairs(left, right):
        if holds(one, other):
            kept[of] = one if isinstance(left, dict) else other
    return kept


def _pairs(left: Value, right: Value) -> Iterator[tuple[Labels, float, float]]:
    """Yield what is put together, with the labels of the vector, or of the left one."""
    if not isinstance(right, dict):
        assert isinstance(left, dict)
        yield from ((of, value, right) for of, value in left.items())
    elif not isinstance(left, dict):
        yield from ((of, left, value) for of, value in right.items())
    else:
        others = {without_name(of): value for of, value in right.items()}
        for of, value in left.items():
            if (key := without_name(of)) in others:
                yield of, value, others[key]


def _call(node: Any, store: Store, when: float) -> Value:
    name = node.func.name
    if name == "time":
        return when
    (first, *_) = node.args
    if name == "vector":
        number = _value(first, store, when)
        assert not isinstance(number, dict)
        return {(): number}
    if name == "absent":
        return {} if _value(first, store, when) else {_absent_labels(first): 1.0}
    if name == "histogram_quantile":
        rank, buckets = _value(node.args[0], store, when), _value(node.args[1], store, when)
        assert not isinstance(rank, dict)
        assert isinstance(buckets, dict)
        return _quantiles(rank, buckets)
    if isinstance(first, promql.MatrixSelector):
        return _over_range(name, first, store, when)
    raise NotSupportedError(name)


def _absent_labels(node: Any) -> Labels:
    """Return the labels of what is absent: those that its selector wants to be equal to something."""
    if not isinstance(node, promql.VectorSelector):
        return ()
    wanted = (one for one in node.matchers.matchers if str(one.op).endswith("Equal") and "Not" not in str(one.op))
    return tuple(sorted((one.name, one.value) for one in wanted))


def _over_range(name: str, matrix: Any, store: Store, when: float) -> Vector:
    seconds = _seconds(matrix.range)
    found: Vector = {}
    for of, points in store.matching(matrix.vector_selector):
        inside = [(at, value) for at, value in points if when - seconds < at <= when]
        if name in _OVER_TIME and inside:
            found[without_name(of)] = _OVER_TIME[name]([value for _, value in inside])
        elif name in {"rate", "increase"} and len(inside) > 1:
            grown = increase(inside, when - seconds, when)
            found[without_name(of)] = grown / seconds if name == "rate" else grown
        elif name not in {*_OVER_TIME, "rate", "increase"}:
            raise NotSupportedError(name)
    return found


def _seconds(span: timedelta) -> float:
    return span.total_seconds()


def increase(points: Points, start: float, end: float) -> float:
    """Return by how much a counter grew in a span, extended to its ends as Prometheus does it."""
    grown = points[-1][1] - points[0][1]
    grown += sum(one for (_, one), (_, next_one) in pairwise(points) if next_one < one)
    sampled = points[-1][0] - points[0][0]
    between = sampled / (len(points) - 1)
    before, after = points[0][0] - start, end - points[-1][0]
    bound = between * 1.1
    before = before if before < bound else between / 2
    after = after if after < bound else between / 2
    if grown > 0 and points[0][1] >= 0:
        # A counter cannot have been below nothing.
        before = min(before, sampled * points[0][1] / grown)
    return grown * (sampled + before + after) / sampled


def _quantiles(rank: float, buckets: Vector) -> Vector:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for of, count in buckets.items():
        bound = float(dict(of)["le"].replace("+Inf", "inf"))
        key = tuple(each for each in without_name(of) if each[0] != "le")
        groups.setdefault(key, []).append((bound, count))
    return {of: _quantile(rank, sorted(group)) for of, group in groups.items()}


def _quantile(rank: float, buckets: Sequence[tuple[float, float]]) -> float:
    total = buckets[-1][1]
    if not total:
        return math.nan
    wanted = rank * total
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == math.inf:
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below) if count > below else bound
        lower, below = bound, count
    return lower


def metrics_of(expression: str) -> set[tuple[str, frozenset[str]]]:
    """Return every metric that an expression reads, with the names of the labels that it chooses by."""
    found: set[tuple[str, frozenset[str]]] = set()

    def visit(node: Any) -> bool:
        selector = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
        if isinstance(selector, promql.VectorSelector):
            found.add((selector.name or "", frozenset(matcher.name for matcher in selector.matchers.matchers)))
        return True

    promql.walk(promql.parse(expression), visit)
    return found
