"""The protocol of one stream: nonces, ACK, NACK, order, and watches that wait."""

import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.rpc import Status

from gateway.ads.protocol import Acked, Nacked, ProtocolError
from gateway.ads.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from gateway.ads.session import Session
from gateway.ads.snapshot import EMPTY, Snapshot
from tests.gateway.resources import cluster, listener, route

WORLD = Snapshot.of([*cluster("a"), listener(1), route(to="a")])


def ask(type_url: str, *names: str, nonce: str = "", refused: str = "", node: str = "envoy") -> DiscoveryRequest:
    """Return a request."""
    return DiscoveryRequest(
        node=Node(id=node) if node else None,
        type_url=type_url,
        resource_names=list(names),
        response_nonce=nonce,
        error_detail=Status(code=3, message=refused) if refused else None,
    )


def due(session: Session, snapshot: Snapshot) -> list[DiscoveryResponse]:
    """Return everything that is due now, before the client says anything to it."""
    responses = []
    while (response := session.next_response(snapshot)) is not None:
        responses.append(response)
    return responses


def taken(session: Session, snapshot: Snapshot, names: dict[str, list[str]]) -> list[DiscoveryResponse]:
    """Return all that is sent until a client that takes everything has it all; `names` are its names by type."""
    responses = []
    while (response := session.next_response(snapshot)) is not None:
        responses.append(response)
        session.receive(ask(response.type_url, *names.get(response.type_url, []), nonce=response.nonce))
    return responses


def test_the_first_request_must_name_its_node() -> None:
    """Without a node there is nobody to keep state for; later requests need not repeat it."""
    with pytest.raises(ProtocolError, match="node"):
        Session().receive(ask(CLUSTER, node=""))
    session = Session()
    session.receive(ask(CLUSTER))
    session.receive(ask(LISTENER, node=""))
    assert session.node_id == "envoy"


def test_a_request_must_name_its_type() -> None:
    """An aggregated stream carries all types."""
    with pytest.raises(ProtocolError, match="type"):
        Session().receive(ask(""))


def test_an_answer_is_sent_once_and_acknowledged() -> None:
    """The ACK echoes version and nonce; nothing more is due afterwards."""
    session = Session()
    assert session.receive(ask(CLUSTER)) is None
    (response,) = due(session, WORLD)
    assert response.version_info == WORLD.versions[CLUSTER]
    assert [resource.type_url for resource in response.resources] == [CLUSTER]
    said = session.receive(ask(CLUSTER, nonce=response.nonce))
    assert said == Acked(CLUSTER, WORLD.versions[CLUSTER])
    assert due(session, WORLD) == []


def test_a_stale_nonce_changes_nothing() -> None:
    """A request that answers an older response is ignored, its names included."""
    session = Session()
    session.receive(ask(ROUTE, "main"))
    (first,) = due(session, WORLD)
    (second,) = due(session, Snapshot.of([*cluster("a"), listener(1), route("other")]))
    assert session.receive(ask(ROUTE, "elsewhere", nonce=first.nonce, refused="late")) is None
    assert session.receive(ask(ROUTE, "main", nonce=second.nonce)) == Acked(ROUTE, second.version_info)


def test_a_refused_version_is_reported_and_not_sent_again() -> None:
    """No loop of sending and refusing; the next snapshot is sent."""
    session = Session()
    session.receive(ask(CLUSTER))
    (response,) = due(session, WORLD)
    said = session.receive(ask(CLUSTER, nonce=response.nonce, refused="bad cluster"))
    assert said == Nacked(CLUSTER, WORLD.versions[CLUSTER], "bad cluster")
    assert due(session, WORLD) == []
    assert len(due(session, Snapshot.of(cluster("b")))) == 1


def test_types_are_sent_in_make_before_break_order() -> None:
    """Whatever the order of the requests: clusters, endpoints, listeners, routes."""
    session = Session()
    for request in (ask(ROUTE, "main"), ask(LISTENER), ask(ENDPOINT, "a"), ask(CLUSTER)):
        session.receive(request)
    assert [response.type_url for response in due(session, WORLD)] == [CLUSTER, ENDPOINT]
    responses = taken(session, WORLD, {ENDPOINT: ["a"], ROUTE: ["main"]})
    assert [response.type_url for response in responses] == []
    session.receive(ask(CLUSTER, nonce="1"))
    assert [response.type_url for response in due(session, WORLD)] == [LISTENER, ROUTE]


