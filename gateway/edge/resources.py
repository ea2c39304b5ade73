"""The whole of what Envoy is told, as one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from google.protobuf import descriptor_pb2

from gateway.addresses import Endpoints, HostPort
from gateway.ads.resources import Message, Resource
from gateway.ads.snapshot import Snapshot
from gateway.certificates import Certificates
from gateway.edge import clusters, contracts, filters, listeners, predecessor, redirects, routes, tls, tracing, versions
from gateway.edge.clients import Patience, Proxies
from gateway.edge.quotas import Rates
from gateway.edge.routes import Pages
from gateway.edge.tracing import Tracing
from gateway.predecessor import Cutover, Predecessor
from gateway.shifts import Shift


@dataclass(frozen=True, slots=True)
class Edge:
    """What does not change while the control plane runs."""

    https: HostPort
    http: HostPort
    https_port: int
    proxies: Proxies | None
    patience: Patience
    hsts_max_age: int
    cors_origins: Sequence[str]
    image: descriptor_pb2.FileDescriptorSet
    openapi: str
    docs: str
    rates: Rates
    suite_secrets: Path | None = None
    predecessor: Predecessor | None = None
    tracing: Tracing | None = None


def snapshot(
    edge: Edge,
    endpoints: Endpoints,
    jwks: str | None,
    certificates: Certificates,
    shifts: Mapping[str, Shift] | None = None,
    cutover: Cutover | None = None,
) -> Snapshot:
    """Return the snapshot for these endpoints, certificates and this key set (JSON text, None while it is not known).

    `shifts` says by service how much of its traffic goes to another version, `cutover` which shops' requests may go to
    the predecessor.

    Methods of services without endpoints setting are not routed.

    Raises:
        ValueError: the parts do not make a configuration that Envoy would take.
    """
    methods = [method for method in contracts.methods(edge.image) if method.owner in endpoints]
    services = sorted({method.service for method in methods})
    hsts = [tls.hsts(edge.hsts_max_age)] if edge.hsts_max_age else []
    https_filters = hsts + filters.https_filters(contracts.transcodable(edge.image), services, edge.rates)
    if edge.predecessor is not None:
        # Behind the check of tokens and all limits, and before anything that is about Rapport's own services.
        at = [one.name for one in https_filters].index(filters.TOLERANT_TRANSCODER)
        https_filters.insert(at, predecessor.script_filter())
    pages = Pages(openapi=edge.openapi, docs=edge.docs, jwks=jwks)
    served = routes.https_routes(methods, pages, edge.cors_origins)
    versions.split(served, shifts or {})
    if edge.predecessor is not None:
        predecessor.add(served, edge.predecessor)
    messages: list[Message] = [
        *(clusters.cluster(name, edge.suite_secrets) for name in endpoints),
        *(clusters.assignment(name, addresses) for name, addresses in endpoints.items()),
        *([predecessor.cluster(edge.predecessor)] if edge.predecessor is not None else []),
        *([predecessor.script(cutover)] if edge.predecessor is not None else []),
        *([tracing.cluster(edge.tracing)] if edge.tracing is not None else []),
        listeners.https_listener(edge.https, https_filters, list(certificates.domains), edge.patience, edge.tracing),
        *tls.secrets(certificates),
        *([filters.token_check(jwks, shared_quotas=edge.rates.shared)] if jwks is not None else []),
        filters.ready_check(versions.leading(endpoints, shifts or {})),
        served,
        *_http(edge, served, https_filters, certificates.challenges),
    ]
    return Snapshot.of(Resource.of(message) for message in messages)


def with_share(whole: Snapshot, cutover: Cutover) -> Snapshot:
    """Return a snapshot with another share of a cut-over and all else as it is: building the rest takes far longer."""
    script = Resource.of(predecessor.script(cutover))
    kept = (one for one in whole.all() if (one.type_url, one.name) != (script.type_url, script.name))
    return Snapshot.of([*kept, script])


def _http(
    edge: Edge,
    served: RouteConfiguration,
    https_filters: Sequence[HttpFilter],
    challenges: Mapping[str, str],
) -> list[Message]:
    """Return the listener of HTTP and its routes."""
    plain = [*filters.health_filters(), filters.router()]
    if edge.proxies is None:
        return [
            listeners.http_listener(edge.http, plain, edge.patience, edge.https_port),
            redirects.http_routes(edge.https_port, challenges),
        ]
    return [
        listeners.proxied_listener(
            edge.http, https_filters, plain, edge.patience, edge.proxies, edge.https_port, edge.tracing
        ),
        redirects.refusing_routes(challenges),
        redirects.proxied_routes(served, edge.https_port, challenges),
    ]
