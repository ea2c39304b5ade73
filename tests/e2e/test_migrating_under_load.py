"""A schema is migrated while two processes of one release work with it: nobody's request fails, nothing is lost."""

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.suite.postgres import prepare_postgres
from servicekit.migrate import downgrade, revisions, upgrade
from tests.support.contents import superuser
from tests.support.servers import new_folder
from tests.support.suite import own_suite, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event

pytestmark = pytest.mark.timeout(900)

_SLOWEST_SECONDS = 30.0
"""A writer stands behind a migration for two seconds at most; the rest is for a machine that others use."""

_PAUSE_SECONDS = 0.02
"""Between two requests of one client: there is always one under way, and no machine is filled by them."""

_VERSIONS = Path(__file__).resolve().parents[2] / "services" / "tickets" / "migrations" / "versions"

_LATER = {
    "9001": (
        "A column that is not used yet, and its check for new rows (expand).",
        [
            "ALTER TABLE tickets.tickets ADD COLUMN mark text",
            "ALTER TABLE tickets.tickets ADD CONSTRAINT tickets_marked CHECK (mark <> '') NOT VALID",
        ],
    ),
    "9002": (
        "Its index, beside the writers (expand).",
        ["CREATE INDEX CONCURRENTLY IF NOT EXISTS tickets_by_mark ON tickets.tickets (tenant_id, mark)"],
    ),
    "9003": (
        "Its check for all rows (expand).",
        ["ALTER TABLE tickets.tickets VALIDATE CONSTRAINT tickets_marked"],
    ),
    "9004": ("Nobody uses it any more (contract).", ["ALTER TABLE tickets.tickets DROP COLUMN mark"]),
}
_FILE = '''"""{text}"""

from alembic import op

revision = "{name}"
down_revision = "{before}"


def upgrade() -> None:
    """Do it."""
    with op.get_context().autocommit_block():
        for statement in {statements!r}:
            op.execute(statement)


def downgrade() -> None:
    """There is nothing left of it."""
'''


@dataclass
class Load:
    """What was asked, and how it was answered."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest: float = 0.0
    written: list[str] = field(default_factory=list)


@pytest.fixture
def suite() -> Iterator[SuiteUnderTest]:
    """A suite with two processes, named as versions, of the service whose schema changes."""
    with own_suite(new_folder(), "--also", "tickets@green") as described:
        yield SuiteUnderTest.of(described)


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with the migrations of tickets and those of a release to come."""
    versions = tmp_path / "later" / "tickets" / "migrations" / "versions"
    shutil.copytree(_VERSIONS, versions, ignore=shutil.ignore_patterns("__pycache__"))
    for package in (tmp_path / "later", tmp_path / "later" / "tickets"):
        (package / "__init__.py").touch()
    before = revisions("services.tickets")[-1].name
    for name, (text, statements) in _LATER.items():
        content = _FILE.format(text=text, name=name, before=before, statements=statements)
        (versions / f"{name}_later.py").write_text(content, encoding="utf-8")
        before = name
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("later", None)
    return "later.tickets"


@asynccontextmanager
async def under_load(suite: SuiteUnderTest, shop: Shop) -> AsyncIterator[Load]:
    """Read, write and receive webhooks all the time."""
    load = Load()
    over = asyncio.Event()

    async def ask(kind: str, number: int) -> None:
        async with suite.client(**{"x-api-key": shop.api_key}) as client:
            while not over.is_set():
                number += 10
                started = time.perf_counter()
                if kind == "read":
                    answer = await client.get("/api/tickets?status=open&smart_order=true")
                elif kind == "write":
                    body = {"subject": f"Written {number}", "initial_message": "Hello", "customer_id": "someone"}
                    body |= {"channel": "email", "priority": "normal", "author_name": "Kim"}
                    answer = await client.post("/api/tickets", json=body)
                    load.written.append(answer.json().get("ticket", {}).get("id", ""))
                else:
                    answer = await send_webhook(client, shop, zendesk_event(shop, f"{number}"))
                load.slowest = max(load.slowest, time.perf_counter() - started)
                load.answers[kind, answer.status_code] += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for number, kind in enumerate(("read", "read", "write", "webhook")):
            group.create_task(ask(kind, number))
        try:
            yield load
        finally:
            over.set()


def _owner_url(suite: SuiteUnderTest) -> str:
    data = Path(suite.data)
    passwords = json.loads((data / "secrets" / "postgres.json").read_text(encoding="utf-8"))
    server = prepare_postgres(data / "postgres", data / "pg", passwords["postgres"])
    return server.url("tickets_owner", passwords["tickets_owner"], "rapport")


async def test_no_request_fails_while_a_schema_changes_under_two_processes(suite: SuiteUnderTest, later: str) -> None:
    """Add, fill, index, check and take away, with traffic on one process, on both, and on the other."""
    shop = await new_shop(suite, "moving")
    url = await asyncio.to_thread(_owner_url, suite)
    head = revisions("services.tickets")[-1].name
    root = await superuser(suite)
    async with under_load(suite, shop) as load:
        for name, share in (("9001", "50"), ("9002", "100"), ("9003", "100")):
            await upgrade(url, later, name)
            shifted = await asyncio.to_thread(rapport, "gateway", "shift", "tickets", share, "--data", suite.data)
            assert shifted.code == 0, shifted.messages
        marked = await root.execute("UPDATE tickets.tickets SET mark = 'seen'")
        # Somebody reads the table for long: the migration steps back, and nobody stands behind it for long.
        async with root.transaction():
            await root.fetch("SELECT count(*) FROM tickets.tickets")
            with pytest.raises(Exception, match="lock timeout"):
                await upgrade(url, later, "9004")
        await upgrade(url, later, "9004")
        told = (await asyncio.to_thread(rapport, "db", "status", "--json", "--data", suite.data)).value
    stored = await root.fetchval(
        "SELECT count(*) FROM tickets.tickets WHERE id = ANY ($1::uuid[])", list(filter(None, load.written))
    )

    async def received() -> bool:
        """Tell whether each webhook that was taken became a ticket."""
        tickets = await root.fetchval(
            "SELECT count(*) FROM tickets.tickets WHERE tenant_id = $1 AND id <> ALL ($2::uuid[])",
            shop.tenant_id,
            list(filter(None, load.written)),
        )
        return int(tickets) == load.answers["webhook", 200]

    await eventually(received, 120)
    await root.close()
    await downgrade(url, later, head)
    failed = sum(number for (_, status), number in load.answers.items() if status not in {200, 201})
    print(  # noqa: T201
        f"{sum(load.answers.values())} requests during 4 migrations ({marked} rows filled), {failed} failed; "
        f"the slowest took {load.slowest:.2f} s"
    )
    assert failed == 0, load.answers
    assert load.slowest < _SLOWEST_SECONDS
    assert {kind for kind, _ in load.answers} == {"read", "write", "webhook"}
    assert stored == len(load.written) > 0
    assert told["error"]["reason"] == "REVISION_UNKNOWN"
    after = rapport("db", "migrate", "--json", "--data", suite.data)
    assert after.value["services"]["tickets"] == {"before": head, "revision": head}
