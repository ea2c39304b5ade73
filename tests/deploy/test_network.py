"""Who may reach whom: the cluster's policies allow what the processes are told to call, and nothing else."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployments import ROOT, Flow, composition, flows_of, kubernetes, pods, secret_settings, settings_of

OUTSIDE = {"tenant": {443, 80}, "crm": {443}, "recommendations": {443}}
"""Who calls strangers: proofs of domains, vendors, providers of language models."""


def wanted_by_the_composition(folder: Path) -> set[Flow]:
    """Return the flows that the settings of docker-compose.yml lead to, those in secrets included."""
    flows = {
        flow
        for name, service in composition().items()
        if "RAPPORT" in str(service.get("environment", {}))
        for flow in flows_of(name, service["environment"])
    }
    for name, settings in secret_settings(folder).items():
        flows |= {flow for flow in flows_of(name, settings) if flow.server == "postgres"}
    return {Flow("migrate", *flow[1:]) if flow.caller == "prepare" else flow for flow in flows}


def policies() -> dict[str, dict[str, Any]]:
    """Return the policies by name."""
    return {thing["metadata"]["name"]: thing["spec"] for thing in kubernetes("NetworkPolicy")}


def allowed(direction: str, peers: str) -> set[Flow]:
    """Return the flows between processes that one direction of all policies allows."""
    found = set()
    for name, policy in policies().items():
        if policy["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name") != name:
            continue
        for rule in policy.get(direction, []):
            for peer in rule.get(peers, []):
                if "namespaceSelector" in peer or "ipBlock" in peer:
                    continue
                other = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                ends = (name, other) if direction == "egress" else (other, name)
                found |= {Flow(*ends, port["port"]) for port in rule["ports"]}
    return found


def test_the_policies_allow_the_flows_of_the_composition_and_no_other(tmp_path: Path) -> None:
    """Both ends agree: what may leave may come in."""
    wanted = wanted_by_the_composition(tmp_path)
    assert len(wanted) >= len(pods()) - 2
    assert allowed("egress", "to") == wanted
    assert allowed("ingress", "from") == wanted


def test_the_pods_are_told_to_call_what_they_may(tmp_path: Path) -> None:
    """The cluster's own settings lead to the same flows."""
    told = {
        flow
        for name, pod in pods().items()
        for container in pod["containers"]
        for flow in flows_of(name, settings_of(container))
    }
    database = {flow for flow in wanted_by_the_composition(tmp_path) if flow.server == "postgres"}
    # Envoy hears from the control plane where the services are.
    edge = {flow for flow in wanted_by_the_composition(tmp_path) if flow.caller == "envoy"}
    assert told | database | edge == wanted_by_the_composition(tmp_path)


def test_nothing_is_open_by_default() -> None:
    """One policy selects every pod and allows nothing; each process has a policy of its own."""
    assert policies()["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert set(pods()) <= set(policies())
    for name, policy in policies().items():
        if name != "names":
            assert policy["policyTypes"] == ["Ingress", "Egress"], name


def test_only_who_calls_strangers_gets_out_and_never_into_our_own_networks() -> None:
    """Neither private networks nor the cloud's own services, where it hands out its credentials."""
    out: dict[str, set[int]] = {}
    for name, policy in policies().items():
        for rule in policy.get("egress", []):
            blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
            if not blocks:
                continue
            out[name] = {port["port"] for port in rule["ports"]}
            for block in blocks:
                for ours in (
                    "10.1.2.3",
                    "169.254.169.254",
                    "192.168.0.1",
                    "172.20.0.1",
                    "127.0.0.1",
                    "fd00::1",
                    "fe80::1",
                ):
                    inside = [ip_network(one) for one in block.get("except", [])]
                    whole, address = ip_network(block["cidr"]), ip_network(ours)
                    if whole.version == address.version and address.subnet_of(whole):
                        assert any(one.version == address.version and address.subnet_of(one) for one in inside), ours
    assert out == OUTSIDE


def test_only_envoy_is_reached_from_outside() -> None:
    """Policies without a peer are open to everybody."""
    open_to_all = {
        name for name, policy in policies().items() for rule in policy.get("ingress", []) if not rule.get("from")
    }
    assert open_to_all == {"envoy"}
    assert {
        thing["metadata"]["name"]
        for thing in kubernetes("Service")
        if thing["spec"].get("type", "ClusterIP") != "ClusterIP"
    } == {"envoy"}


@pytest.mark.parametrize("caller", sorted(name for name in composition() if "networks" in composition()[name]))
def test_containers_share_a_network_with_whom_they_call(caller: str, tmp_path: Path) -> None:
    """And the gateway shares none with the database."""
    services = composition()
    for flow in wanted_by_the_composition(tmp_path):
        if flow.caller in {caller, {"prepare": "migrate"}.get(caller)}:
            assert set(services[caller]["networks"]) & set(services[flow.server]["networks"]), flow
    if caller in {"envoy", "control-plane", "operator"}:
        for keeper in ("postgres", "valkey"):
            assert not set(services[caller]["networks"]) & set(services[keeper]["networks"])


def test_only_who_calls_strangers_has_a_network_that_leads_out() -> None:
    """The other networks of the composition are internal; Envoy's own network publishes its ports."""
    networks = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["networks"]
    leading_out = {name for name, network in networks.items() if not (network or {}).get("internal")}
    who = {name for name, service in composition().items() if leading_out & set(service.get("networks", []))}
    assert who == {*OUTSIDE, "envoy", "grafana", "alertmanager", "otel-collector"}
