"""A database with the sample's schema, and the service's view of it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

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


def _urls(name: str) -> Urls:
    servers = servers_of_the_run()
    app, owner = (
        servers.app_url.format(user=role, password=servers.passwords[role], database=name)
        for role in ("tickets_app", "tickets_owner")
    )
    return Urls(app, owner, servers.server_url.format(database=name))


@asynccontextmanager
async def _copy_of(template: str) -> AsyncIterator[str]:
    """Make a database as a copy of another, and drop it in the end."""
    admin = servers_of_the_run().server_url.format(database="postgres")
    name = f"servicekit_{secrets.token_hex(6)}"
    await create_database(admin, name, template)
    yield name
    connection = await asyncpg.connect(admin)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template() -> AsyncIterator[str]:
    """The name of a database with the sample's tables, migrated once per test process; nothing connects to it."""
    async with _copy_of("rapport_base") as name:
        await upgrade(_urls(name).owner, SAMPLE)
        yield name


@pytest.fixture
async def unmigrated() -> AsyncIterator[Urls]:
    """A database with roles and empty schemas."""
    async with _copy_of("rapport_base") as name:
        yield _urls(name)


@pytest.fixture
async def urls(template: str) -> AsyncIterator[Urls]:
    """A database with the sample's tables."""
    async with _copy_of(template) as name:
        yield _urls(name)


@pytest.fixture
async def database(urls: Urls) -> AsyncIterator[Database]:
    """The database as the running service has it."""
    connected = await Database.connect(urls.app, schema="tickets", pool_size=5)
    yield connected
    await connected.close()
