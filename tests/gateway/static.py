"""A snapshot as a static configuration, for `envoy --mode validate`, which knows no ADS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap, BootstrapStaticResources, LayeredRuntime, RuntimeLayer
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import DownstreamTlsContext, Secret
from envoy_data_plane.google.protobuf import Any as Packed

from gateway import pages, tls
from gateway.addresses import HostPort
from gateway.ads.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET
from gateway.ads.snapshot import Snapshot
from gateway.bootstrap import RUNTIME
from gateway.certificates import Certificates, Pair
from gateway.edge import contracts, messages
from gateway.edge.clients import Patience, Proxies
from gateway.edge.quotas import Rates
from gateway.edge.resources import Edge, snapshot
from tests.gateway.stack import free_port
from tests.gateway.upstream import ROOT


def real_edge(proxies: Proxies | None = None) -> Edge:
    """Return an edge with the real contracts."""
    return Edge(
        https=HostPort("127.0.0.1", free_port()),
        http=HostPort("127.0.0.1", free_port()),
        https_port=443,
        proxies=proxies,
        patience=Patience(),
        hsts_max_age=3600,
        cors_origins=("http://localhost:*",),
        image=contracts.parse((ROOT / "gen" / "rapport.binpb").read_bytes()),
        openapi=pages.openapi(""),
        docs=pages.docs(),
        rates=Rates(),
    )


def own_pair(folder: Path) -> Pair:
    """Return a pair of the local CA."""
    made = tls.ensure(folder / "tls")
    return Pair(made.certificate, made.key)


def real_snapshot(folder: Path, jwks: str | None, proxies: Proxies | None = None) -> Snapshot:
    """Return the snapshot of the real contracts."""
    services = ("tenant", "crm", "tickets", "recommendations")
    certificates = Certificates(server=own_pair(folder))
    endpoints = {name: (HostPort("127.0.0.1", 7000),) for name in services}
    return snapshot(real_edge(proxies), endpoints, jwks, certificates)


def static_bootstrap(folder: Path, jwks: str | None, proxies: Proxies | None = None) -> bytes:
    """Return the real snapshot with everything that would come by ADS written in place, as a serialised Bootstrap."""
    return static_form(real_snapshot(folder, jwks, proxies))


def static_form(whole: Snapshot) -> bytes:
    """Return a snapshot with everything that would come by ADS written in place, as a serialised Bootstrap."""
    runtime = RuntimeLayer(name="limits", static_layer=messages.struct(RUNTIME))
    made = Bootstrap(
        layered_runtime=LayeredRuntime(layers=[runtime]),
        static_resources=BootstrapStaticResources(
            clusters=[_cluster(whole, name) for name in whole.resources[CLUSTER]],
            listeners=[_listener(whole, name) for name in whole.resources[LISTENER]],
        ),
    )
    return bytes(made)


def _parse(whole: Snapshot, type_url: str, name: str, parse: Callable[[bytes], Any]) -> Any:
    return parse(whole.resources[type_url][name].value)


def _cluster(whole: Snapshot, name: str) -> Cluster:
    cluster: Cluster = _parse(whole, CLUSTER, name, Cluster.parse)
    cluster.type = ClusterDiscoveryType.STATIC
    cluster.eds_cluster_config = None
    cluster.load_assignment = _parse(whole, ENDPOINT, name, ClusterLoadAssignment.parse)
    return cluster


def _listener(whole: Snapshot, name: str) -> Listener:
    listener: Listener = _parse(whole, LISTENER, name, Listener.parse)
    for chain in listener.filter_chains:
        config = chain.filters[0].typed_config
        assert config is not None
        manager = HttpConnectionManager.parse(config.value)
        assert manager.rds is not None
        manager.route_config = _parse(whole, ROUTE, manager.rds.route_config_name, RouteConfiguration.parse)
        manager.rds = None
        for http_filter in manager.http_filters:
            if (source := http_filter.config_discovery) is not None:
                http_filter.config_discovery = None
                known = http_filter.name in whole.resources[EXTENSION]
                http_filter.typed_config = (
                    _parse(whole, EXTENSION, http_filter.name, TypedExtensionConfig.parse).typed_config
                    if known
                    else source.default_config
                )
        chain.filters[0].typed_config = Packed.pack(manager)
        if chain.transport_socket is not None and chain.transport_socket.typed_config is not None:
            context = DownstreamTlsContext.parse(chain.transport_socket.typed_config.value)
            common = context.common_tls_context
            assert common is not None
            secrets = [
                _parse(whole, SECRET, one.name, Secret.parse) for one in common.tls_certificate_sds_secret_configs
            ]
            common.tls_certificate_sds_secret_configs = []
            common.tls_certificates = [secret.tls_certificate for secret in secrets]
            # Without a control plane there is nobody who could give certificates on demand.
            if common.custom_tls_certificate_selector is not None:
                common.custom_tls_certificate_selector = None
                common.tls_certificates = [_parse(whole, SECRET, "server", Secret.parse).tls_certificate]
            chain.transport_socket.typed_config = Packed.pack(context)
    return listener
