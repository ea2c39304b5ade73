"""Traces in Envoy's configuration: nothing of them without a collector, and never an address with one."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from gateway.addresses import HostPort
from gateway.ads.resources import CLUSTER, LISTENER
from gateway.ads.snapshot import Snapshot
from gateway.certificates import Certificates
from gateway.edge import tracing
from gateway.edge.clients import Proxies
from gateway.edge.resources import snapshot
from gateway.edge.tracing import Tracing
from tests.gateway.static import own_pair, real_edge

TO = Tracing(HostPort("collector", 4317), 0.25, callers_decide=False)
BEHIND = Proxies(1, (ip_network("10.0.0.0/8"),), name_host=False)


def made(folder: Path, traced: Tracing | None, proxies: Proxies | None = None) -> Snapshot:
    """Return the snapshot of an edge."""
    endpoints = {name: (HostPort("127.0.0.1", 7000),) for name in ("tenant", "crm", "tickets", "recommendations")}
    edge = replace(real_edge(proxies), tracing=traced)
    return snapshot(edge, endpoints, None, Certificates(server=own_pair(folder)))


def managers(whole: Snapshot) -> dict[str, HttpConnectionManager]:
    """Return the connection managers by their names."""
    listeners = [Listener.parse(resource.value) for resource in whole.resources[LISTENER].values()]
    chains = [chain for listener in listeners for chain in listener.filter_chains]
    packed = [each.typed_config for chain in chains for each in chain.filters]
    found = [HttpConnectionManager.parse(one.value) for one in packed if one is not None]
    return {manager.stat_prefix: manager for manager in found}


def test_without_a_collector_envoy_hears_nothing_of_traces(tmp_path: Path) -> None:
    """No connection manager has a tracer, and there is no cluster to send spans to."""
    whole = made(tmp_path, None)
    assert all(manager.tracing is None for manager in managers(whole).values())
    assert tracing.CLUSTER not in whole.resources[CLUSTER]


@pytest.mark.parametrize(("proxies", "serving"), [(None, "https"), (BEHIND, "proxied")], ids=["direct", "behind-proxy"])
def test_what_serves_is_traced_without_addresses_and_what_redirects_is_not(
    tmp_path: Path, proxies: Proxies | None, serving: str
) -> None:
    """Spans are named by routes, hold no path, and come of every listener that serves."""
    whole = made(tmp_path, TO, proxies)
    found = managers(whole)
    assert tracing.CLUSTER in whole.resources[CLUSTER]
    assert found["http"].tracing is None
    for name in {serving, "https"}:
        traced = found[name].tracing
        assert traced is not None
        assert (traced.max_path_tag_length, traced.operation) == (0, "%ROUTE_NAME%")
        assert {tag.tag for tag in traced.custom_tags} == set(tracing.UNTOLD)
        assert not traced.verbose
