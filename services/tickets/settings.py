"""The settings of the tickets service."""

from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings


class TicketsSettings(ServiceSettings):
    """What the environment tells the tickets service, `RAPPORT_TICKETS_…`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_TICKETS_")

    recommendations_target: str = ""
    """The gRPC target of the recommendations service; empty means that customers and advice are not copied."""
