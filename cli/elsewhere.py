"""A deployment that this machine's command did not start: where its services are, and what an operator proves there.

The image's command is told of it by the environment: `docker compose run operator`, `kubectl exec deploy/operator`.
"""

import sys
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from servicekit.peer_settings import PeerSettings


class OperatorSettings(PeerSettings):
    """What the `rapport` command is told of a deployment elsewhere, `RAPPORT_OPERATOR_…`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_OPERATOR_")

    services: dict[str, str] = Field(default_factory=dict)
    """The gRPC target of each service, as JSON: `{"tenant": "dns:///tenant:7000", "gateway": "dns:///control-plane:18000"}`.
    Empty means the suite of the data folder."""

    key_file: Path | None = None
    """The file with the operator's key, `rpo_…`; needed with `services`."""


def elsewhere() -> OperatorSettings | None:
    """Return where the deployment is; None when the environment names none.

    Raises:
        SystemExit: the settings are wrong; the text says what to set.
    """
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        sys.exit(f"the settings RAPPORT_OPERATOR_* are wrong: {error}")
    if not settings.services:
        return None
    if settings.key_file is None:
        sys.exit(
            "RAPPORT_OPERATOR_SERVICES is set: set RAPPORT_OPERATOR_KEY_FILE as well, the file with the operator's key"
        )
    return settings


def key(settings: OperatorSettings) -> str:
    """Return the operator's key.

    Raises:
        SystemExit: the file cannot be read.
    """
    try:
        return Path(settings.key_file or "").read_text(encoding="utf-8").strip()
    except OSError as error:
        sys.exit(f"RAPPORT_OPERATOR_KEY_FILE: {settings.key_file}: {error.strerror}")
