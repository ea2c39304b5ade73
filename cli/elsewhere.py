"""A deployment that this machine's command did not start: where its services are, and what an operator proves there.

The image's command is told of it by the environment: `docker compose run operator`, `kubectl exec deploy/operator`.
"""

import asyncio
import contextlib
import socket
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


async def processes(settings: OperatorSettings) -> dict[str, list[str]]:
    """Return the gRPC target of every process of each service: a name with many addresses is many processes."""
    return {name: await _each(target) for name, target in settings.services.items() if name != "gateway"}


async def _each(target: str) -> list[str]:
    if not target.startswith("dns:///"):
        scheme, _, listed = target.partition(":")
        return [f"{scheme}:{one}" for one in listed.split(",")] if scheme in {"ipv4", "ipv6"} else [target]
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    found = []
    # A name without an address stands for itself: whoever calls it is told so.
    with contextlib.suppress(OSError):
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    addresses = {f"[{info[4][0]}]" if info[0] == socket.AF_INET6 else str(info[4][0]) for info in found}
    return sorted(f"{address}:{port}" for address in addresses) or [target]
