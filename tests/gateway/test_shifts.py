"""Shares of versions: which one a request means, how they are kept, and what they do to routes."""

import json
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, VirtualHost

from gateway.edge import versions as edge
from gateway.shifts import (
    ServiceVersionNotFoundError,
    ServiceVersionRequiredError,
    Shift,
    ShiftFile,
    choose,
    versions,
)

NAMES = ("crm", "tickets", "tickets@green", "tickets@blue", "tenant", "tenant@next")
HALF = Shift("tickets", "green", 50)


def test_versions_are_known_by_their_names() -> None:
    """Services with the base alone are left out."""
    assert versions(NAMES) == {"tickets": ["blue", "green"], "tenant": ["next"]}


@pytest.mark.parametrize(
    ("service", "version", "meant"),
    [
        ("tenant", "", Shift("tenant", "next", 10)),
        ("tickets", "green", Shift("tickets", "green", 10)),
        ("tickets", "", ServiceVersionRequiredError),
        ("tickets", "red", ServiceVersionNotFoundError),
        ("crm", "", ServiceVersionNotFoundError),
        ("crm", "green", ServiceVersionNotFoundError),
        ("nobody", "", ServiceVersionNotFoundError),
        ("tickets@green", "", ServiceVersionNotFoundError),
    ],
)
def test_a_request_means_a_version_or_is_refused(service: str, version: str, meant: Shift | type[Exception]) -> None:
    """Without a name it is the only one there is."""
    if isinstance(meant, Shift):
        assert choose(NAMES, service, version, 10) == meant
    else:
        with pytest.raises(meant):
            choose(NAMES, service, version, 10)


def test_who_gets_nothing_is_left_out() -> None:
    """A cluster of weight 0 would be there for nothing."""
    assert Shift("a", "b", 0).shares() == {"a": 100}
    assert Shift("a", "b", 30).shares() == {"a": 70, "a@b": 30}
    assert Shift("a", "b", 100).shares() == {"a@b": 100}


def test_shares_are_kept(tmp_path: Path) -> None:
    """Those of versions that are gone are forgotten."""
    file = ShiftFile(tmp_path / "shifts.json")
    assert file.read(NAMES) == {}
    file.write({"tickets": HALF, "tenant": Shift("tenant", "next", 5)})
    assert file.read(NAMES) == {"tickets": HALF, "tenant": Shift("tenant", "next", 5)}
    assert file.read(("tickets", "tickets@green", "tenant")) == {"tickets": HALF}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[1]",
        '{"tickets": 1}',
        json.dumps([{"service": "tickets", "version": "green", "percent": 101}]),
        json.dumps([{"service": "tickets", "version": "green", "percent": "all"}]),
        json.dumps([{"service": "tickets"}]),
    ],
)
def test_a_damaged_file_sends_everything_to_the_base(tmp_path: Path, text: str) -> None:
    """Nothing is guessed from it, and the control plane starts."""
    path = tmp_path / "shifts.json"
    path.write_text(text)
    assert ShiftFile(path).read(NAMES) == {}


def routes() -> RouteConfiguration:
    """Return a route to tickets and one to crm."""
    actions = [Route(name=name, route=RouteAction(cluster=name)) for name in ("tickets", "crm")]
    return RouteConfiguration(name="r", virtual_hosts=[VirtualHost(name="v", domains=["*"], routes=actions)])


def test_only_the_routes_of_a_shifted_service_change() -> None:
    """And they name both versions by their shares."""
    made = routes()
    edge.split(made, {"tickets": HALF})
    tickets, crm = (route.route for route in made.virtual_hosts[0].routes)
    assert tickets is not None
    assert crm is not None
    assert tickets.weighted_clusters is not None
    assert {one.name: one.weight for one in tickets.weighted_clusters.clusters} == {"tickets": 50, "tickets@green": 50}
    assert not tickets.cluster
    assert crm.cluster == "crm"


def test_without_a_share_nothing_changes() -> None:
    """A shift to 0 is as none at all."""
    made = routes()
    edge.split(made, {"tickets": Shift("tickets", "green", 0)})
    assert made == routes()


@pytest.mark.parametrize(("percent", "leading"), [(0, "tickets"), (50, "tickets"), (51, "tickets@green")])
def test_the_version_with_the_larger_share_must_be_healthy(percent: int, leading: str) -> None:
    """The other may be stopped."""
    shifts = {"tickets": Shift("tickets", "green", percent)}
    assert edge.leading(("crm", "tickets", "tickets@green"), shifts) == ["crm", leading]
