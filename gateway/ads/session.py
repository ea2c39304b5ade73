"""The state-of-the-world protocol of one stream, without any I/O: requests go in, the next response comes out."""

import itertools
from dataclasses import dataclass, field

from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.protobuf import Any

from gateway.ads.resources import CLUSTER, ENDPOINT, ORDER, WILDCARD, Resource
from gateway.ads.snapshot import Snapshot


class ProtocolError(ValueError):
    """The client broke the protocol; the text says how."""


@dataclass(frozen=True, slots=True)
class Acked:
    """The client took the version."""

    type_url: str
    version: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client refused the version and goes on with what it had; `detail` is its reason."""

    type_url: str
    version: str
    detail: str


@dataclass(slots=True)
class _Watch:
    """What the client wants of one type, and what it was sent last. `names` is None where it wants everything."""

    names: frozenset[str] | None
    version: str = ""
    nonce: str = ""
    # True when an answer is owed although the version is the one that was sent last.
    owed: bool = True


@dataclass(slots=True)
class Session:
    """One stream: `receive` takes a request, `next_response` says what to send now.

    - A response is made of the snapshot given at that moment: none that was superseded meanwhile is ever sent.

    - The first request names the node; later ones need not.
    - A request whose nonce is not the last one sent for its type is stale and changes nothing.
    - The first request of a type is always answered as soon as there is something to answer, whatever version the
      client says it has: after a reconnection it may ask for names that it did not have before.
    - A refused version is not sent again until the snapshot or the client's wishes change.
    - A watch that the snapshot cannot answer yet stays and is answered when it can be.
    """

    node_id: str = ""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _nonces: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def receive(self, request: DiscoveryRequest) -> Acked | Nacked | None:
        """Take a request; return what it says about the last response of its type, None when it says nothing.

        Raises:
            ProtocolError: the first request names no node, or a request names no type.
        """
        if not self.node_id:
            if request.node is None or not request.node.id:
                raise ProtocolError("the first request must name its node")
            self.node_id = request.node.id
        if not request.type_url:
            raise ProtocolError("a request on an aggregated stream must name its type")
        names = frozenset(request.resource_names)
        watch = self._watches.get(request.type_url)
        if watch is None:
            self._watches[request.type_url] = _Watch(_wanted(request.type_url, names, everything=not names))
            return None
        if request.response_nonce != watch.nonce:
            return None
        wanted = _wanted(request.type_url, names, everything=not names and watch.names is None)
        if wanted is not None and (watch.names is None or not wanted <= watch.names):
            watch.owed = True
        watch.names = wanted
        if not watch.nonce:
            return None
        if request.error_detail is not None:
            return Nacked(request.type_url, watch.version, request.error_detail.message)
        return Acked(request.type_url, watch.version)

    def next_response(self, snapshot: Snapshot) -> DiscoveryResponse | None:
        """Return the next response that this snapshot makes due, in make-before-break order; None without one."""
        for type_url in ORDER:
            watch = self._watches.get(type_url)
            if watch is None or not (watch.owed or watch.version != snapshot.versions[type_url]):
                continue
            resources = _selected(snapshot, type_url, watch.names)
            if not resources:
                continue
            watch.owed = False
            watch.version = snapshot.versions[type_url]
            watch.nonce = str(next(self._nonces))
            if type_url == CLUSTER and ENDPOINT in self._watches:
                # A changed cluster waits for its endpoints again; Envoy's request for them looks like an ACK.
                self._watches[ENDPOINT].owed = True
            return DiscoveryResponse(
                version_info=watch.version,
                type_url=type_url,
                nonce=watch.nonce,
                resources=[Any(type_url=type_url, value=resource.value) for resource in resources],
            )
        return None


def _wanted(type_url: str, names: frozenset[str], *, everything: bool) -> frozenset[str] | None:
    """Return the names wanted, None for everything: only clusters and listeners may be had without naming them."""
    return None if type_url in WILDCARD and (everything or "*" in names) else names


def _selected(snapshot: Snapshot, type_url: str, names: frozenset[str] | None) -> list[Resource]:
    available = snapshot.resources.get(type_url, {})
    return [resource for name, resource in available.items() if names is None or name in names]
