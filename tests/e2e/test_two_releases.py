"""An upgrade: the release before serves while its schemas become those of this one, which goes on with all it left.

The release before is read from the repository's history: the one before the newest migration, or the commit that
RAPPORT_OLD_RELEASE names.
"""

import asyncio
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.test_migrating_under_load import under_load
from tests.support.contents import superuser
from tests.support.servers import new_folder
from tests.support.suite import own_suite, rapport, start_suite
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, new_shop

_ROOT = Path(__file__).resolve().parents[2]
_REQUESTS = 300
"""How many requests are made before the schemas change, and after it."""
_SECONDS = 300


def git(*arguments: str) -> bytes:
    """Return what git says of this repository."""
    command = [shutil.which("git") or "git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def release_before(folder: Path) -> Path:
    """Unpack the release before this one."""
    named = os.environ.get("RAPPORT_OLD_RELEASE")
    if named is None:
        added = ("log", "-1", "--diff-filter=A", "--format=%H", "--", "services/*/migrations/versions/*.py")
        named = f"{git(*added).decode().strip()}^"
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", named))) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.mark.drill
@pytest.mark.timeout(900)
async def test_no_request_fails_while_the_release_before_meets_the_schemas_of_this_one(tmp_path: Path) -> None:
    """Reads, writes and webhooks before, during and after all migrations; then this release has every ticket."""
    old = release_before(tmp_path / "old")
    folder = new_folder()
    its_code = {"PYTHONPATH": f"{old}{os.pathsep}{old / 'gen'}", "PYTHONSAFEPATH": "1"}
    with own_suite(folder, told=its_code) as described:
        suite = SuiteUnderTest.of(described)
        shop = await new_shop(suite, "upgraded")
        async with under_load(suite, shop) as load:

            async def going_on(since: int = 0) -> bool:
                return load.answers.total() > since + _REQUESTS

            await eventually(going_on, within=_SECONDS)
            migrated = await asyncio.to_thread(rapport, "db", "migrate", "--json", "--data", suite.data)
            assert migrated.code == 0, migrated.messages
            done = load.answers.total()
            await eventually(lambda: going_on(done), within=_SECONDS)
        failed = sum(number for (_, status), number in load.answers.items() if status not in {200, 201})
        changed = {
            service: f"{told['before']} to {told['revision']}"
            for service, told in migrated.value["services"].items()
            if told["before"] != told["revision"]
        }
        print(  # noqa: T201 - the figures are what a drill is for
            f"{load.answers.total()} requests to the release before, {failed} failed, the slowest took "
            f"{load.slowest:.2f} s; changed meanwhile: {changed}"
        )
        assert failed == 0, load.answers
        assert changed, "nothing was migrated: name an older release"
        assert rapport("down", "--data", suite.data).code == 0
        suite = SuiteUnderTest.of(await asyncio.to_thread(start_suite, folder / "suite"))
        root = await superuser(suite)
        try:

            async def all_there() -> bool:
                query = "SELECT count(*) FROM tickets.tickets WHERE tenant_id = $1"
                webhooks = load.answers["webhook", 200]
                return int(await root.fetchval(query, shop.tenant_id)) == len(load.written) + webhooks

            await eventually(all_there, within=120)
        finally:
            await root.close()
        async with suite.client(**{"x-api-key": shop.api_key}) as client:
            answer = await client.get(f"/api/tickets/{load.written[0]}")
        assert answer.status_code == 200, answer.text
