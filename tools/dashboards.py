"""Make deploy/grafana/dashboards/*.json from one description: what is looked at, in which row, with which expression.

`python -m tools.dashboards` writes them; `make check` finds what is stale. A person changes this file, never the JSON.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _HEIGHT = 24, 8
_FRONT = 'envoy_http_conn_manager_prefix=~"https|proxied"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph or a number.

    Attributes:
        title: what it shows.
        expressions: PromQL by legend; `{{label}}` in a legend stands for a label's value.
        unit: Grafana's name of the unit.
        kind: `timeseries` or `stat`.
        help: how to read it.
    """

    title: str
    expressions: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    help: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side under a title."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page."""

    name: str
    title: str
    rows: Sequence[Row]


def _rate(metric: str, by: str, chosen: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[5m]))" if chosen else f"sum by ({by}) (rate({metric}[5m]))"


def _rates(metric: str, by: str, chosen: str = "") -> dict[str, str]:
    """Return the expression of a counter's rates by its legend: the labels that it is told by."""
    return {" ".join(f"{{{{{name.strip()}}}}}" for name in by.split(",")): _rate(metric, by, chosen)}


def _quantile(rank: float, metric: str, by: str = "", chosen: str = "") -> str:
    keys = f"le, {by}" if by else "le"
    return f"histogram_quantile({rank}, {_rate(f'{metric}_bucket', keys, chosen)})"


OVERVIEW = Dashboard(
    "overview",
    "Rapport: overview",
    (
        Row(
            "What is promised",
            (
                Panel(
                    "Budget left of thirty days",
                    {"{{slo}}": "rapport:budget:left30d"},
                    "percentunit",
                    "stat",
                    "1 is untouched, 0 is used up, below that the promise is broken.",
                ),
                Panel("Requests with a server error", {"an hour": "rapport:edge_errors:ratio_rate1h"}, "percentunit"),
                Panel("Slow calls of the inbox", {"an hour": "rapport:slow_calls:ratio_rate1h"}, "percentunit"),
                Panel("Late webhooks", {"an hour": "rapport:late_deliveries:ratio_rate1h"}, "percentunit"),
            ),
        ),
        Row(
            "What clients see",
            (
                Panel(
                    "Requests by kind of answer",
                    {
                        "{{envoy_response_code_class}}xx": _rate(
                            "envoy_http_downstream_rq_xx", "envoy_response_code_class", _FRONT
                        )
                    },
                    "reqps",
                ),
                Panel(
                    "Time of requests, streams included",
                    {
                        "median": _quantile(0.5, "envoy_http_downstream_rq_time", chosen=_FRONT),
                        "99 %": _quantile(0.99, "envoy_http_downstream_rq_time", chosen=_FRONT),
                    },
                    "ms",
                ),
            ),
        ),
        Row(
            "What services do",
            (
                Panel("Calls", _rates("grpc_server_handled_total", "grpc_service"), "reqps"),
                Panel(
                    "Calls that failed",
                    {
                        "{{grpc_service}} {{grpc_code}}": _rate(
                            "grpc_server_handled_total", "grpc_service, grpc_code", 'grpc_code!="OK"'
                        )
                    },
                    "reqps",
                ),
                Panel(
                    "99 % of calls within",
                    {
                        "{{grpc_service}}": _quantile(
                            0.99, "grpc_server_handling_seconds", "grpc_service", 'grpc_type="unary"'
                        )
                    },
                    "s",
                ),
            ),
        ),
    ),
)

