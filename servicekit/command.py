"""The command line that every service has: `python -m services.<name> serve` and `… migrate`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import uvloop
from pydantic import ValidationError

from servicekit import logs
from servicekit.database import RoleTooPowerfulError
from servicekit.errors import DomainError
from servicekit.server import AddressInUseError
from servicekit.settings import ServiceSettings
from servicekit.trace_export import exporting

Settings = TypeVar("Settings", bound=ServiceSettings)
_log = structlog.get_logger(__name__)


def run(package: str, settings_type: type[Settings], serve: Callable[[Settings], Awaitable[None]]) -> None:
    """Do what the command line says for the service in `package` ("services.tickets"); ends the process.

    `serve` gets the settings and returns when the service has stopped. A mistake of the operator (a setting, an
    address, a role) ends with exit code 2 and one line on standard error.
    """
    action = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and one word
    if action not in {"serve", "migrate"}:
        sys.exit(f"usage: python -m {package} serve|migrate")
    try:
        settings = settings_type()
    except ValidationError as error:
        # Without the input: a setting may be a secret.
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        _fail(f"{package}: wrong settings: {wrong}")
    logs.configure(settings.log_level)

    async def act() -> None:
        if action == "serve":
            async with exporting(settings.recording(), package.rpartition(".")[2]):
                await serve(settings)
        else:
            # Late: a serving process has no use for the migration tools.
            from servicekit import migrate

            await migrate.upgrade(settings.migration_url.get_secret_value(), package)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(act())
    except (AddressInUseError, RoleTooPowerfulError, DomainError, OSError, ValueError) as error:
        _log.error("process_failed", service=package, error=logs.describe_exception(error))
        _fail(f"{package}: {error}")


def _fail(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.exit(2)
