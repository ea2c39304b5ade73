"""Postgres elsewhere runs with the settings of the suite's own: no customer's content in logs, connections for all."""

from typing import Any

import pytest

from cli.suite.names import SERVICES
from cli.suite.postgres import DURABLE
from servicekit.settings import ServiceSettings
from tests.support.deployments import composition, kubernetes, pods

ARCHIVE = {"archive_mode", "archive_timeout"}
"""Without somewhere to put it, an archive would keep the write-ahead log until the disk is full."""
POOLS = 2 * ServiceSettings.model_fields["database_pool"].default
OTHERS = 20
"""Migrations, backups, an operator, and what Postgres keeps for superusers."""


def settings_of(words: list[str]) -> dict[str, str]:
    """Read `postgres -c name=value …`."""
    assert words[0] == "postgres"
    assert set(words[1::2]) == {"-c"}
    return dict(word.split("=", 1) for word in words[2::2])


def elsewhere() -> dict[str, tuple[list[str], int, Any]]:
    """Return Postgres' command, how many processes of services there may be, and how its readiness is asked."""
    scalers = {thing["metadata"]["name"]: thing["spec"] for thing in kubernetes("HorizontalPodAutoscaler")}
    (container,) = pods()["postgres"]["containers"]
    # A release starts one more of each.
    most = sum(scalers[service]["maxReplicas"] + 1 for service in SERVICES)
    ready = container["readinessProbe"]["exec"]["command"]
    here = composition()["postgres"]
    return {
        "compose": (here["command"], len(SERVICES), here["healthcheck"]["test"][1:]),
        "kubernetes": (container["args"], most, ready),
    }


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_it_runs_with_the_settings_of_the_suite(where: str) -> None:
    """All but the archive; as many connections as the processes may ask for."""
    command, processes, _ = elsewhere()[where]
    settings = settings_of(command)
    assert int(settings.pop("max_connections")) >= processes * POOLS + OTHERS
    assert settings == {name: value for name, value in DURABLE.items() if name not in {"max_connections", *ARCHIVE}}


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_the_server_that_only_makes_the_cluster_is_not_taken_for_ready(where: str) -> None:
    """It answers at the socket, not by TCP."""
    _, _, ready = elsewhere()[where]
    assert ready[:3] == ["pg_isready", "--host", "127.0.0.1"]
