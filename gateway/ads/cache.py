"""What is current, what was last known to be good, and what every Envoy said about it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from gateway.ads.resources import ORDER
from gateway.ads.session import Acked, Nacked
from gateway.ads.snapshot import EMPTY, Snapshot, steps

log = structlog.get_logger(__name__)


class SnapshotRefusedError(Exception):
    """An Envoy refused the snapshot; the one before it is current again."""


@dataclass(slots=True)
class TypeState:
    """What one Envoy said about one type: the versions it took and refused last, and why it refused."""

    accepted: str = ""
    refused: str = ""
    detail: str = ""
    at: datetime | None = None


@dataclass(slots=True)
class NodeState:
    """One Envoy: its open streams and what it said, by type."""

    streams: int = 0
    types: dict[str, TypeState] = field(default_factory=dict)


class SnapshotCache:
    """Holds one snapshot for all Envoys of the gateway, which are replicas of each other.

    A snapshot is good once an Envoy took every type of it. A refusal makes the last good snapshot current again, so
    that no Envoy is left with half of a bad one and none that comes later is given it.
    """

    def __init__(self) -> None:
        self.current: Snapshot = EMPTY
        self.last_good: Snapshot = EMPTY
        self.nodes: dict[str, NodeState] = {}
        self._listeners: set[asyncio.Event] = set()

    def publish(self, snapshot: Snapshot) -> None:
        """Make the snapshot current and wake all streams."""
        if snapshot.version == self.current.version:
            return
        self.current = snapshot
        log.info("snapshot_published", version=snapshot.version, resources=len(snapshot.all()))
        self._wake()

    async def roll_out(self, target: Snapshot, patience: float = 5.0) -> None:
        """Publish the target by steps that take nothing away that is in use.

        The connected Envoys have `patience` seconds to take a step before the next one follows.

        Raises:
            SnapshotRefusedError: an Envoy refused a step; the last good snapshot is current again.
        """
        *bridges, last = steps(self.current, target)
        for step in bridges:
            self.publish(step)
            if not await self.settled(step, patience):
                log.warning("snapshot_not_taken_in_time", version=step.version, seconds=patience)
        self.publish(last)

    async def settled(self, snapshot: Snapshot, patience: float) -> bool:
        """Wait until every connected Envoy took the snapshot; False when `patience` seconds were not enough.

        Raises:
            SnapshotRefusedError: an Envoy refused it.
        """
        with self.changes() as changed:
            try:
                async with asyncio.timeout(patience):
                    while not self._taken_by_all(snapshot):
                        if self.current.version != snapshot.version:
                            raise SnapshotRefusedError(f"snapshot {snapshot.version} is no longer current")
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
    def connected(self, node_id: str) -> Iterator[None]:
        """Count a stream of the node while it is open."""
        node = self.nodes.setdefault(node_id, NodeState())
        node.streams += 1
        try:
            yield
        finally:
            node.streams -= 1
            self._wake()

    def heard(self, node_id: str, said: Acked | Nacked) -> None:
        """Note what an Envoy said about a version."""
        state = self.nodes.setdefault(node_id, NodeState()).types.setdefault(said.type_url, TypeState())
        state.at = datetime.now(UTC)
        if isinstance(said, Acked):
            state.accepted = said.version
            if self.current is not self.last_good and self._taken_by(node_id, self.current):
                self.last_good = self.current
                log.info("snapshot_accepted", version=self.current.version, node=node_id)
        else:
            state.refused, state.detail = said.version, said.detail
            log.error(
                "snapshot_refused", node=node_id, type=said.type_url, version=said.version, detail=said.detail[:2000]
            )
            if said.version == self.current.versions.get(said.type_url) and self.last_good is not EMPTY:
                self.current = self.last_good
                log.warning("snapshot_rolled_back", version=self.current.version)
        self._wake()

    def _wake(self) -> None:
        for event in self._listeners:
            event.set()

    def _taken_by(self, node_id: str, snapshot: Snapshot) -> bool:
        types = self.nodes[node_id].types
        return all(
            types.get(type_url, TypeState()).accepted == snapshot.versions[type_url]
            for type_url in ORDER
            if snapshot.resources[type_url]
        )

    def _taken_by_all(self, snapshot: Snapshot) -> bool:
        return all(self._taken_by(name, snapshot) for name, node in self.nodes.items() if node.streams)
