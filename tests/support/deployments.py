"""The files of deployments elsewhere, read: what docker-compose.yml and deploy/kubernetes say of each process."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cli.deployment_commands import environments
from cli.suite.secret_files import suite_secrets

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


class Flow(NamedTuple):
    """Who opens a connection to whom, at which port."""

    caller: str
    server: str
    port: int


@cache
def _read(file: Path) -> list[Any]:
    return list(yaml.load_all(file.read_text("utf-8"), yaml.CSafeLoader))


def composition() -> dict[str, dict[str, Any]]:
    """Return the services of docker-compose.yml; not to be changed."""
    services: dict[str, dict[str, Any]] = _read(ROOT / "docker-compose.yml")[0]["services"]
    return services


def kubernetes(*kinds: str) -> list[dict[str, Any]]:
    """Return every object of deploy/kubernetes, or those of some kinds; not to be changed."""
    files = sorted(file for file in KUBERNETES.glob("*.yaml") if file.name != "kustomization.yaml")
    return [thing for file in files for thing in _read(file) if not kinds or thing["kind"] in kinds]


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod of each workload in the cluster, by its name."""
    return {
        thing["metadata"]["name"]: thing["spec"]["template"]["spec"]
        for thing in kubernetes("Deployment", "StatefulSet", "Job")
    }


def settings_of(container: dict[str, Any]) -> dict[str, str]:
    """Return a container's settings; one that refers elsewhere has the reference as its value."""
    return {entry["name"]: entry.get("value") or str(entry["valueFrom"]) for entry in container.get("env", [])}


def flows_of(name: str, settings: dict[str, str]) -> Iterator[Flow]:
    """Tell whom a process calls, by its settings."""
    for key, value in settings.items():
        # The gateway's two processes share their settings in the composition: one calls the tenant service, the other
        # everybody.
        if key == "RAPPORT_GATEWAY_TENANT_TARGET" and name != "control-plane":
            continue
        if key in {"RAPPORT_GATEWAY_SERVICES", "RAPPORT_GATEWAY_ADS_TARGET"} and name != "envoy":
            continue
        if key.endswith(("_SERVICES", "_TARGET", "VALKEY_URL", "_URL")) and "PROBE" not in key and "PUBLIC" not in key:
            texts = _texts(value)
            for text in texts:
                if found := re.search(r"([a-z-]+):(\d+)(/|$)", text):
                    yield Flow(name, found[1], int(found[2]))


def _texts(value: str) -> list[str]:
    if not value.startswith('{"'):
        return [value]
    found = []
    for one in json.loads(value).values():
        found += one if isinstance(one, list) else [one]
    return found


def secret_settings(folder: Path) -> dict[str, dict[str, str]]:
    """Return the settings that stand in secrets, by process; made in an empty folder."""
    return environments(suite_secrets(folder), "postgres:5432")
