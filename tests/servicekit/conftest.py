"""A database with the sample's schema, and the service's view of it."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from cli.suite.provision import create_database
from servicekit.database import Database
from servicekit.migrate import upgrade
from tests.support.servers import servers_of_the_run

SAMPLE = "tests.servicekit.sample.tickets"


@dataclass(frozen=True)
class Urls:
    """One database, by the roles that come to it."""

    app: str
    owner: str
    superuser: str


@pytest.fixture
async def unmigrated() -> AsyncIterator[Urls]:
    """A database with roles and empty schemas."""
    servers = servers_of_the_run()
    name = f"servicekit_{secrets.token_hex(6)}"
    admin = servers.server_url.format(database="postgres")
    await create_database(admin, name, "rapport_base")
    app, owner = (
        servers.app_url.format(user=role, password=servers.passwords[role], database=name)
        for role in ("tickets_app", "tickets_owner")
    )
    yield Urls(app, owner, servers.server_url.format(database=name))
    connection = await asyncpg.connect(admin)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


@pytest.fixture
async def urls(unmigrated: Urls) -> Urls:
    """The same with the sample's tables."""
    await upgrade(unmigrated.owner, SAMPLE)
    return unmigrated


@pytest.fixture
async def database(urls: Urls) -> AsyncIterator[Database]:
    """The database as the running service has it."""
    connected = await Database.connect(urls.app, schema="tickets", pool_size=5)
    yield connected
    await connected.close()
