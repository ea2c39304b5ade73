"""A client of ADS as Envoy is one, without any connection: it keeps a view and says what it thinks of responses.

It waits for the endpoints of clusters that changed before it acknowledges these, it takes the good half of a response
that it refuses, and it forgets what it unsubscribes from.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy_data_plane.google.rpc import Status

from gateway.ads.delta import DeltaSession
from gateway.ads.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from gateway.ads.session import Session
from gateway.ads.snapshot import Snapshot

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
NEEDED_BY = {ENDPOINT: CLUSTER, ROUTE: LISTENER}
REFUSED = Status(code=3, message="no")


@dataclass
class Client:
    """One client and its stream. `pool` finds the resource of a type by the bytes that were sent."""

    delta: bool
    pool: dict[tuple[str, bytes], Resource]
    view: dict[str, dict[str, Resource]] = field(default_factory=lambda: {type_url: {} for type_url in TYPES})
    versions: dict[str, str] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    cold: set[str] = field(default_factory=set)
    held_back: list[Any] = field(default_factory=list)
    received: deque[Any] = field(default_factory=deque)
    session: Any = None
    superseded: int = 0
    unsettled: bool = False
    refused: bool = False

    def connect(self) -> None:
        """Open a stream and ask for everything, saying what is there already; what was on its way is lost."""
        # The state of the world gives a server that comes back no word of what a client has.
        self.unsettled = not self.delta and bool(self.versions)
        self.session = DeltaSession() if self.delta else Session()
        self.received.clear()
        self.held_back.clear()
        self.nonces.clear()
        for type_url in TYPES:
            self.names[type_url] = self._needed(type_url)
            if self.delta:
                known = {name: one.version for name, one in self.view[type_url].items()}
                self._say(
                    DeltaDiscoveryRequest(
                        node=Node(id="n"),
                        type_url=type_url,
                        resource_names_subscribe=sorted(self.names[type_url]),
                        initial_resource_versions=known,
                    )
                )
            else:
                self._say(
                    DiscoveryRequest(
                        node=Node(id="n"),
                        type_url=type_url,
                        version_info=self.versions.get(type_url, ""),
                        resource_names=sorted(self.names[type_url]),
                    )
                )

    def pump(self, snapshot: Snapshot, at_most: int = 1000) -> None:
        """Let the server send what is due now."""
        for _ in range(at_most):
            response = self.session.next_response(snapshot)
            if response is None:
                return
            version = response.version_info if isinstance(response, DiscoveryResponse) else response.system_version_info
            self.superseded += version.split("+")[0] != snapshot.versions[response.type_url]
            self.received.append(response)
        raise AssertionError("the server never stops sending")

    def read(self, *, take: bool = True) -> None:
        """Read the next response, and take or refuse it."""
        if not self.received:
            return
        response = self.received.popleft()
        sent = self._sent(response)
        gone = self._gone(response, sent)
        if not take:
            # The good half of it has its effect all the same.
            sent = dict(list(sent.items())[: len(sent) // 2])
        if response.type_url == CLUSTER:
            self.refused = not take
        self._apply(response.type_url, sent, gone)
        if take and isinstance(response, DiscoveryResponse):
            self.versions[response.type_url] = response.version_info
        self._answer(response, None if take else REFUSED)
        self._ask_for_what_is_needed()

    def _sent(self, response: Any) -> dict[str, Resource]:
        packed = [one.resource if self.delta else one for one in response.resources]
        found = [self.pool[response.type_url, one.value] for one in packed]
        return {one.name: one for one in found}

    def _gone(self, response: Any, sent: dict[str, Resource]) -> set[str]:
        if isinstance(response, DeltaDiscoveryResponse):
            return set(response.removed_resources)
        return set(self.view[response.type_url]) - set(sent) if response.type_url in {CLUSTER, LISTENER} else set()

    def _apply(self, type_url: str, sent: dict[str, Resource], gone: set[str]) -> None:
        view = self.view[type_url]
        for name, resource in sent.items():
            if type_url == CLUSTER and view.get(name) != resource:
                self.cold.add(name)
            view[name] = resource
        for name in gone:
            view.pop(name, None)
        if type_url == ENDPOINT:
            assert not gone & set(self.view[CLUSTER]), "the endpoints of a cluster were taken away"
            self.cold -= sent.keys()
        self.cold &= self.view[CLUSTER].keys()
        if not self.unsettled:
            self._look()

    def _look(self) -> None:
        """Check that nothing in use points at something that is not there."""
        for listener in self.view[LISTENER]:
            route = self.view[ROUTE].get(listener)
            for reference in route.references if route else ():
                assert reference.name in self.view[CLUSTER], f"routes lead to {reference.name}, which is not there"

    def _answer(self, response: Any, error: Status | None) -> None:
        type_url = response.type_url
        self.nonces[type_url] = response.nonce
        answer: Any
        if self.delta:
            answer = DeltaDiscoveryRequest(type_url=type_url, response_nonce=response.nonce, error_detail=error)
        else:
            answer = DiscoveryRequest(
                type_url=type_url,
                version_info=self.versions.get(type_url, ""),
                response_nonce=response.nonce,
                resource_names=sorted(self.names[type_url]),
                error_detail=error,
            )
        if type_url == CLUSTER and error is None:
            self.held_back.append(answer)
        else:
            self._say(answer)
        if not self.cold:
            for one in self.held_back:
                self._say(one)
            self.held_back.clear()

    def _needed(self, type_url: str) -> set[str]:
        return set(self.view[NEEDED_BY[type_url]]) if type_url in NEEDED_BY else set()

    def _ask_for_what_is_needed(self) -> None:
        for type_url in NEEDED_BY:
            needed, asked = self._needed(type_url), self.names[type_url]
            if needed == asked:
                continue
            self.names[type_url] = needed
            self.view[type_url] = {name: one for name, one in self.view[type_url].items() if name in needed}
            if self.delta:
                self._say(
                    DeltaDiscoveryRequest(
                        type_url=type_url,
                        resource_names_subscribe=sorted(needed - asked),
                        resource_names_unsubscribe=sorted(asked - needed),
                    )
                )
            else:
                self._say(
                    DiscoveryRequest(
                        type_url=type_url,
                        version_info=self.versions.get(type_url, ""),
                        response_nonce=self.nonces.get(type_url, ""),
                        resource_names=sorted(needed),
                    )
                )

    def _say(self, request: Any) -> None:
        self.session.receive(request)
