"""Fixtures of the tenant service's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.tenant.side import Side, running_side


@pytest.fixture(scope="session")
def tenant_database(database_for: DatabaseFor) -> ServiceDatabase:
    """One migrated database that the tests of a process share; each makes tenants of its own in it."""
    return database_for("tenant")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the settings' files; the keys in it go with the shared database."""
    return tmp_path_factory.mktemp("tenant")


@pytest.fixture
async def side(tenant_database: ServiceDatabase, files: Path) -> AsyncIterator[Side]:
    """A running service on the shared database."""
    async with running_side(tenant_database.app_url, files) as running:
        yield running
