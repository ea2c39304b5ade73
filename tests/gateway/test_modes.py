"""What the settings of TLS, HSTS and proxies mean, and that Envoy takes what is made of them."""

import ipaddress
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.edge.clients import Proxies
from gateway.settings import GatewaySettings
from tests.gateway.plane import validate
from tests.gateway.static import static_bootstrap


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 0),
        ({"base_domain": "localhost", "hsts_max_age": 60}, 60),
        ({"base_domain": "desk.example"}, 31_536_000),
        ({"base_domain": "desk.example", "hsts_max_age": 0}, 0),
    ],
)
def test_hsts_is_on_where_the_base_domain_is_a_real_one(settings: dict[str, str | int], seconds: int) -> None:
    """A developer's localhost is left alone; who says otherwise is heard."""
    assert GatewaySettings.model_validate(settings).hsts() == seconds


def test_nobody_is_believed_by_default() -> None:
    """Proxies exist by setting only."""
    assert GatewaySettings().proxies() is None
    behind = GatewaySettings.model_validate(
        {"mode": "behind-proxy", "trusted_hops": 2, "trusted_proxies": ["10.0.0.0/8"]}
    )
    assert behind.proxies() == Proxies(2, (ipaddress.ip_network("10.0.0.0/8"),))


def test_the_visible_port_of_https_is_that_of_the_listener_or_of_the_proxy() -> None:
    """Unless it is given."""
    assert GatewaySettings.model_validate({"https_listen": "0.0.0.0:8443"}).visible_https_port() == 8443
    assert GatewaySettings.model_validate({"mode": "behind-proxy"}).visible_https_port() == 443
    assert GatewaySettings.model_validate({"mode": "behind-proxy", "https_port": 9443}).visible_https_port() == 9443


@pytest.mark.parametrize(
    "wrong", [{"mode": "x"}, {"trusted_hops": 0}, {"trusted_proxies": ["10.0.0.0/99"]}, {"headers_timeout": 0}]
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    """At the start, by name."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GatewaySettings.model_validate(wrong)


@pytest.mark.parametrize("networks", ["", "10.0.0.0/8"])
def test_the_configuration_behind_proxies_passes_envoys_own_check(tmp_path: Path, networks: str) -> None:
    """With and without networks."""
    named = tuple(ipaddress.ip_network(one) for one in networks.split())
    assert validate(tmp_path / "envoy.pb", static_bootstrap(tmp_path, None, Proxies(1, named))) == ""
