"""Migrates every service's schema in one process, because starting an interpreter costs more than most migrations."""

import asyncio
import os
import sys
import traceback

from cli.suite.names import SERVICES
from servicekit.migrate import upgrade


async def migrate_all() -> None:
    """Bring each schema to its head, with the owner's URL from `RAPPORT_<SERVICE>_MIGRATION_URL`."""
    for service in SERVICES:
        sys.stderr.write(f"migrating {service}\n")
        try:
            await upgrade(os.environ[f"RAPPORT_{service.upper()}_MIGRATION_URL"], f"services.{service}")
        except Exception as error:  # noqa: BLE001 - told whole in the log, and in one last line for the operator
            traceback.print_exception(error)
            sys.exit(f"{service}: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    asyncio.run(migrate_all())
