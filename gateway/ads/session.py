"""The state-of-the-world protocol of one stream, without any I/O: requests go in, the next response comes out."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.protobuf import Any

from gateway.ads.protocol import AFTER, REFERRERS, Acked, Nacked, node_of
from gateway.ads.resources import CLUSTER, ENDPOINT, ORDER, WILDCARD, Resource
from gateway.ads.snapshot import EMPTY, Snapshot


@dataclass(slots=True)
class _Watch:
    """What the client wants of one type, what it was sent last, and what it said to that.

    `names` is None where it wants everything. `version` is the type's version in the snapshot that the last response
    was made of; `sent` is what that response held and `held` what the last one held that the client took.
    """

    names: frozenset[str] | None
    version: str = ""
    nonce: str = ""
    taken: bool = False
    # True when an answer is owed although the version is the one that was sent last.
    owed: bool = True
    sent: Mapping[str, Resource] = field(default_factory=dict)
    held: Mapping[str, Resource] = field(default_factory=dict)
    # True while the client has been left things that the snapshot no longer has.
    kept: bool = False
    # True while the version is what the client said it has, and what that holds is not known here.
    claimed: bool = False


@dataclass(slots=True)
class Session:
    """One stream: `receive` takes a request, `next_response` says what to send now.

    - A response is made of the snapshot given at that moment: none that was superseded meanwhile is ever sent.
    - The first request names the node; later ones need not.
    - A request whose nonce is not the last one sent for its type is stale and changes nothing.
    - The first request of a type is answered as soon as there is something to answer, whatever version the client says
      it has: after a reconnection it may ask for names that it did not have before. Only where it wants everything
      (clusters, listeners) is its word enough.
    - A refused version is not sent again until the snapshot or the client's wishes change.
    - A watch that the snapshot cannot answer yet stays and is answered when it can be.
    - What must wait for what is said in `gateway.ads.protocol`. A client that reconnects does not say which clusters it
      has, so clusters that went while it was away, or before it took any on this stream, are taken from it at once;
      delta has no such gap.
    """

    node_id: str = ""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _nonces: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def receive(self, request: DiscoveryRequest) -> Acked | Nacked | None:
        """Take a request; return what it says about a version of its type, None when it says nothing.

        Raises:
            ProtocolError: the first request names no node, or a request names no type.
        """
        self.node_id = node_of(request, self.node_id)
        names = frozenset(request.resource_names)
        watch = self._watches.get(request.type_url)
        if watch is None:
            return self._open(request, names)
        if request.response_nonce != watch.nonce:
            return None
        wanted = _wanted(request.type_url, names, everything=not names and watch.names is None)
        if wanted is not None and (watch.names is None or not wanted <= watch.names):
            watch.owed = True
        watch.names = wanted
        if not watch.nonce:
            return None
        if request.error_detail is not None:
            watch.taken = False
            return Nacked(request.type_url, watch.version, request.error_detail.message)
        watch.taken, watch.held = True, watch.sent
        return None if watch.kept else Acked(request.type_url, watch.version)

    def next_response(self, snapshot: Snapshot) -> DiscoveryResponse | None:
        """Return the next response that this snapshot makes due, in make-before-break order; None without one."""
        if snapshot is EMPTY:
            return None
        for type_url in ORDER:
            watch = self._watches.get(type_url)
            if watch is None:
                continue
            if watch.claimed and watch.version == snapshot.versions[type_url]:
                watch.claimed, watch.sent, watch.held = (
                    False,
                    snapshot.resources[type_url],
                    snapshot.resources[type_url],
                )
            if self._is_due(type_url, watch, snapshot):
                return self._respond(type_url, watch, snapshot)
        return None

    def _open(self, request: DiscoveryRequest, names: frozenset[str]) -> Acked | None:
        watch = _Watch(_wanted(request.type_url, names, everything=not names))
        self._watches[request.type_url] = watch
        if watch.names is not None or not request.version_info:
            return None
        watch.version, watch.taken, watch.owed, watch.claimed = request.version_info, True, False, True
        return Acked(request.type_url, request.version_info)

    def _is_due(self, type_url: str, watch: _Watch, snapshot: Snapshot) -> bool:
        if watch.names is not None and not _selected(snapshot, type_url, watch.names):
            return False
        if not all(self._is_taken(before, snapshot) for before in AFTER.get(type_url, ())):
            return False
        fresh = watch.owed or watch.version != snapshot.versions[type_url]
        return fresh or (watch.kept and self._may_remove(type_url, snapshot))

    def _is_taken(self, type_url: str, snapshot: Snapshot) -> bool:
        """Tell whether the client has all that the snapshot has for it; it may have more."""
        watch = self._watches.get(type_url)
        if watch is None or (watch.names is not None and not _selected(snapshot, type_url, watch.names)):
            return True
        return watch.taken and not watch.owed and watch.version == snapshot.versions[type_url]

    def _may_remove(self, type_url: str, snapshot: Snapshot) -> bool:
        return all(self._is_taken(referrer, snapshot) for referrer in REFERRERS.get(type_url, ()))

    def _respond(self, type_url: str, watch: _Watch, snapshot: Snapshot) -> DiscoveryResponse:
        selected = _selected(snapshot, type_url, watch.names)
        kept: Mapping[str, Resource] = {}
        if type_url == CLUSTER and not self._may_remove(type_url, snapshot):
            kept = {name: one for name, one in watch.held.items() if name not in selected}
        sending = {**selected, **kept}
        endpoints = self._watches.get(ENDPOINT) if type_url == CLUSTER else None
        if endpoints is not None and any(watch.sent.get(name) != one for name, one in sending.items()):
            # A changed cluster waits for its endpoints again; Envoy's request for them looks like an ACK.
            endpoints.owed = True
        watch.owed, watch.taken, watch.claimed, watch.kept = False, False, False, bool(kept)
        watch.version, watch.sent = snapshot.versions[type_url], sending
        watch.nonce = str(next(self._nonces))
        return DiscoveryResponse(
            # With what is kept it is not that version, and a client that comes again must not be taken to have it.
            version_info=f"{watch.version}+{len(kept)}" if kept else watch.version,
            type_url=type_url,
            nonce=watch.nonce,
            resources=[Any(type_url=type_url, value=resource.value) for resource in sending.values()],
        )


def _wanted(type_url: str, names: frozenset[str], *, everything: bool) -> frozenset[str] | None:
    """Return the names wanted, None for everything: only clusters and listeners may be had without naming them."""
    return None if type_url in WILDCARD and (everything or "*" in names) else names


def _selected(snapshot: Snapshot, type_url: str, names: frozenset[str] | None) -> Mapping[str, Resource]:
    available = snapshot.resources.get(type_url, {})
    return available if names is None else {name: one for name, one in available.items() if name in names}
