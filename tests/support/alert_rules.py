"""Runs Prometheus' rule files over invented series, step by step, as `promtool test rules` does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from tests.support.promql import NAME, Labels, Store, evaluate, labels, parse_series, parse_values, without_name


@dataclass(frozen=True, slots=True)
class Alert:
    """A firing alert."""

    labels: Labels
    annotations: Labels


@dataclass
class Rules:
    """The rules of some files, and since when each alert has been pending."""

    groups: Sequence[Mapping[str, Any]]
    pending: dict[tuple[int, Labels], float] = field(default_factory=dict)

    @classmethod
    def read(cls, files: Sequence[Path]) -> "Rules":
        """Read rule files."""
        return cls([group for file in files for group in yaml.safe_load(file.read_text())["groups"]])

    def step(self, store: Store, when: float) -> dict[str, list[Alert]]:
        """Evaluate every rule once; recorded series go into the store, and firing alerts are returned by name."""
        firing: dict[str, list[Alert]] = {}
        for group in self.groups:
            for rule in group["rules"]:
                found = evaluate(rule["expr"], store, when)
                given = rule.get("labels", {})
                if "record" in rule:
                    for of, value in found.items():
                        store.add(labels(dict(without_name(of)) | given | {NAME: rule["record"]}), when, value)
                else:
                    firing.setdefault(rule["alert"], []).extend(self._alerts(rule, list(found), when))
        return firing

    def _alerts(self, rule: Mapping[str, Any], found: Sequence[Labels], when: float) -> list[Alert]:
        lasting = promql.parse_duration(rule["for"]).total_seconds() if "for" in rule else 0.0
        standing = {(id(rule), without_name(of)) for of in found}
        for key in [key for key in self.pending if key[0] == id(rule) and key not in standing]:
            del self.pending[key]
        alerts = []
        for key in sorted(standing):
            if when - self.pending.setdefault(key, when) >= lasting:
                known = dict(key[1])
                of = labels(known | rule.get("labels", {}) | {"alertname": rule["alert"]})
                told = {name: rendered(text, known) for name, text in rule["annotations"].items()}
                alerts.append(Alert(of, labels(told)))
        return alerts


def rendered(text: str, known: Mapping[str, str]) -> str:
    """Put labels into an annotation; nothing else of its templates is used."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: known.get(found[1], ""), text)


def failures(file: Path) -> list[str]:
    """Run a test file of promtool's format; return what is not as it expects."""
    wanted = yaml.safe_load(file.read_text())
    step = _seconds(wanted.get("evaluation_interval", "1m"))
    files = [path for pattern in wanted["rule_files"] for path in sorted(file.parent.glob(pattern))]
    assert files, f"{file.name} names no rule file"
    return [
        f"{case['name']}: {failure}" for case in wanted["tests"] for failure in _of_case(case, Rules.read(files), step)
    ]


def _of_case(case: Mapping[str, Any], rules: Rules, step: float) -> list[str]:
    interval = _seconds(case["interval"])
    series = [(parse_series(one["series"]), parse_values(one["values"], interval)) for one in case["input_series"]]
    asked = {_seconds(one["eval_time"]) for one in case.get("alert_rule_test", ()) + case.get("promql_expr_test", [])}
    store, found, fired = Store(), [], {}
    when = 0.0
    while when <= max(asked):
        for of, points in series:
            for at, value in points:
                if when - step < at <= when:
                    store.add(of, at, value)
        fired[when] = rules.step(store, when)
        when += step
    for one in case.get("alert_rule_test", ()):
        at = _seconds(one["eval_time"])
        expected = {
            (labels(alert["exp_labels"] | {"alertname": one["alertname"]}), labels(alert["exp_annotations"]))
            for alert in one.get("exp_alerts", ())
        }
        got = {(alert.labels, alert.annotations) for alert in fired[at].get(one["alertname"], ())}
        if got != expected:
            found.append(f"{one['alertname']} at {one['eval_time']}: {sorted(got)}, not {sorted(expected)}")
    for one in case.get("promql_expr_test", ()):
        got_values = evaluate(one["expr"], store, _seconds(one["eval_time"]))
        expected_values = {
            (parse_series(sample["labels"]) if sample["labels"] != "{}" else ()): sample["value"]
            for sample in one["exp_samples"]
        }
        if got_values.keys() != expected_values.keys() or any(
            abs(got_values[of] - value) > 1e-9 * max(1.0, abs(value)) for of, value in expected_values.items()
        ):
            found.append(f"{one['expr']} at {one['eval_time']}: {got_values}, not {expected_values}")
    return found


def _seconds(text: str) -> float:
    return float(promql.parse_duration(text).total_seconds())
