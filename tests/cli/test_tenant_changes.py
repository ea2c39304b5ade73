"""What is typed for `rapport tenant update`, and what is asked of the registry."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from cli.errors import CommandError
from cli.tenants import TenantChange, update_request

KNOWN = {"features": {"demo": False}, "settings": {"cors_origins": [], "requests_per_minute": 0.0}}


def asked(**said: Any) -> tuple[dict[str, Any], list[str]]:
    """The tenant and the mask of the request for a change."""
    request = update_request("acme", TenantChange(**said), KNOWN)
    return MessageToDict(request.tenant, preserving_proto_field_name=True), list(request.update_mask.paths)


def test_only_what_is_named_is_in_the_mask() -> None:
    """Everything else stays as it is in the registry."""
    assert asked(name="Acme", environment="staging") == (
        {"slug": "acme", "name": "Acme", "environment": "ENVIRONMENT_STAGING"},
        ["name", "environment"],
    )
    assert asked() == ({"slug": "acme"}, [])


def test_a_typed_value_gets_the_type_of_its_setting() -> None:
    """Lists are parted by commas, numbers are numbers; of an unknown name the registry judges."""
    tenant, paths = asked(
        features={"demo": "ON"},
        settings={
            "cors_origins": "https://a.example, https://b.example",
            "requests_per_minute": "600",
            "colour": "x",
        },
    )
    assert tenant["features"] == {"demo": True}
    assert tenant["settings"] == {
        "cors_origins": ["https://a.example", "https://b.example"],
        "requests_per_minute": 600.0,
        "colour": "x",
    }
    assert paths == ["features.demo", "settings.cors_origins", "settings.requests_per_minute", "settings.colour"]


def test_what_is_unset_is_named_without_a_value() -> None:
    """The registry takes it back to its default."""
    assert asked(unset=["demo", "cors_origins"]) == ({"slug": "acme"}, ["features.demo", "settings.cors_origins"])


@pytest.mark.parametrize(
    "said",
    [{"environment": "moon"}, {"features": {"demo": "maybe"}}, {"settings": {"requests_per_minute": "many"}}],
    ids=["environment", "switch", "number"],
)
def test_what_cannot_be_meant_is_wrong_usage(said: dict[str, Any]) -> None:
    """It is told before anything is asked."""
    with pytest.raises(CommandError) as refused:
        asked(**said)
    assert refused.value.reason == "USAGE"
