"""The settings of the crm service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.notify_settings import NotifySettings
from servicekit.settings import ServiceSettings


class CrmSettings(ServiceSettings, NotifySettings):
    """What the environment tells the crm service, `RAPPORT_CRM_…`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_CRM_")

    tickets_target: str = ""
    """The gRPC target of the tickets service, for example `ipv4:127.0.0.1:7021,127.0.0.1:7022`."""

    recommendations_target: str = ""
    """The gRPC target of the recommendations service; without it what shop systems send is kept and not processed."""

    provider_base_url: str = Field(default="", pattern=r"^(https?://[^\s?#]+)?$")
    """Called in place of every provider's own host, `http://127.0.0.1:9000/{provider}`: for tests and the demo only."""

    public_url: str = Field(default="", pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?$")
    """The base URL that providers call, for example `https://rapport.example.com`; webhook addresses begin with it."""

    most_attempts: int = Field(default=12, ge=1, le=100)
    """How often a delivery is tried before it is dead; twelve attempts take about ten minutes."""

    worker_concurrency: int = Field(default=4, ge=0, le=64)
    """How many batches of deliveries this process works on at the same time; 0 leaves the work to other processes."""

    refusal_alert_count: int = Field(default=20, ge=1)
    """How many webhooks of one connection are refused within five minutes before that is told of as an alert."""

    delivery_retention_days: int = Field(default=30, ge=1, le=3650)
    """How many days deliveries are kept at least; they go in whole weeks, except those that are pending or dead."""