WORK = Dashboard(
    "work",
    "Rapport: webhooks, queues and models",
    (
        Row(
            "Webhooks",
            (
                Panel(
                    "Received",
                    _rates("rapport_webhooks_total", "provider, outcome"),
                    "reqps",
                ),
                Panel("What became of them", _rates("rapport_deliveries_settled_total", "state"), "ops"),
                Panel(
                    "From arrival to effect",
                    {
                        "median": _quantile(0.5, "rapport_delivery_seconds"),
                        "99 %": _quantile(0.99, "rapport_delivery_seconds"),
                    },
                    "s",
                ),
            ),
        ),
        Row(
            "Queues",
            (
                Panel("Waiting", {"{{queue}}": "max by (queue) (rapport_queue_waiting)"}),
                Panel("Late by", {"{{queue}}": "max by (queue) (rapport_queue_late_seconds)"}, "s"),
                Panel(
                    "Logs between services: read to the end",
                    {"{{log}}": "time() - max by (log) (rapport_log_current_time_seconds)"},
                    "s",
                ),
            ),
        ),
        Row(
            "Providers",
            (
                Panel(
                    "Calls",
                    _rates("rapport_provider_calls_total", "provider, outcome"),
                    "reqps",
                ),
                Panel("Changes written back", _rates("rapport_writes_settled_total", "state"), "ops"),
                Panel("Refused credentials", _rates("rapport_credentials_refused_total", "reason"), "ops"),
            ),
        ),
        Row(
            "Language models",
            (
                Panel("Calls", _rates("rapport_model_calls_total", "model, outcome"), "reqps"),
                Panel("Drafts", _rates("rapport_model_drafts_total", "outcome"), "ops"),
            ),
        ),
    ),
)

MACHINE = Dashboard(
    "machine",
    "Rapport: processes and servers",
    (
        Row(
            "Processes",
            (
                Panel("Up", {"{{job}} {{instance}}": 'up{job=~"rapport.*"}'}),
                Panel("Memory", {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"rapport.*"}'}, "bytes"),
                Panel("Open files", {"{{job}} {{instance}}": 'process_open_fds{job=~"rapport.*"}'}),
                Panel("Late event loops", {"{{job}} {{instance}}": "rapport_event_loop_lag_seconds"}, "s"),
            ),
        ),
        Row(
            "Postgres and Valkey",
            (
                Panel(
                    "Connections",
                    {"{{job}} {{pool}} {{state}}": "sum by (job, pool, state) (rapport_database_connections)"},
                ),
                Panel(
                    "Refused transactions",
                    _rates("rapport_database_failures_total", "job, reason"),
                    "ops",
                ),
                Panel("Cache", _rates("rapport_cache_reads_total", "job, outcome"), "ops"),
                Panel("Valkey away", {"{{job}}": "max by (job) (rapport_cache_away)"}),
            ),
        ),
        Row(
            "Keys, certificates and the edge",
            (
                Panel(
                    "Certificates end in",
                    {"{{job}} {{instance}}": "rapport_peer_certificate_end_seconds - time()"},
                    "s",
                ),
                Panel(
                    "Calls to the keeper of keys",
                    _rates("rapport_kek_calls_total", "operation, outcome"),
                    "ops",
                ),
                Panel(
                    "Envoys",
                    {
                        "connected": "max(rapport_gateway_nodes_connected)",
                        "refusing": "max(rapport_gateway_nodes_refusing)",
                        "outdated": "max(rapport_gateway_nodes_outdated)",
                    },
                ),
                Panel("Connections of clients", {"open": f"sum(envoy_http_downstream_cx_active{{{_FRONT}}})"}),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, WORK, MACHINE)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in dashboard.rows:
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place, "collapsed": False})
        width = _WIDTH // len(row.panels)
        for number, panel in enumerate(row.panels):
            place = {"x": number * width, "y": top + 1, "w": width, "h": _HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, place))
        top += 1 + _HEIGHT
    return {
        "uid": f"rapport-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["rapport"],
        "schemaVersion": 41,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }


def files() -> dict[Path, str]:
    """Return the content of each file."""
    return {
        FOLDER / f"{one.name}.json": json.dumps(document(one), indent=2, ensure_ascii=False) + "\n"
        for one in DASHBOARDS
    }


def check() -> str:
    """Return what is stale, or the empty string."""
    wanted = files()
    stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    unknown = [path.name for path in FOLDER.glob("*.json") if path not in wanted]
    return f"run `make gen`; not as described: {', '.join(stale + unknown)}" if stale or unknown else ""


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for target, content in files().items():
        target.write_text(content)
    sys.exit(0)
