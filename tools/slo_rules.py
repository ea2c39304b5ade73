"""Make deploy/prometheus/rules/slo.yaml: what is promised, measured over several windows, and how fast it is used up.

An error budget is what a promise leaves: of 99.9 % a thousandth of all requests. An alert needs a long window, so that
it means something, and a short one, so that it ends when the trouble does (the SRE Workbook's multi-window burn rates).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parent.parent / "deploy" / "prometheus" / "rules" / "slo.yaml"
HEADER = "# Made by `make gen` from tools/slo_rules.py; do not edit.\n"

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Over how long each ratio is recorded."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised.

    Attributes:
        name: a word for labels.
        ratio: the name of the recorded ratio of what broke the promise.
        objective: the share that keeps it.
        text: the promise in words, after "of".
    """

    name: str
    ratio: str
    objective: float
    text: str


@dataclass(frozen=True, slots=True)
class Burn:
    """How fast a budget is used up when somebody is told: `factor` times what thirty days allow, in both windows."""

    long: str
    short: str
    factor: float
    lasting: str
    severity: str
    left: str


EDGE, SLOW, LATE = "rapport:edge_errors", "rapport:slow_calls", "rapport:late_deliveries"

PROMISES = (
    Promise("availability-day-1", EDGE, 0.999, "requests answered without a server error (99.9 %, from day 1)"),
    Promise("availability-week-1", EDGE, 0.9995, "requests answered without a server error (99.95 %, from week 1)"),
    Promise("latency", SLOW, 0.99, "calls of the inbox answered within 250 ms (99 %)"),
    Promise("webhooks", LATE, 0.999, "webhooks with their effect within a minute (99.9 %)"),
)

BURNS = (
    Burn("1h", "5m", 14.4, "2m", "page", "two days"),
    Burn("6h", "30m", 6.0, "15m", "page", "five days"),
    Burn("1d", "2h", 3.0, "1h", "ticket", "ten days"),
    Burn("3d", "6h", 1.0, "3h", "ticket", "thirty days"),
)

_FRONT = 'envoy_http_conn_manager_prefix=~"https|proxied"'
_FAILED = 'envoy_response_code_class="5"'
_INBOX = 'grpc_type="unary",grpc_service=~"rapport.frontend.v1.TicketDesk|rapport.tickets.v1.TicketService"'


def ratios(window: str) -> dict[str, str]:
    """Return the expression of each ratio over a window; where nothing happened it has no value."""
    return {
        # Envoy tells of a kind of answer only from the first one on: none is no error.
        EDGE: f"(sum(rate(envoy_http_downstream_rq_xx{{{_FRONT},{_FAILED}}}[{window}])) or vector(0))"
        f" / (sum(rate(envoy_http_downstream_rq_total{{{_FRONT}}}[{window}])) > 0)",
        SLOW: f'1 - sum(rate(grpc_server_handling_seconds_bucket{{{_INBOX},le="0.25"}}[{window}]))'
        f" / (sum(rate(grpc_server_handling_seconds_count{{{_INBOX}}}[{window}])) > 0)",
        LATE: f'1 - sum(rate(rapport_delivery_seconds_bucket{{le="60.0"}}[{window}]))'
        f" / (sum(rate(rapport_delivery_seconds_count[{window}])) > 0)",
    }


def recordings() -> Iterator[dict[str, Any]]:
    """Yield the recording rules."""
    for window in WINDOWS:
        for name, expression in ratios(window).items():
            yield {"record": f"{name}:ratio_rate{window}", "expr": expression}
    for promise in PROMISES:
        yield {
            "record": "rapport:budget:left30d",
            "expr": f"1 - avg_over_time({promise.ratio}:ratio_rate1h[30d]) / {1 - promise.objective:.4f}",
            "labels": {"slo": promise.name},
        }


def alerts() -> Iterator[dict[str, Any]]:
    """Yield the alerting rules. The stricter promise about errors wakes nobody: that is what the other one is for."""
    for promise in PROMISES:
        for burn in BURNS:
            bound = f"{burn.factor} * {1 - promise.objective:.4f}"
            yield {
                "alert": "RapportErrorBudgetBurns",
                "expr": f"{promise.ratio}:ratio_rate{burn.long} > {bound}"
                f" and {promise.ratio}:ratio_rate{burn.short} > {bound}",
                "for": burn.lasting,
                "labels": {
                    "severity": "ticket" if promise.name == "availability-week-1" else burn.severity,
                    "slo": promise.name,
                    "window": burn.long,
                },
                "annotations": {
                    "summary": f"At this pace the month's budget of {promise.text} is used up in {burn.left}.",
                    "do": "rapport doctor, then the dashboard Overview; docs/watching.md",
                },
            }


def text() -> str:
    """Return the file's content."""
    groups = [
        {"name": "rapport-slo-ratios", "interval": "30s", "rules": list(recordings())},
        {"name": "rapport-slo-alerts", "rules": list(alerts())},
    ]
    return HEADER + yaml.safe_dump({"groups": groups}, sort_keys=False, width=200)


def check() -> str:
    """Return what is stale, or the empty string."""
    return "" if FILE.exists() and FILE.read_text() == text() else f"{FILE.name} is stale: run `make gen`"


if __name__ == "__main__":
    FILE.write_text(text())
    sys.exit(0)
