"""The delta protocol of one stream: what is sent, removed, remembered over reconnections, and kept back."""

import pytest
from envoy_data_plane.envoy.config.core.v3 import ExtensionConfigSource, Node
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy_data_plane.google.protobuf import Any as Packed
from envoy_data_plane.google.rpc import Status

from gateway.addresses import HostPort
from gateway.ads.delta import DeltaSession
from gateway.ads.protocol import Acked, Nacked, ProtocolError
from gateway.ads.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, Resource
from gateway.ads.snapshot import EMPTY, Snapshot
from gateway.edge import filters, messages
from tests.gateway.resources import cluster, listener, route

WORLD = Snapshot.of([*cluster("a"), listener(1), route(to="a")])
BOTH = Snapshot.of([*cluster("a"), *cluster("b")])
ONE = Snapshot.of(cluster("a"))


def ask(
    type_url: str,
    *names: str,
    without: tuple[str, ...] = (),
    nonce: str = "",
    refused: str = "",
    has: dict[str, str] | None = None,
) -> DeltaDiscoveryRequest:
    """Return a request."""
    return DeltaDiscoveryRequest(
        node=Node(id="envoy"),
        type_url=type_url,
        resource_names_subscribe=list(names),
        resource_names_unsubscribe=list(without),
        initial_resource_versions=has or {},
        response_nonce=nonce,
        error_detail=Status(code=3, message=refused) if refused else None,
    )


def asked(*requests: DeltaDiscoveryRequest) -> DeltaSession:
    """Return a session that was asked."""
    session = DeltaSession()
    for request in requests:
        session.receive(request)
    return session


def due(session: DeltaSession, snapshot: Snapshot) -> list[DeltaDiscoveryResponse]:
    """Return everything that is due now, before the client says anything to it."""
    responses = []
    while (response := session.next_response(snapshot)) is not None:
        responses.append(response)
    return responses


def taken(session: DeltaSession, snapshot: Snapshot) -> list[DeltaDiscoveryResponse]:
    """Return all that is sent to a client that takes everything."""
    responses = []
    while (response := session.next_response(snapshot)) is not None:
        responses.append(response)
        session.receive(ask(response.type_url, nonce=response.nonce))
    return responses


def names(response: DeltaDiscoveryResponse) -> list[str]:
    """Return the names of the resources that were sent."""
    return [resource.name for resource in response.resources]


def test_the_first_request_must_name_its_node_and_every_one_its_type() -> None:
    """As in the other variant."""
    with pytest.raises(ProtocolError, match="node"):
        DeltaSession().receive(DeltaDiscoveryRequest(type_url=CLUSTER))
    with pytest.raises(ProtocolError, match="type"):
        DeltaSession().receive(ask(""))


def test_only_what_changed_is_sent_and_what_is_gone_is_named() -> None:
    """Each resource carries its own version."""
    session = asked(ask(CLUSTER))
    (first,) = taken(session, BOTH)
    assert sorted(names(first)) == ["a", "b"]
    assert {one.name: one.version for one in first.resources} == {
        name: one.version for name, one in BOTH.resources[CLUSTER].items()
    }
    (second,) = taken(session, Snapshot.of([*cluster("a", connect_seconds=2), *cluster("c")]))
    assert (sorted(names(second)), second.removed_resources) == (["a", "c"], ["b"])


def test_an_answer_is_acknowledged_by_its_nonce() -> None:
    """An answer to a response that is not waited for says nothing."""
    session = asked(ask(CLUSTER))
    (response,) = due(session, ONE)
    assert session.receive(ask(CLUSTER, nonce="other")) is None
    assert session.receive(ask(CLUSTER, nonce=response.nonce)) == Acked(CLUSTER, ONE.versions[CLUSTER])
    assert session.receive(ask(CLUSTER, nonce=response.nonce)) is None


def test_after_a_reconnection_nothing_is_sent_that_the_client_has() -> None:
    """An empty response tells the version; what the client lacks is sent, what is gone is removed."""
    has = {name: one.version for name, one in ONE.resources[CLUSTER].items()}
    (same,) = due(asked(ask(CLUSTER, has=has)), ONE)
    assert (same.resources, same.removed_resources) == ([], [])
    (other,) = due(asked(ask(CLUSTER, has={**has, "old": "1"})), BOTH)
    assert (names(other), other.removed_resources) == (["b"], ["old"])


def test_names_are_subscribed_and_unsubscribed_at_any_time() -> None:
    """With or without an answer in the same request; what is not wanted is not sent when it changes."""
    session = asked(ask(ENDPOINT, "a"))
    (first,) = taken(session, BOTH)
    assert names(first) == ["a"]
    session.receive(ask(ENDPOINT, "b"))
    (second,) = taken(session, BOTH)
    assert names(second) == ["b"]
    session.receive(ask(ENDPOINT, without=("a",)))
    (third,) = taken(session, Snapshot.of([*cluster("a", 7), *cluster("b")]))
    assert (names(third), third.removed_resources) == ([], [])


def test_a_name_that_is_subscribed_again_is_sent_again() -> None:
    """The client may have forgotten it."""
    session = asked(ask(ENDPOINT, "a"))
    taken(session, ONE)
    session.receive(ask(ENDPOINT, "a"))
    (again,) = taken(session, ONE)
    assert names(again) == ["a"]


def test_a_name_and_everything_are_wanted_apart() -> None:
    """A name that goes while everything is wanted is sent once more; without everything only names are left."""
    session = asked(ask(CLUSTER, "*", "a"))
    taken(session, BOTH)
    session.receive(ask(CLUSTER, without=("a",)))
    assert [names(response) for response in taken(session, BOTH)] == [["a"]]
    session.receive(ask(CLUSTER, "b", without=("*",)))
    assert [names(response) for response in taken(session, BOTH)] == [["b"]]
    assert [names(response) for response in taken(session, Snapshot.of([*cluster("b"), *cluster("c")]))] == [[]]
    session.receive(ask(CLUSTER, "*"))
    assert [names(response) for response in taken(session, BOTH)] == [["a"]]


