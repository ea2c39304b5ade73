"""The settings by which a service tells people news; only services that have any have them."""

from pathlib import Path

from pydantic import Field

from servicekit.environment import EnvironmentSettings


class NotifySettings(EnvironmentSettings):
    """Whom news for people go to, and how often."""

    notify_slack_url_file: Path | None = None
    """A file with the URL of a Slack incoming webhook, to which news for people go; without it none do."""

    notify_webhook_url_file: Path | None = None
    """A file with any web address that takes news as JSON (`servicekit.notifier`); without it none are sent."""

    notify_webhook_secret_file: Path | None = None
    """A file with the secret (base64, `whsec_…`) by which news to that address are signed as Standard Webhooks says."""

    notify_throttle_seconds: float = Field(default=3600.0, ge=0, le=86_400)
    """How long the same news is not told again."""
