"""One xDS resource as it is served: its type, its name, its bytes, and which other resources it needs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import TransportSocket, TypedExtensionConfig
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteAction, RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    Secret,
    UpstreamTlsContext,
)
from envoy_data_plane.message_pool import default_message_pool

from gateway.ads import constraints

if TYPE_CHECKING:
    from envoy_data_plane.envoy.config.listener.v3 import FilterChain

PREFIX = "type.googleapis.com/"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
ROUTE = PREFIX + "envoy.config.route.v3.RouteConfiguration"

ORDER = (CLUSTER, ENDPOINT, LISTENER, SECRET, EXTENSION, ROUTE)
"""All types, in the order in which they are sent: what is pointed at comes before what points at it."""

WILDCARD = frozenset({CLUSTER, LISTENER})
"""The types of which Envoy takes everything there is; of the others it asks for names."""

Message: TypeAlias = Cluster | ClusterLoadAssignment | Listener | Secret | TypedExtensionConfig | RouteConfiguration


@dataclass(frozen=True, slots=True)
class Reference:
    """A resource that another one needs, by type and name."""

    type_url: str
    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource, serialised once: `value` is what Envoy parses, `references` what must be served with it.

    `version` is a hash of the content: the same in every process and after every restart.
    """

    type_url: str
    name: str
    value: bytes
    references: frozenset[Reference] = frozenset()
    version: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the version."""
        object.__setattr__(self, "version", hashlib.sha256(self.value).hexdigest()[:16])

    @classmethod
    def of(cls, message: Message) -> "Resource":
        """Make the resource of a message.

        Raises:
            gateway.ads.constraints.ConstraintError: Envoy would refuse the message.
        """
        constraints.check(message)
        return cls(
            type_url=default_message_pool.type_to_url[type(message)],
            name=message.cluster_name if isinstance(message, ClusterLoadAssignment) else message.name,
            value=bytes(message),
            references=frozenset(_references(message)),
        )


def _references(message: Message) -> Iterator[Reference]:
    match message:
        case Cluster():
            if message.type == ClusterDiscoveryType.EDS:
                config = message.eds_cluster_config
                yield Reference(ENDPOINT, (config.service_name if config else "") or message.name)
            yield from _secrets(message.transport_socket)
        case Listener():
            for chain in message.filter_chains:
                yield from _secrets(chain.transport_socket)
                yield from _chain_references(chain)
            yield from _names_on_demand(message)
        case RouteConfiguration():
            for host in message.virtual_hosts:
                for route in host.routes:
                    if route.route is not None:
                        yield from (Reference(CLUSTER, name) for name in _destinations(route.route))
        case _:
            return


def _names_on_demand(listener: Listener) -> Iterator[Reference]:
    """Yield the certificates that are fetched by the name a client asks for: those that the matcher knows."""
    tree = listener.filter_chain_matcher.matcher_tree if listener.filter_chain_matcher else None
    for name in tree.exact_match_map.map if tree is not None and tree.exact_match_map is not None else ():
        yield Reference(SECRET, name)


def _destinations(action: RouteAction) -> Iterator[str]:
    if action.cluster:
        yield action.cluster
    if action.weighted_clusters is not None:
        yield from (one.name for one in action.weighted_clusters.clusters)


def _secrets(socket: TransportSocket | None) -> Iterator[Reference]:
    config = socket.typed_config if socket is not None else None
    if config is None:
        return
    common: CommonTlsContext | None = None
    if config.type_url.endswith(".DownstreamTlsContext"):
        common = DownstreamTlsContext.parse(config.value).common_tls_context
    elif config.type_url.endswith(".UpstreamTlsContext"):
        common = UpstreamTlsContext.parse(config.value).common_tls_context
    if common is None:
        return
    combined = common.combined_validation_context
    validation = common.validation_context_sds_secret_config or (
        combined.validation_context_sds_secret_config if combined is not None else None
    )
    for secret in (*common.tls_certificate_sds_secret_configs, *([validation] if validation is not None else [])):
        # A secret without a source stands in the bootstrap; one with a path is a file of Envoy's own.
        if secret.sds_config is not None and secret.sds_config.path_config_source is None:
            yield Reference(SECRET, secret.name)


def _chain_references(chain: "FilterChain") -> Iterator[Reference]:
    for network_filter in chain.filters:
        config = network_filter.typed_config
        if config is None or not config.type_url.endswith(".HttpConnectionManager"):
            continue
        manager = HttpConnectionManager.parse(config.value)
        if manager.rds is not None:
            yield Reference(ROUTE, manager.rds.route_config_name)
        for http_filter in manager.http_filters:
            if http_filter.config_discovery is not None:
                yield Reference(EXTENSION, http_filter.name)
