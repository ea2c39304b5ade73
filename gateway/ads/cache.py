"""What is current, what was last known to be good, and what every Envoy said about it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from gateway.ads.protocol import Acked, Nacked
from gateway.ads.resources import ORDER
from gateway.ads.snapshot import EMPTY, Snapshot

log = structlog.get_logger(__name__)

_MOST_NODES = 1000
_LONGEST_DETAIL = 2000


class SnapshotRefusedError(Exception):
    """An Envoy refused the snapshot; the text says which Envoy and why."""


@dataclass(slots=True)
class TypeState:
    """What one Envoy said about one type: the versions it took and refused last, why it refused, and when."""

    accepted: str = ""
    accept_time: datetime | None = None
    refused: str = ""
    refuse_time: datetime | None = None
    detail: str = ""


@dataclass(slots=True)
class NodeState:
    """One Envoy: its open streams, the variant that it speaks, since when it is as it is, and what it said by type.

    `sent` counts the resources that it was sent since this process started.
    """

    streams: int = 0
    variant: str = ""
    since: datetime | None = None
    sent: int = 0
    types: dict[str, TypeState] = field(default_factory=dict)

    def has(self, snapshot: Snapshot) -> bool:
        """Tell whether the Envoy took every type of the snapshot."""
        return all(
            self.types.get(type_url, _UNHEARD).accepted == snapshot.versions[type_url]
            for type_url in ORDER
            if snapshot.resources[type_url]
        )

    def refusals(self, snapshot: Snapshot) -> dict[str, TypeState]:
        """Return the types of the snapshot that the Envoy refused and did not take since."""
        return {
            type_url: state
            for type_url, state in self.types.items()
            if state.refused and state.refused == snapshot.versions.get(type_url) != state.accepted
        }


_UNHEARD = TypeState()


class SnapshotCache:
    """Holds one snapshot for all Envoys of the gateway, which are replicas of each other.

    `wanted` is what was published last, `current` what is served, and `last_good` what an Envoy took every type of. A
    refusal makes the last good snapshot current again, so that no Envoy is left with half of a bad one and none that
    comes later is given it; it stays `wanted`, and whoever asks sees that it is not what is served.
    """

    def __init__(self) -> None:
        self.wanted: Snapshot = EMPTY
        self.current: Snapshot = EMPTY
        self.last_good: Snapshot = EMPTY
        self.nodes: dict[str, NodeState] = {}
        self.refused = 0
        self._listeners: set[asyncio.Event] = set()

    def publish(self, snapshot: Snapshot) -> None:
        """Make the snapshot current and wake all streams; what is published already is not published again."""
        if snapshot.version == self.wanted.version:
            return
        self.wanted = self.current = snapshot
        log.info("snapshot_published", version=snapshot.version, resources=len(snapshot.all()))
        self._wake()

    async def taken(self, snapshot: Snapshot, patience: float) -> bool:
        """Wait until every connected Envoy took the published snapshot or a later one was published.

        False means that `patience` seconds were not enough, or that no Envoy is connected.

        Raises:
            SnapshotRefusedError: an Envoy refused it.
        """
        with self.changes() as changed:
            try:
                async with asyncio.timeout(patience):
                    while self.wanted is snapshot:
                        connected = [node for node in self.nodes.values() if node.streams]
                        if connected and all(node.has(snapshot) for node in connected):
                            return True
                        self._raise_refusal(snapshot)
                        await changed.wait()
                        changed.clear()
            except TimeoutError:
                return False
        return True

    @contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the current snapshot or an Envoy's state changes."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    @contextmanager
    def connected(self, node_id: str, variant: str = "") -> Iterator[NodeState]:
        """Count a stream of the node while it is open, and give the node."""
        node = self._node(node_id)
        node.streams += 1
        node.variant, node.since = variant, datetime.now(UTC)
        self._wake()
        try:
            yield node
        finally:
            node.streams -= 1
            node.since = datetime.now(UTC)
            self._wake()

    def heard(self, node_id: str, said: Acked | Nacked) -> None:
        """Note what an Envoy said about a version."""
        node = self._node(node_id)
        state = node.types.setdefault(said.type_url, TypeState())
        if isinstance(said, Acked):
            state.accepted, state.accept_time = said.version, datetime.now(UTC)
            if self.current is not self.last_good and node.has(self.current):
                self.last_good = self.current
                log.info("snapshot_accepted", version=self.current.version, node=node_id)
        else:
            self.refused += 1
            state.refused, state.refuse_time = said.version, datetime.now(UTC)
            state.detail = said.detail[:_LONGEST_DETAIL]
            log.error("snapshot_refused", node=node_id, type=said.type_url, version=said.version, detail=state.detail)
            if said.version == self.current.versions.get(said.type_url) and self.last_good is not EMPTY:
                self.current = self.last_good
                log.warning("snapshot_rolled_back", version=self.current.version)
        self._wake()

    def _node(self, node_id: str) -> NodeState:
        """Return the state of a node; those that went first are forgotten when there are too many."""
        if node_id not in self.nodes and len(self.nodes) >= _MOST_NODES:
            gone = next((name for name, node in self.nodes.items() if not node.streams), None)
            if gone is not None:
                del self.nodes[gone]
        return self.nodes.setdefault(node_id, NodeState())

    def _raise_refusal(self, snapshot: Snapshot) -> None:
        for name, node in self.nodes.items():
            for state in node.refusals(snapshot).values():
                raise SnapshotRefusedError(f"{name} refused the configuration: {state.detail}")

    def _wake(self) -> None:
        for event in self._listeners:
            event.set()
