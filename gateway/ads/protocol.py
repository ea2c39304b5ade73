"""What both variants of the protocol share: what a client says, and what must wait for what.

Make before break is kept per stream, by waiting for the client's own words and not for a time to pass:

1. clusters, endpoints and secrets are sent as soon as they change; clusters that are gone are kept for now;
2. listeners, extensions and routes, which may name clusters, are sent when the client took the clusters (Envoy says so
   when they are warm);
3. what is gone is taken away when the client took everything that could still point at it.

A client that refuses any step stays at that step with a configuration that is whole.
"""

from dataclasses import dataclass

from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest

from gateway.ads.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET

AFTER: dict[str, tuple[str, ...]] = {LISTENER: (CLUSTER,), EXTENSION: (CLUSTER,), ROUTE: (CLUSTER,)}
"""The types that must have been taken before a type is sent. Endpoints and secrets are not among them: a cluster is
taken only when it is warm, and to be warm it needs these."""

REFERRERS: dict[str, tuple[str, ...]] = {
    CLUSTER: (LISTENER, EXTENSION, ROUTE),
    ENDPOINT: (CLUSTER,),
    SECRET: (CLUSTER, LISTENER),
    EXTENSION: (LISTENER,),
    ROUTE: (LISTENER,),
}
"""The types that may point at a type: all must have been taken, without what is gone, before something is removed."""


class ProtocolError(ValueError):
    """The client broke the protocol; the text says how."""


def node_of(request: DiscoveryRequest | DeltaDiscoveryRequest, known: str) -> str:
    """Return the node of a stream: `known`, or while that is empty the one that the request names.

    Raises:
        ProtocolError: the first request names no node, or a request names no type.
    """
    if not known:
        if request.node is None or not request.node.id:
            raise ProtocolError("the first request must name its node")
        known = request.node.id
    if not request.type_url:
        raise ProtocolError("a request on an aggregated stream must name its type")
    return known


@dataclass(frozen=True, slots=True)
class Acked:
    """The client has everything that it asked for of a type's version, and nothing that is gone."""

    type_url: str
    version: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client refused something of the version and goes on with what it had; `detail` is its reason."""

    type_url: str
    version: str
    detail: str
