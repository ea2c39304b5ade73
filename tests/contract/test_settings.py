"""All processes read their settings in the same way, whatever their classes are put together of."""

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from gateway.settings import GatewaySettings
from services.crm.settings import CrmSettings
from services.recommendations.settings import RecommendationsSettings
from services.tenant.settings import TenantSettings
from services.tickets.settings import TicketsSettings

CLASSES = (GatewaySettings, CrmSettings, RecommendationsSettings, TenantSettings, TicketsSettings)


@pytest.mark.parametrize("settings", CLASSES)
def test_an_empty_variable_is_as_good_as_none(settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A composition hands on empty variables for what an operator has not set; numbers and paths of them are the usual.

    Settings cannot be changed later.
    """
    usual = settings()
    for name in settings.model_fields:
        monkeypatch.setenv(f"{settings.model_config['env_prefix']}{name}".upper(), "")
    assert settings() == usual
    with pytest.raises(ValidationError):
        usual.trace_ratio = 1.0  # type: ignore[attr-defined]
