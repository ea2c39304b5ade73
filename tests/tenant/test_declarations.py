"""The two tables of declarations: configuration and scopes."""

import pytest

from services.tenant import configuration, scopes


def test_every_default_is_a_value_that_the_setting_accepts() -> None:
    """No declaration contradicts itself."""
    assert all(setting.accepts(setting.default) for setting in configuration.SETTINGS.values())


def test_a_tenant_has_every_feature_and_setting_whatever_it_chose() -> None:
    """Choices lie over the defaults."""
    assert configuration.all_features({"demo": True}) == {"demo": True, "write_back": False}
    assert configuration.all_settings({"requests_per_minute": 60}) == {"cors_origins": [], "requests_per_minute": 60}


def test_only_features_that_are_on_are_named_in_tokens() -> None:
    """A feature that was switched off by hand is not on."""
    assert configuration.features_on({"demo": True}) == ("demo",)
    assert configuration.features_on({"demo": False}) == ()


@pytest.mark.parametrize(
    "pattern",
    [
        "https://desk.example.com",
        "https://*.example.com",
        "http://localhost:5173",
        "http://*.localhost:8080",
        "https://a",
    ],
)
def test_an_origin_is_a_scheme_a_host_and_maybe_a_port(pattern: str) -> None:
    """As browsers send it, or with a star for the subdomain."""
    assert configuration.is_origin_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["*", "https://*", "https://*.", "https://a.example/", "https://A.example", "ftp://a.example", "a.example", "null",
     "https://a.*.example", "https://u@a.example", "https://a.example:0", "https://a.example:65536", "https://a..b",
     "https://a.example\n", "https://" + "a" * 300],
)  # fmt: skip
def test_other_texts_are_no_origins(pattern: str) -> None:
    """Whatever could match more than it says, or never, is refused."""
    assert not configuration.is_origin_pattern(pattern)


def test_a_quota_and_origins_are_told_only_where_a_tenant_chose_them() -> None:
    """Without a choice the deployment's own hold."""
    assert (configuration.requests_per_minute({}), configuration.cors_origins({})) == (None, ())
    chosen: dict[str, configuration.SettingValue] = {"requests_per_minute": 60.0, "cors_origins": ["https://a.example"]}
    assert configuration.requests_per_minute(chosen) == 60
    assert configuration.cors_origins(chosen) == ("https://a.example",)


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
