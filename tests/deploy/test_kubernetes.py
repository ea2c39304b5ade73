"""deploy/kubernetes: valid by the cluster's own schemas, closed by default, and the same suite as the composition."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployments import composition, kubernetes, pods, settings_of
from tests.support.suite import rapport
from tools import deployment

OURS = ("tenant", "crm", "tickets", "recommendations", "control-plane", "envoy")
"""The processes that go on for ever and answer somebody."""

SCALED = tuple(name for name in OURS if name != "control-plane")
"""What runs in as many pods as needed; of the control plane there is one."""


def named(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by their names."""
    return {thing["metadata"]["name"]: thing for thing in kubernetes(kind)}


def test_every_object_is_valid_by_the_schema_of_the_cluster() -> None:
    """In the oldest and the newest version; `make check` says the same."""
    assert deployment.check() == ""
    assert len(kubernetes()) > 40


def test_a_misspelt_field_would_be_found() -> None:
    """The check is not one that passes anything."""
    thing = copy.deepcopy(kubernetes("Deployment")[0])
    thing["spec"]["replica"] = 2
    thing["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = "2"
    text = " ".join(deployment.object_faults([thing], deployment.VERSIONS[-1]))
    assert "replica" in text
    assert "periodSeconds" in text
    thing["apiVersion"] = "apps/v2"
    assert "there is no apps/v2" in deployment.object_faults([thing], deployment.VERSIONS[-1])[0]


@pytest.mark.parametrize("name", [*OURS, "valkey", "postgres", "migrate", "operator"])
def test_a_pod_may_do_as_little_as_possible(name: str) -> None:
    """No root, no privilege, no token of the cluster, a file system that cannot be written, bounded memory."""
    pod = pods()[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", OURS)
def test_each_process_is_probed_spread_and_kept_through_evictions(name: str) -> None:
    """What a cluster needs to restart, move and multiply it without a failed request."""
    (container,) = pods()[name]["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    if name != "envoy":
        port = settings_of(container)[
            "RAPPORT_GATEWAY_PROBE_LISTEN" if name == "control-plane" else f"RAPPORT_{name.upper()}_PROBE_LISTEN"
        ].rpartition(":")[2]
        assert container["readinessProbe"]["grpc"] == {"port": int(port)}
        assert container["livenessProbe"]["grpc"] == {"port": int(port), "service": "alive"}
    spread = {one["topologyKey"] for one in pods()[name]["topologySpreadConstraints"]}
    assert "kubernetes.io/hostname" in spread
    budget = named("PodDisruptionBudget")[name]["spec"]
    labels = named("Deployment")[name]["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert named("Service")[name]["spec"]["selector"].items() <= labels.items()


def test_everything_but_the_control_plane_scales_and_is_never_without_a_second_pod() -> None:
    """A number of pods beside an autoscaler would reset it with each release."""
    scalers, deployments = named("HorizontalPodAutoscaler"), named("Deployment")
    assert set(scalers) == set(SCALED)
    for name, scaler in scalers.items():
        assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert scaler["spec"]["minReplicas"] >= 2
        assert "replicas" not in deployments[name]["spec"]
        assert deployments[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert deployments["control-plane"]["spec"]["replicas"] == 1
    assert deployments["control-plane"]["spec"]["strategy"] == {"type": "Recreate"}


def test_envoy_finishes_before_it_is_stopped() -> None:
    """The drain takes twelve seconds at most, within the time that the cluster gives."""
    (container,) = pods()["envoy"]["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["python", "-m", "gateway", "drain"]
    assert pods()["envoy"]["terminationGracePeriodSeconds"] > 12


DIFFERS = {
    "PROBE_",  # the cluster asks at a port of its own
    "ADS_TARGET",  # said to both in the composition, needed by Envoy
    "ADMIN_LISTEN",
    "NODE_ID",
    "ENVOY_CONCURRENCY",
    "SHARED_QUOTAS",
    "HTTPS_PORT",
    "GATEWAY_CERTIFICATE_FILE",
    "GATEWAY_KEY_FILE",
    "_FILE",  # the same files, mounted elsewhere; test_every_referenced_secret_is_made covers them
    "_URL",
    "BASE_DOMAIN",
    "OTLP_TARGET",
    "PREDECESSOR_KEY",  # in an environment file of the composition
}
"""Settings in which the two may differ."""


@pytest.mark.parametrize("name", [*OURS, "operator"])
def test_the_cluster_runs_what_the_composition_runs(name: str) -> None:
    """The same command and, where there is no reason to differ, the same settings."""
    (container,) = pods()[name]["containers"]
    service = composition()[name]
    if name != "operator":
        assert container["command"] == service["command"]
    here, there = settings_of(container), service["environment"]

    def compared(settings: dict[str, str]) -> dict[str, str]:
        return {
            key: " ".join(str(value).split())
            for key, value in settings.items()
            if not any(part in key for part in DIFFERS) and (name != "envoy" or key in here)
        }

    assert compared(here) == compared(there)


def test_every_referenced_secret_is_made(tmp_path: Path) -> None:
    """`rapport deployment secrets` writes them all, with each key that a pod wants; cert-manager makes the others."""
    folder = tmp_path / "secrets"
    assert rapport("deployment", "secrets", str(folder)).code == 0
    written = {
        thing["metadata"]["name"]: set(thing["stringData"])
        for thing in yaml.safe_load_all((folder / "kubernetes.yaml").read_text("utf-8"))
    }
    issued = {thing["spec"]["secretName"] for thing in kubernetes("Certificate")}
    for pod in pods().values():
        for volume in pod.get("volumes", []):
            wanted = "secret" in volume and not volume["secret"].get("optional", False)
            if wanted and volume["secret"]["secretName"] not in issued | {"rapport-public"}:
                items = {item["key"] for item in volume["secret"].get("items", [])}
                assert items <= written[volume["secret"]["secretName"]]
        for container in pod["containers"]:
            for source in container.get("envFrom", []):
                assert written[source["secretRef"]["name"]]
            for key, value in settings_of(container).items():
                mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
                if key.endswith("_FILE") and value.rpartition("/")[0] in {"/keys", "/operator", "/secrets"}:
                    where, _, file = value.rpartition("/")
                    (volume,) = [one for one in pod["volumes"] if one["name"] == mounts[where]]
                    assert file in written[volume["secret"]["secretName"]], key


@pytest.mark.parametrize("name", ["crm", "recommendations"])
@pytest.mark.parametrize("file", ["slack_url", "webhook_url", "webhook_secret"])
def test_news_go_where_settings_alone_say(name: str, file: str) -> None:
    """The files' names reach who tells news, in a folder that both bring; without them nothing is missing."""
    setting = f"RAPPORT_{name.upper()}_NOTIFY_{file.upper()}_FILE"
    (container,) = pods()[name]["containers"]
    (entry,) = [one for one in container["env"] if one["name"] == setting]
    assert entry["valueFrom"]["configMapKeyRef"] == {"name": "rapport", "key": f"notify_{file}_file", "optional": True}
    (mounted,) = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == "/notify"]
    (volume,) = [one for one in pods()[name]["volumes"] if one["name"] == mounted]
    assert volume["secret"]["optional"] is True
    here = composition()[name]
    assert here["environment"][setting] == f"${{RAPPORT_NOTIFY_{file.upper()}_FILE:-}}"
    assert "./deploy/notify:/notify:ro" in here["volumes"]


@pytest.mark.parametrize("name", ["control-plane", "envoy"])
def test_a_cut_over_is_switched_on_by_settings_alone(name: str) -> None:
    """The predecessor's address and key reach both parts of the gateway; without them nothing is missing."""
    (container,) = pods()[name]["containers"]
    there = {entry["name"]: entry for entry in container["env"]}
    where = there["RAPPORT_GATEWAY_PREDECESSOR_URL"]["valueFrom"]["configMapKeyRef"]
    assert named("ConfigMap")[where["name"]]["data"][where["key"]] == ""
    assert there["RAPPORT_GATEWAY_PREDECESSOR_KEY"]["valueFrom"]["secretKeyRef"]["optional"] is True
    here = composition()[name]
    assert here["environment"]["RAPPORT_GATEWAY_PREDECESSOR_URL"] == "${RAPPORT_PREDECESSOR_URL:-}"
    assert {"path": "deploy/secrets/predecessor.env", "required": False} in here["env_file"]
