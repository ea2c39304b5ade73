"""What rules and dashboards read is really told: each metric, and each label by which they choose or group."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from gateway.ads.cache import SnapshotCache
from gateway.certificates import Certificates
from gateway.control import ControlPlane
from gateway.figures import Figures
from tests.gateway.static import own_pair, real_edge
from tests.support.promql import metrics_of
from tests.support.world import SuiteUnderTest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OF_PROMETHEUS = {"job", "instance", "le"}
OF_PROCESSES = {"process_resident_memory_bytes", "process_open_fds", "up"}
"""Told by every process, or made by Prometheus itself."""

_GROUPED = re.compile(r"\bby \(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def expressions() -> Iterator[tuple[str, str, str]]:
    """Yield every expression with where it stands and the text that shows its labels."""
    for file in sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                name = rule.get("record") or rule["alert"]
                shown = " ".join(rule.get("annotations", {}).values()).replace("$labels.", "")
                yield f"{file.name} {name}", rule["expr"], shown
    for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.name} {panel['title']}", target["expr"], target["legendFormat"]


def recorded() -> dict[str, set[str]]:
    """Return what the rules record, with its labels."""
    found: dict[str, set[str]] = {}
    for file in (DEPLOY / "prometheus" / "rules").glob("*.yaml"):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    found.setdefault(rule["record"], set()).update(rule.get("labels", {}))
    return found


def of_our_processes(folder: Path) -> dict[str, set[str]]:
    """Return every metric that our code declares, with its labels: every module that does is imported."""
    for package in ("servicekit", "gateway", "services"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "prometheus_client" in path.read_text(encoding="utf-8"):
                import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    cache = SnapshotCache()
    certificates = Certificates(own_pair(folder))
    Figures(cache, ControlPlane(real_edge(), {}, cache, lambda: certificates, folder))
    found: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for collector in list(REGISTRY._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for name in REGISTRY._collector_to_names[collector]:
            found.setdefault(name, set()).update(labels)
    return found


def of_envoy(suite: SuiteUnderTest) -> dict[str, set[str]]:
    """Return every metric that the running Envoy tells, with its labels."""
    socket = Path(suite.data) / "run" / "envoy" / "envoy.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://envoy") as client:
        text = client.get("/stats/prometheus").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
            # Envoy writes counters without the ending that the reader gives them.
            found.setdefault(family.name, set()).update(sample.labels)
    return found


def test_everything_that_is_read_is_told(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """A rule about a metric that nobody tells would be silent for ever, and a dashboard empty."""
    told = of_our_processes(tmp_path) | of_envoy(suite) | recorded()
    wrong = []
    for where, expression, shown in expressions():
        grouped = {name.strip() for names in _GROUPED.findall(expression) for name in names.split(",")}
        shows = set(_LEGEND.findall(shown))
        known: set[str] = set(OF_PROMETHEUS)
        for metric, chosen in metrics_of(expression):
            if metric in OF_PROCESSES:
                continue
            if metric not in told:
                wrong.append(f"{where}: nobody tells {metric}")
                continue
            known |= told[metric]
            wrong += [f"{where}: {metric} has no label {name}" for name in chosen - told[metric] - OF_PROMETHEUS]
        wrong += [f"{where}: no label {name}" for name in (grouped | shows) - known]
    assert wrong == []


@pytest.mark.parametrize("folder", ["provisioning/datasources", "provisioning/dashboards"])
def test_grafana_is_told_where_dashboards_and_figures_are(folder: str) -> None:
    """The files that Grafana reads at its start name the data source that every panel names."""
    files = list((DEPLOY / "grafana" / folder).glob("*.yaml"))
    assert files
    assert all(yaml.safe_load(file.read_text())["apiVersion"] == 1 for file in files)
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    uid = source["datasources"][0]["uid"]
    for file in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        sources = {panel["datasource"]["uid"] for panel in json.loads(file.read_text())["panels"] if "targets" in panel}
        assert sources == {uid}
