"""The whole of what Envoy is told, as one snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import descriptor_pb2

from gateway.addresses import Endpoints, HostPort
from gateway.ads.resources import Message, Resource
from gateway.ads.snapshot import Snapshot
from gateway.edge import clusters, contracts, filters, listeners, routes
from gateway.edge.routes import Pages


@dataclass(frozen=True, slots=True)
class Edge:
    """What does not change while the control plane runs."""

    https: HostPort
    http: HostPort
    https_port: int
    certificate: Path
    key: Path
    cors_origins: Sequence[str]
    image: descriptor_pb2.FileDescriptorSet
    openapi: str
    docs: str


def snapshot(edge: Edge, endpoints: Endpoints, jwks: str | None) -> Snapshot:
    """Return the snapshot for these endpoints and this key set (JSON text, None while it is not known).

    Methods of services without endpoints setting are not routed.

    Raises:
        ValueError: the parts do not make a configuration that Envoy would take.
    """
    methods = [method for method in contracts.methods(edge.image) if method.owner in endpoints]
    services = sorted({method.service for method in methods})
    https_filters = filters.https_filters(contracts.transcodable(edge.image), services, sorted(endpoints))
    http_filters = [*filters.health_filters(sorted(endpoints)), filters.router()]
    pages = Pages(openapi=edge.openapi, docs=edge.docs, jwks=jwks)
    messages: list[Message] = [
        *(clusters.cluster(name) for name in endpoints),
        *(clusters.assignment(name, addresses) for name, addresses in endpoints.items()),
        listeners.https_listener(edge.https, https_filters),
        listeners.http_listener(edge.http, http_filters),
        listeners.certificate(edge.certificate, edge.key),
        *([filters.token_check(jwks)] if jwks is not None else []),
        routes.https_routes(methods, pages, edge.cors_origins),
        routes.http_routes(edge.https_port),
    ]
    return Snapshot.of(Resource.of(message) for message in messages)
