"""Prepares a database server that Rapport does not start itself: roles, schemas, tables. May be repeated.

`python -m cli.suite.prepare` reads RAPPORT_PREPARE_SERVER_URL (a superuser's URL of the server's database `postgres`),
RAPPORT_PREPARE_DATABASE_URL (the same of the database `rapport`), RAPPORT_PREPARE_PASSWORDS (a JSON object: password by
role) and each service's MIGRATION_URL.
"""

import asyncio
import json
import os

from cli.suite.migrate import migrate_all
from cli.suite.names import DATABASE
from cli.suite.provision import create_database, provision_database, provision_roles


async def prepare() -> None:
    """Make what is missing."""
    server = os.environ["RAPPORT_PREPARE_SERVER_URL"]
    await provision_roles(server, json.loads(os.environ["RAPPORT_PREPARE_PASSWORDS"]))
    await create_database(server, DATABASE)
    await provision_database(os.environ["RAPPORT_PREPARE_DATABASE_URL"])
    await migrate_all()


if __name__ == "__main__":
    asyncio.run(prepare())
