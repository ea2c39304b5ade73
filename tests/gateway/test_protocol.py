"""Whatever is published, taken, refused and cut off, in any order: the client ends with the snapshot."""

from itertools import product

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.ads.resources import Resource
from gateway.ads.snapshot import EMPTY, Snapshot
from tests.gateway.client import TYPES, Client
from tests.gateway.resources import cluster, listener, route

NAMES = "abc"
# Building a message is slow enough to be done once.
CLUSTERS = {
    (name, seconds, port): cluster(name, port, connect_seconds=seconds)
    for name, seconds, port in product(NAMES, (1.0, 2.0), (1, 2))
}
LISTENERS = {(name, port): listener(port, name) for name, port in product(("main", "other"), (1, 2))}
ROUTES = {
    (name, text, to): route(text, name, split=dict.fromkeys(to, 1) if to else None)
    for name in ("main", "other")
    for text in ("one", "two")
    for to in ("", *NAMES, "ab", "bc")
}
LAST = Snapshot.of(
    [
        *(one for name in NAMES for one in cluster(name, 9, connect_seconds=9.0)),
        *(one for name in ("main", "other") for one in (listener(9, name), route("last", name, to="a"))),
    ]
)
POOL = {
    (one.type_url, one.value): one
    for one in (
        *(one for pair in CLUSTERS.values() for one in pair),
        *LISTENERS.values(),
        *ROUTES.values(),
        *LAST.all(),
    )
}


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Draw a consistent snapshot."""
    resources: list[Resource] = []
    names = draw(st.sets(st.sampled_from(NAMES)))
    for name in sorted(names):
        resources += CLUSTERS[name, draw(st.sampled_from((1.0, 2.0))), draw(st.sampled_from((1, 2)))]
    possible = [to for to in ("", *NAMES, "ab", "bc") if set(to) <= names]
    for name in draw(st.sets(st.sampled_from(("main", "other")))):
        resources.append(LISTENERS[name, draw(st.sampled_from((1, 2)))])
        resources.append(ROUTES[name, draw(st.sampled_from(("one", "two"))), draw(st.sampled_from(possible))])
    return Snapshot.of(resources)


class Conversation(RuleBasedStateMachine):
    """A server and a client of the state of the world."""

    delta = False

    @initialize()
    def connect_first(self) -> None:
        """The client comes before anything was published."""
        self.snapshot = EMPTY
        self.client = Client(self.delta, POOL)
        self.client.connect()

    @rule(snapshot=snapshots())
    def publish(self, snapshot: Snapshot) -> None:
        """Something else becomes current; nothing is sent yet."""
        if snapshot.version != EMPTY.version:
            self.snapshot = snapshot

    @rule()
    def send(self) -> None:
        """The server sends what is due."""
        self.client.pump(self.snapshot)

    @precondition(lambda self: self.client.received)
    @rule(take=st.booleans())
    def read(self, *, take: bool) -> None:
        """The client reads one response."""
        self.client.read(take=take)

    @rule()
    def converse(self) -> None:
        """Both do what they can."""
        self.settle()

    @rule()
    def reconnect(self) -> None:
        """The stream breaks, and whatever was on its way is lost; the server may be a new process."""
        self.client.connect()

    @invariant()
    def nothing_superseded_is_sent(self) -> None:
        """Every response was made of what was current when it was sent."""
        assert self.client.superseded == 0

    def settle(self) -> None:
        """Send and read until there is nothing left to do."""
        for _ in range(200):
            self.client.pump(self.snapshot)
            if not self.client.received:
                # A server that no clusters were taken from yet still does not know which ones the client has.
                self.client.unsettled = self.client.unsettled and self.client.refused
                return
            self.client.read()
        raise AssertionError("they never come to an end")

    def teardown(self) -> None:
        """Whatever was refused before: with a new snapshot that is taken, the client has just that."""
        self.snapshot = LAST
        self.settle()
        for type_url in TYPES:
            assert self.client.view[type_url] == dict(LAST.resources[type_url])
        assert not self.client.cold
        sent = self.client.session.next_response(LAST)
        assert sent is None


class DeltaConversation(Conversation):
    """A server and a client of the delta variant."""

    delta = True

    def teardown(self) -> None:
        """Besides, a client that has everything is not sent anything when it comes again."""
        super().teardown()
        self.client.connect()
        self.client.pump(self.snapshot)
        while self.client.received:
            assert not self.client.received[0].resources
            assert not self.client.received[0].removed_resources
            self.client.read()
            self.client.pump(self.snapshot)


THOROUGH = settings(deadline=None, max_examples=100, stateful_step_count=40)
TestStateOfTheWorld = Conversation.TestCase
TestStateOfTheWorld.settings = THOROUGH
TestDelta = DeltaConversation.TestCase
TestDelta.settings = THOROUGH
