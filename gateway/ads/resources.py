"""One xDS resource as it is served: its type, its name, its bytes, and which other resources it needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import DownstreamTlsContext, Secret
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
    """A resource, serialised once: `value` is what Envoy parses, `references` what must be served with it."""

    type_url: str
    name: str
    value: bytes
    references: frozenset[Reference] = frozenset()

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
        case Cluster(type=ClusterDiscoveryType.EDS, eds_cluster_config=config):
            yield Reference(ENDPOINT, (config.service_name if config else "") or message.name)
        case Listener():
            for chain in message.filter_chains:
                yield from _chain_references(chain)
        case RouteConfiguration():
            for host in message.virtual_hosts:
                for route in host.routes:
                    if route.route is not None and route.route.cluster:
                        yield Reference(CLUSTER, route.route.cluster)
        case _:
            return


def _chain_references(chain: "FilterChain") -> Iterator[Reference]:
    socket = chain.transport_socket
    if socket is not None and socket.typed_config is not None:
        common = DownstreamTlsContext.parse(socket.typed_config.value).common_tls_context
        for secret in common.tls_certificate_sds_secret_configs if common else ():
            yield Reference(SECRET, secret.name)
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
