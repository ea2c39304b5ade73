"""Settings of a recommendations process, read from `RAPPORT_RECOMMENDATIONS_*`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.notify_settings import NotifySettings
from servicekit.settings import ServiceSettings


class RecommendationsSettings(ServiceSettings, NotifySettings):
    """What a recommendations process is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_RECOMMENDATIONS_")

    tickets_target: str = ""
    """The gRPC target of the tickets service, whose conversations drafts and recommendations answer."""

    llm_models_file: Path | None = None
    """The file (YAML, see docs/writing.md) with the language models that tenants can choose from; without it there are
    none, and every draft comes from the rules."""

    llm_timeout_seconds: float = Field(default=12.0, gt=0, le=25)
    """How long all calls for one draft may take together; after that the draft comes from the rules."""

    llm_concurrency: int = Field(default=16, ge=1, le=1000)
    """How many drafts a process lets models write at a time; for more than that the rules write."""

    product_memory_bytes: int = Field(default=256 * 1024**2, ge=1024**2)
    """How many bytes of product models and catalogues, all shops together, a process keeps in memory."""
