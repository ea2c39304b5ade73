"""The two tables of declarations: configuration and scopes."""

import pytest

from services.tenant import configuration, scopes


def test_every_default_is_a_value_that_the_setting_accepts() -> None:
    """No declaration contradicts itself."""
    assert all(setting.accepts(setting.default) for setting in configuration.SETTINGS.values())


def test_a_tenant_has_every_feature_and_setting_whatever_it_chose() -> None:
    """Choices lie over the defaults."""
    assert configuration.all_features({"demo": True}) == {"demo": True, "write_back": False}
    assert configuration.all_settings({"currency": "USD"}) == {"currency": "USD", "timezone": "UTC"}


def test_only_features_that_are_on_are_named_in_tokens() -> None:
    """A feature that was switched off by hand is not on."""
    assert configuration.features_on({"write_back": True, "demo": False}) == ("write_back",)


def test_a_choice_that_is_no_longer_declared_is_forgotten() -> None:
    """A feature that was removed from the code does not come back from the database."""
    assert "retired" not in configuration.all_features({"retired": True})


def test_no_shop_holds_a_scope_of_the_registry_or_of_a_service() -> None:
    """What a shop's key may hold has nothing in common with what operators and workloads alone hold."""
    assert not scopes.SHOP & (scopes.REGISTRY | {"operators.read", "trust.watch", "tickets.ingest", "log.read"})


@pytest.mark.parametrize("service", ["crm", "tickets", "recommendations", "gateway"])
def test_every_service_may_watch_the_trust_set(service: str) -> None:
    """Without it a service could not judge tokens."""
    assert "trust.watch" in scopes.WORKLOADS[service]
