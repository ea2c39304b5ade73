"""The incremental (delta) protocol of one stream, without any I/O: requests go in, the next response comes out."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy_data_plane.envoy.service.discovery.v3 import Resource as SentResource
from envoy_data_plane.google.protobuf import Any

from gateway.ads.protocol import AFTER, REFERRERS, Acked, Nacked, node_of
from gateway.ads.resources import CLUSTER, ENDPOINT, EXTENSION, ORDER, WILDCARD, Resource
from gateway.ads.snapshot import EMPTY, Snapshot

_IN_DOUBT = ""
"""The version of a resource that the client may have or not: it is sent again, or removed, when it may be."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A response that was not answered yet: the type's version, the versions of what it held, and what it removed."""

    version: str
    resources: Mapping[str, str]
    removed: Sequence[str]


@dataclass(slots=True)
class _Watch:
    """What the client wants of one type, and what it has of it.

    `known` holds the version of each resource that the client has, or has once it read what was sent; `held` names
    those that it said it has. `version` is the type's version in the snapshot that the last response was made of;
    `refused` and `kept` are what became of that response: the client did not take it, or was left things that are gone.
    """

    everything: bool
    names: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    version: str = ""
    refused: bool = False
    kept: bool = False
    # True when the client asked for something anew since it refused.
    asked: bool = False
    unanswered: dict[str, _Sent] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Tell whether the client wants the resource."""
        return self.everything or name in self.names

    def gone(self, snapshot: Snapshot, type_url: str) -> list[str]:
        """Return what the client has and the snapshot has not; what the snapshot does not know yet is not gone."""
        there = snapshot.resources[type_url].keys()
        pending = snapshot.pending if type_url == EXTENSION else frozenset()
        return [name for name in self.known if name not in there and name not in pending]

    def changed(self, snapshot: Snapshot, type_url: str) -> list[Resource]:
        """Return what the client wants and has not, or not in this version."""
        available = snapshot.resources[type_url]
        wanted: Iterable[Resource] = (
            available.values() if self.everything else (available[name] for name in self.names if name in available)
        )
        return [resource for resource in wanted if self.known.get(resource.name) != resource.version]


@dataclass(slots=True)
class DeltaSession:
    """One stream: `receive` takes a request, `next_response` says what to send now.

    - A response holds what the client has not, or not in this version, made of the snapshot given at that moment.
    - The first request of a type may say what the client has (`initial_resource_versions`): nothing of that is sent
      again after a reconnection, and what went meanwhile is removed, also by a server that was restarted.
    - The first request names the node; later ones need not.
    - Names are subscribed and unsubscribed by any request, whether it answers a response or not. A name that is
      subscribed again is sent again: the client may have forgotten it.
    - When a type's version changes and nothing of it concerns the client, it is told the new version by an empty
      response, and by its answer the server knows who is up to date.
    - What stood in a refused response is in doubt (Envoy takes the good clusters of a bad response): once the snapshot
      or the client's wishes change, all of it is sent anew or removed. A refused version is not sent again before.
    - A watch that the snapshot cannot answer yet stays and is answered when it can be.
    - What must wait for what is said in `gateway.ads.protocol`.
    """

    node_id: str = ""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _nonces: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def receive(self, request: DeltaDiscoveryRequest) -> Acked | Nacked | None:
        """Take a request; return what it says about a version of its type, None when it says nothing.

        Raises:
            ProtocolError: the first request names no node, or a request names no type.
        """
        self.node_id = node_of(request, self.node_id)
        watch = self._watches.get(request.type_url)
        if watch is None:
            self._watches[request.type_url] = _open(request)
            return None
        _subscribe(watch, request)
        sent = watch.unanswered.pop(request.response_nonce, None)
        if sent is None:
            return None
        if request.error_detail is not None:
            return _refused(watch, sent, request)
        watch.held = (watch.held | sent.resources.keys()) - set(sent.removed)
        if watch.unanswered or watch.refused or watch.kept:
            return None
        return Acked(request.type_url, sent.version)

    def next_response(self, snapshot: Snapshot) -> DeltaDiscoveryResponse | None:
        """Return the next response that this snapshot makes due, in make-before-break order; None without one."""
        if snapshot is EMPTY:
            return None
        for type_url in ORDER:
            watch = self._watches.get(type_url)
            if watch is not None and self._is_due(type_url, watch, snapshot):
                return self._respond(type_url, watch, snapshot)
        return None

    def _is_due(self, type_url: str, watch: _Watch, snapshot: Snapshot) -> bool:
        if not (watch.everything or watch.names or watch.known):
            return False
        if not all(self._is_taken(before, snapshot) for before in AFTER.get(type_url, ())):
            return False
        if watch.version != snapshot.versions[type_url]:
            return True
        if watch.refused and not watch.asked:
            return False
        if watch.changed(snapshot, type_url):
            return True
        # What was kept may be gone by itself, because the client unsubscribed: it is told the version all the same.
        return (watch.kept or self._keeps(type_url, snapshot)) and self._may_remove(type_url, snapshot)

    def _is_taken(self, type_url: str, snapshot: Snapshot) -> bool:
        """Tell whether the client has all that the snapshot has for it; it may have more."""
        watch = self._watches.get(type_url)
        if watch is None or not (watch.everything or watch.names or watch.known):
            return True
        answered = not watch.unanswered and not watch.refused
        return answered and watch.version == snapshot.versions[type_url] and not watch.changed(snapshot, type_url)

    def _may_remove(self, type_url: str, snapshot: Snapshot) -> bool:
        return all(
            self._is_taken(referrer, snapshot) and not self._keeps(referrer, snapshot)
            for referrer in REFERRERS.get(type_url, ())
        )

    def _keeps(self, type_url: str, snapshot: Snapshot) -> bool:
        watch = self._watches.get(type_url)
        return watch is not None and bool(watch.gone(snapshot, type_url))

    def _respond(self, type_url: str, watch: _Watch, snapshot: Snapshot) -> DeltaDiscoveryResponse:
        changed, gone = watch.changed(snapshot, type_url), watch.gone(snapshot, type_url)
        removed = gone
        if not self._may_remove(type_url, snapshot):
            # A cluster that was never taken is not pointed at; the client may wait for ever for it to get warm.
            removed = [name for name in gone if name not in watch.held] if type_url == CLUSTER else []
        watch.version, watch.kept = snapshot.versions[type_url], gone != removed
        watch.refused = watch.asked = False
        watch.known.update((resource.name, resource.version) for resource in changed)
        for name in removed:
            del watch.known[name]
        if type_url == CLUSTER:
            self._warm(changed)
        nonce = str(next(self._nonces))
        watch.unanswered[nonce] = _Sent(watch.version, {one.name: one.version for one in changed}, removed)
        return DeltaDiscoveryResponse(
            system_version_info=watch.version,
            type_url=type_url,
            nonce=nonce,
            resources=[
                SentResource(name=one.name, version=one.version, resource=Any(type_url=type_url, value=one.value))
                for one in changed
            ],
            removed_resources=removed,
        )

    def _warm(self, clusters: Iterable[Resource]) -> None:
        """Have the endpoints of changed clusters sent again: Envoy waits for them without asking."""
        if (endpoints := self._watches.get(ENDPOINT)) is None:
            return
        waited_for = {one.name for cluster in clusters for one in cluster.references if one.type_url == ENDPOINT}
        for name in waited_for & endpoints.known.keys():
            endpoints.known[name] = _IN_DOUBT
            endpoints.asked = True


def _open(request: DeltaDiscoveryRequest) -> _Watch:
    names = set(request.resource_names_subscribe)
    everything = request.type_url in WILDCARD and (not names or "*" in names)
    watch = _Watch(everything=everything, names=names - {"*"})
    watch.known = {name: version for name, version in request.initial_resource_versions.items() if watch.wants(name)}
    watch.held = set(watch.known)
    return watch


def _subscribe(watch: _Watch, request: DeltaDiscoveryRequest) -> None:
    for name in request.resource_names_unsubscribe:
        if name == "*":
            watch.everything = False
            watch.known = {known: version for known, version in watch.known.items() if known in watch.names}
            continue
        watch.names.discard(name)
        if not watch.everything:
            watch.known.pop(name, None)
        elif name in watch.known:
            # It is still wanted along with everything else, and the client must be told so.
            watch.known[name] = _IN_DOUBT
    for name in request.resource_names_subscribe:
        watch.asked = True
        if name == "*":
            watch.everything = request.type_url in WILDCARD
            continue
        watch.names.add(name)
        if name in watch.known:
            watch.known[name] = _IN_DOUBT


def _refused(watch: _Watch, sent: _Sent, request: DeltaDiscoveryRequest) -> Nacked:
    """Put in doubt what stood in the response, where nothing newer was sent since."""
    for name, version in sent.resources.items():
        if watch.known.get(name) == version:
            watch.known[name] = _IN_DOUBT
    for name in sent.removed:
        if watch.wants(name):
            watch.known.setdefault(name, _IN_DOUBT)
    if sent.version == watch.version and not watch.unanswered:
        watch.refused, watch.asked = True, False
    detail = request.error_detail.message if request.error_detail is not None else ""
    return Nacked(request.type_url, sent.version, detail)
