"""What the processes tell Prometheus, found in the code: the figures, their labels and what they mean."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("servicekit", "services", "gateway")
_SERVICE = re.compile(r"services\.([a-z]+)\.")

COLLECTED = (
    ("rapport_gateway_snapshots_refused_total", "counter", (), "Configurations that an Envoy refused."),
    ("rapport_gateway_nodes_connected", "gauge", (), "Envoys that have a stream open."),
    (
        "rapport_gateway_nodes_refusing",
        "gauge",
        (),
        "Envoys that refuse what is wanted and serve on with what they had.",
    ),
    ("rapport_gateway_nodes_outdated", "gauge", (), "Connected Envoys that do not have all that is wanted."),
    ("rapport_gateway_cutover_percent", "gauge", (), "Rapport's share of the requests of shops that move."),
    ("rapport_gateway_cutover_requests_total", "counter", ("side",), "Requests of shops that move, by who answers."),
    ("rapport_gateway_cutover_failures_total", "counter", ("side",), "Those of them that failed (5xx)."),
)
"""What the control plane counts when it is asked (`gateway/figures.py`)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: its name as it is queried (of a histogram without `_bucket`), its kind, its labels, who tells it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    told_by: str


def figures() -> list[Figure]:
    """Return all figures of ours, by name."""
    found = {figure.name: figure for figure in _defined()}
    for name, kind, labels, meaning in COLLECTED:
        found[name] = Figure(name, kind, labels, meaning, "the control plane")
    return [found[name] for name in sorted(found)]


def _defined() -> Iterator[Figure]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if "import" not in (text := file.read_text(encoding="utf-8")) or "prometheus_client import" not in text:
                continue
            module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
            for value in vars(module).values():
                if isinstance(value, MetricWrapperBase) and value.describe():
                    yield _figure(value, module.__name__)


def _figure(metric: MetricWrapperBase, module: str) -> Figure:
    described = next(iter(metric.describe()))
    name = f"{described.name}_total" if described.type == "counter" else described.name
    service = _SERVICE.match(module)
    told_by = service[1] if service else "every process"
    return Figure(name, described.type, tuple(metric._labelnames), described.documentation, told_by)  # noqa: SLF001