def test_a_refused_version_is_reported_and_sent_again_only_when_something_changed() -> None:
    """What stood in it is in doubt: going back sends the old one, and removes what was new."""
    session = asked(ask(CLUSTER))
    taken(session, ONE)
    bad = Snapshot.of([*cluster("a", connect_seconds=5), *cluster("bad")])
    (response,) = due(session, bad)
    said = session.receive(ask(CLUSTER, nonce=response.nonce, refused="bad cluster"))
    assert said == Nacked(CLUSTER, bad.versions[CLUSTER], "bad cluster")
    assert due(session, bad) == []
    (back,) = due(session, ONE)
    assert (names(back), back.removed_resources) == (["a"], ["bad"])


def test_a_refused_removal_is_tried_again() -> None:
    """What is gone goes when something else changes."""
    session = asked(ask(CLUSTER))
    taken(session, BOTH)
    (response,) = due(session, ONE)
    session.receive(ask(CLUSTER, nonce=response.nonce, refused="no"))
    assert due(session, ONE) == []
    (again,) = due(session, Snapshot.of([*cluster("a"), *cluster("c")]))
    assert again.removed_resources == ["b"]


def test_the_refusal_of_an_older_response_does_not_lose_what_it_held() -> None:
    """A newer one without it is under way: what was refused is tried once more with the current version."""
    session = asked(ask(CLUSTER))
    (first,) = due(session, ONE)
    (second,) = due(session, BOTH)
    assert session.receive(ask(CLUSTER, nonce=first.nonce, refused="no")) == Nacked(
        CLUSTER, ONE.versions[CLUSTER], "no"
    )
    (again,) = due(session, BOTH)
    assert names(again) == ["a"]
    assert session.receive(ask(CLUSTER, nonce=second.nonce)) is None
    assert session.receive(ask(CLUSTER, nonce=again.nonce)) == Acked(CLUSTER, BOTH.versions[CLUSTER])


def test_a_changed_cluster_is_followed_by_its_endpoints() -> None:
    """Envoy warms it without asking; other clusters' endpoints are left alone."""
    session = asked(ask(CLUSTER), ask(ENDPOINT, "a", "b"))
    taken(session, BOTH)
    changed = Snapshot.of([*cluster("a", connect_seconds=9), *cluster("b")])
    assert [names(response) for response in due(session, changed)] == [["a"], ["a"]]


def test_a_cluster_goes_after_the_routes_no_longer_name_it() -> None:
    """New clusters, then the routes that name them, then the removal: each waits for the client."""
    session = asked(ask(CLUSTER), ask(ENDPOINT, "a"), ask(LISTENER), ask(ROUTE, "main"))
    taken(session, WORLD)
    target = Snapshot.of([*cluster("b"), listener(1), route(to="b")])
    clusters, _endpoints = due(session, target)
    assert (clusters.type_url, names(clusters), clusters.removed_resources) == (CLUSTER, ["b"], [])
    assert session.receive(ask(CLUSTER, nonce=clusters.nonce)) is None
    (routes,) = due(session, target)
    assert routes.type_url == ROUTE
    session.receive(ask(ROUTE, nonce=routes.nonce))
    last = due(session, target)[0]
    assert (last.type_url, last.removed_resources) == (CLUSTER, ["a"])
    assert session.receive(ask(CLUSTER, nonce=last.nonce)) == Acked(CLUSTER, target.versions[CLUSTER])


def test_a_cluster_that_was_never_taken_goes_at_once() -> None:
    """Nothing points at it, and a client that waits for it to get warm would wait for ever."""
    session = asked(ask(CLUSTER), ask(LISTENER), ask(ROUTE, "main"))
    taken(session, WORLD)
    due(session, Snapshot.of([*cluster("a"), *cluster("cold"), listener(1), route("other")]))
    (response,) = due(session, Snapshot.of([*cluster("a"), listener(1), route("another")]))
    assert response.removed_resources == ["cold"]


def test_an_extension_that_is_not_known_yet_is_not_taken_away() -> None:
    """A server that was restarted may not know what it will hold; the client does."""
    waiting = HttpConnectionManager(
        stat_prefix="main",
        rds=Rds(route_config_name="main", config_source=messages.ADS),
        http_filters=[
            HttpFilter(name="later", config_discovery=ExtensionConfigSource(config_source=messages.ADS)),
            filters.router(),
        ],
    )
    chain = FilterChain(filters=[Filter(name="http", typed_config=Packed.pack(waiting))])
    at = messages.address(HostPort("127.0.0.1", 1))
    world = Snapshot.of([Resource.of(Listener(name="main", address=at, filter_chains=[chain])), route()])
    assert world.pending == {"later"}
    session = asked(ask(EXTENSION, "later", "other", has={"later": "1", "other": "1"}))
    (response,) = due(session, world)
    assert (names(response), response.removed_resources) == ([], ["other"])


def test_nothing_is_said_before_anything_was_published() -> None:
    """A server that was restarted must not take away what its clients have."""
    assert due(asked(ask(CLUSTER, has={"a": "1"}), ask(ROUTE, "main")), EMPTY) == []


def test_an_unknown_type_is_kept_and_left_unanswered() -> None:
    """A newer Envoy may ask for more than we serve."""
    assert due(asked(ask("type.googleapis.com/envoy.service.runtime.v3.Runtime", "x")), WORLD) == []