def test_a_cluster_goes_after_the_routes_no_longer_name_it() -> None:
    """New clusters, then the routes that name them, then without the old ones: each waits for the client."""
    session, names = Session(), {ENDPOINT: ["a", "b"], ROUTE: ["main"]}
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        session.receive(ask(type_url, *names.get(type_url, [])))
    taken(session, WORLD, names)
    target = Snapshot.of([*cluster("b"), listener(1), route(to="b")])
    bridge, endpoints = due(session, target)
    assert (bridge.type_url, len(bridge.resources)) == (CLUSTER, 2)
    assert (endpoints.type_url, len(endpoints.resources)) == (ENDPOINT, 1)
    assert bridge.version_info != target.versions[CLUSTER]
    assert session.receive(ask(CLUSTER, nonce=bridge.nonce)) is None
    (routes,) = due(session, target)
    assert routes.type_url == ROUTE
    session.receive(ask(ROUTE, "main", nonce=routes.nonce))
    (last,) = due(session, target)
    assert (last.type_url, len(last.resources)) == (CLUSTER, 1)
    assert session.receive(ask(CLUSTER, nonce=last.nonce)) == Acked(CLUSTER, target.versions[CLUSTER])


def test_routes_stay_as_they_are_when_their_clusters_are_refused() -> None:
    """Routes to clusters that the client does not have would answer nothing."""
    session, names = Session(), {ROUTE: ["main"]}
    for type_url in (CLUSTER, ROUTE):
        session.receive(ask(type_url, *names.get(type_url, [])))
    taken(session, WORLD, names)
    target = Snapshot.of([*cluster("b"), listener(1), route(to="b")])
    (bridge,) = due(session, target)
    session.receive(ask(CLUSTER, nonce=bridge.nonce, refused="no"))
    assert due(session, target) == []
    (back,) = due(session, WORLD)
    assert (back.type_url, back.version_info) == (CLUSTER, WORLD.versions[CLUSTER])


def test_a_watch_waits_until_the_snapshot_can_answer() -> None:
    """It is not dropped, and not answered with nothing."""
    session = Session()
    session.receive(ask(CLUSTER))
    session.receive(ask(ROUTE, "main"))
    assert due(session, EMPTY) == []
    assert [response.type_url for response in taken(session, WORLD, {ROUTE: ["main"]})] == [CLUSTER, ROUTE]


def test_only_what_was_asked_for_is_sent() -> None:
    """Endpoints and routes by name; clusters and listeners all."""
    world = Snapshot.of([*cluster("a"), *cluster("b")])
    session = Session()
    session.receive(ask(CLUSTER))
    session.receive(ask(ENDPOINT, "b"))
    clusters, endpoints = due(session, world)
    assert (len(clusters.resources), len(endpoints.resources)) == (2, 1)


def test_a_new_name_is_answered_although_the_version_is_the_same() -> None:
    """Dropping a name is not a reason to send."""
    world = Snapshot.of([*cluster("a"), *cluster("b")])
    session = Session()
    session.receive(ask(ENDPOINT, "a"))
    (first,) = due(session, world)
    session.receive(ask(ENDPOINT, "a", "b", nonce=first.nonce))
    (second,) = due(session, world)
    assert len(second.resources) == 2
    session.receive(ask(ENDPOINT, "a", nonce=second.nonce))
    assert due(session, world) == []


def test_changed_clusters_are_followed_by_their_endpoints() -> None:
    """Envoy warms a changed cluster with a request that looks like an ACK: the endpoints are sent anyway."""
    session = Session()
    session.receive(ask(CLUSTER))
    session.receive(ask(ENDPOINT, "a"))
    taken(session, WORLD, {ENDPOINT: ["a"]})
    changed = Snapshot.of([*cluster("a", connect_seconds=9), listener(1), route(to="a")])
    assert [response.type_url for response in due(session, changed)] == [CLUSTER, ENDPOINT]


def test_a_superseded_snapshot_is_never_sent() -> None:
    """What is due is made of the snapshot given, not of the one that made it due."""
    session = Session()
    for request in (ask(CLUSTER), ask(LISTENER), ask(ROUTE, "main")):
        session.receive(request)
    first = session.next_response(WORLD)
    assert first is not None
    session.receive(ask(CLUSTER, nonce=first.nonce))
    newer = Snapshot.of([*cluster("a"), listener(2), route("newer")])
    assert [response.version_info for response in due(session, newer)] == [
        newer.versions[LISTENER],
        newer.versions[ROUTE],
    ]


def test_after_a_reconnection_names_are_answered_whatever_the_version() -> None:
    """The client may have the version and yet lack names that it asks for only now."""
    request = ask(ENDPOINT, "a")
    request.version_info = WORLD.versions[ENDPOINT]
    session = Session()
    assert session.receive(request) is None
    assert len(due(session, WORLD)) == 1


def test_after_a_reconnection_a_client_that_has_all_clusters_is_not_sent_them_again() -> None:
    """Where it wants everything, the version says what it has; an older one is answered."""
    request = ask(CLUSTER)
    request.version_info = WORLD.versions[CLUSTER]
    session = Session()
    assert session.receive(request) == Acked(CLUSTER, WORLD.versions[CLUSTER])
    assert due(session, WORLD) == []
    assert len(due(session, Snapshot.of(cluster("b")))) == 1


def test_an_unknown_type_is_kept_and_left_unanswered() -> None:
    """A newer Envoy may ask for more than we serve."""
    session = Session()
    session.receive(ask("type.googleapis.com/envoy.service.runtime.v3.Runtime", "x"))
    assert due(session, WORLD) == []
