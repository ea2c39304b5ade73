"""Settings of a recommendations process, read from `RAPPORT_RECOMMENDATIONS_*`."""

from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings


class RecommendationsSettings(ServiceSettings):
    """What a recommendations process is told by its environment."""

    model_config = SettingsConfigDict(
        env_prefix="RAPPORT_RECOMMENDATIONS_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    tickets_target: str = ""
    """The gRPC target of the tickets service, whose conversations drafts and recommendations answer."""
