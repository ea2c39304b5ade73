"""Plans of real databases of the predecessor: what moves and stays is what was built in, and nothing is written."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.errors import CommandError
from cli.migration.inspecting import quietest
from cli.migration.plan import Group, Plan
from cli.migration.planning import Options, make_plan
from cli.migration.source import Source, connect
from cli.suite.folder import SuiteFolder
from cli.suite.provision import create_database
from servicekit.envelope import KeyEncryptionKeys
from servicekit.escrow import seal_with_passphrase
from tests.support.predecessor import CLOSED_STORE, Built, build
from tests.support.predecessor_tables import Kind
from tests.support.servers import servers_of_the_run
from tests.support.suite import rapport

CUSTOMERS, TICKETS = 60, 300


@asynccontextmanager
async def empty() -> AsyncIterator[str]:
    """Give an empty database, and drop it."""
    servers = servers_of_the_run()
    name = f"old_{secrets.token_hex(6)}"
    admin = servers.server_url.format(database="postgres")
    await create_database(admin, name)
    try:
        yield servers.server_url.format(database=name)
    finally:
        connection = await asyncpg.connect(admin)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


@asynccontextmanager
async def predecessor(kind: Kind) -> AsyncIterator[Built]:
    """Give a small database of the predecessor."""
    async with empty() as url:
        yield await build(url, kind=kind, customers=CUSTOMERS, tickets=TICKETS)


async def planned(tmp_path: Path, **options: Any) -> Plan:
    """Make a plan as the command does."""
    return await make_plan(SuiteFolder(tmp_path / "suite"), Options(**options), lambda *_: None)


def counted(plan: Plan, what: str) -> Counter[str]:
    """Return how many of a kind move to each shop."""
    return Counter({shop.slug: shop.counts[what] for shop in plan.shops if shop.counts.get(what)})


def summed(groups: tuple[Group, ...]) -> Counter[str]:
    """Return how many rows of each kind stay behind."""
    found: Counter[str] = Counter()
    for group in groups:
        if group.what != "tenants":
            found[group.what] += group.count
    return found


def key_file(tmp_path: Path, built: Built) -> Path:
    """Write the predecessor's key as its env file had it."""
    path = tmp_path / "old.env"
    path.write_text(f"ENCRYPTION_KEY={built.key}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["shared", "half"])
async def test_every_row_is_counted_where_it_belongs(kind: Kind, tmp_path: Path) -> None:
    """Customers, tickets, messages, notes and orders by shop, and what stays behind by its reason."""
    async with predecessor(kind) as built:
        plan = await planned(tmp_path, url=built.url, key_file=key_file(tmp_path, built))
        expected = built.expected
        assert plan.origin.kind == kind
        for what in ("customers", "tickets", "messages", "notes", "orders"):
            assert counted(plan, what) == +getattr(expected, what), what
        assert summed(plan.unmapped) == +expected.unmapped
        assert summed(plan.conflicts) == +expected.conflicts
        assert summed(plan.invalid) == +expected.invalid
        assert summed(plan.adapted) == +expected.adapted
        assert plan.origin.tables == built.tables
        assert plan.origin.rows == built.counts
        assert {group.what for group in plan.dropped} > {"ticket_ai_recommendations", "customer_profiles"}
        reasons = {group.reason for group in (*plan.unmapped, *plan.conflicts)}
        assert reasons == {
            *("inactive", "customer_unmapped", "no_evidence", "store_unknown", "no_customer", "conflict"),
        }
        problems = {one.provider: one.problem for shop in plan.shops for one in shop.connections if one.problem}
        assert problems == ({"gorgias": "it does not open with this key"} if kind == "half" else {})
        assert Plan.from_json(plan.to_json()) == plan


async def test_one_shop_takes_everything_and_is_refused_where_there_are_several(tmp_path: Path) -> None:
    """An install without tenants moves whole; one with several stores is not taken for one."""
    async with predecessor("single") as built:
        unsaid = await planned(tmp_path, url=built.url)
        assert [shop for shop in unsaid.shops if any(shop.counts.values())] == [], "nobody said whose it is"
        assert summed(unsaid.unmapped)["tickets"] == TICKETS
        plan = await planned(tmp_path, url=built.url, one_shop="harbour-yarns")
        assert [shop.slug for shop in plan.shops] == ["harbour-yarns"]
        for what in ("customers", "tickets", "messages", "notes", "orders"):
            assert counted(plan, what) == +getattr(built.expected, what), what
        assert summed(plan.unmapped) == +built.expected.unmapped
    async with predecessor("shared") as several:
        with pytest.raises(CommandError) as raised:
            await planned(tmp_path, url=several.url, one_shop="harbour-yarns")
        assert raised.value.reason == "SEVERAL_SHOPS"


async def test_rules_bring_in_what_was_left(tmp_path: Path) -> None:
    """A store, a customer in conflict and a strange word: what the operator decides moves."""
    async with predecessor("shared") as built:
        before = await planned(tmp_path, url=built.url)
        (torn,) = (group for group in before.conflicts if group.what == "customers")
        customer = torn.examples[0].split(" ")[0]
        rules = tmp_path / "rules.yaml"
        rules.write_text(
            f"stores: {{{CLOSED_STORE}: closed-shop}}\nstatuses: {{archived: closed}}\n"
            f"customers: [{{shop: north-woods, id: '{customer}'}}]\n",
            encoding="utf-8",
        )
        after = await planned(tmp_path, url=built.url, rules=rules)
        assert counted(after, "customers")["closed-shop"] == 3
        assert counted(after, "customers")["north-woods"] == counted(before, "customers")["north-woods"] + 1
        assert summed(after.conflicts)["customers"] == torn.count - 1
        (archived,) = (group.count for group in before.invalid if "'archived'" in group.text)
        assert summed(after.invalid)["tickets"] == summed(before.invalid)["tickets"] - archived


async def test_nothing_can_be_written_through_the_connection(tmp_path: Path) -> None:
    """The server refuses every statement that writes, and what a plan leaves is what there was."""
    async with predecessor("half") as built:
        before = await fingerprint(built)
        await planned(tmp_path, url=built.url)
        connection = await connect(built.url)
        try:
            for statement in (
                "DELETE FROM support_app.tickets",
                "UPDATE shared.tenants SET name = 'x'",
                "CREATE TABLE left_behind (id int)",
            ):
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await connection.execute(statement)
        finally:
            await connection.close()
        assert await fingerprint(built) == before


async def fingerprint(built: Built) -> list[tuple[str, int, str]]:
    """Return of each table how many rows it has and a sum of all their contents."""
    connection = await asyncpg.connect(built.url)
    try:
        found = []
        for table in built.tables.values():
            query = f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {table} t"  # noqa: S608 - ours
            count, content = await connection.fetchrow(query) or (0, "")
            found.append((table, count, content))
        return found
    finally:
        await connection.close()


async def test_tables_are_found_wherever_they_lie_and_doubt_is_told(tmp_path: Path) -> None:
    """An empty copy in another schema does not count; one with rows needs the operator's word."""
    async with predecessor("shared") as built:
        connection = await asyncpg.connect(built.url)
        await connection.execute("CREATE TABLE public.tickets (LIKE support_app.tickets)")
        async with Source.open(built.url) as source:
            assert str(source.places["tickets"]) == "support_app.tickets"
        await connection.execute("INSERT INTO public.tickets SELECT * FROM support_app.tickets LIMIT 3")
        await connection.close()
        with pytest.raises(CommandError) as raised:
            await planned(tmp_path, url=built.url)
        assert raised.value.reason == "TABLE_AMBIGUOUS"
        async with Source.open(built.url, {"tickets": "public.tickets"}) as source:
            assert await source.count("tickets") == 3
    async with empty() as url:
        with pytest.raises(CommandError) as raised:
            await planned(tmp_path, url=url)
        assert raised.value.reason == "NOT_THE_PREDECESSOR"


async def test_messages_without_a_ticket_are_counted_and_slow_tables_told_of(tmp_path: Path) -> None:
    """An install without foreign keys and indexes: orphans stay behind, and reading by ticket needs an index."""
    async with predecessor("shared") as built:
        connection = await asyncpg.connect(built.url)
        for statement in (
            "ALTER TABLE support_app.ticket_messages DROP CONSTRAINT ticket_messages_ticket_id_fkey",
            "DROP INDEX support_app.ticket_messages_ticket_id_idx",
            """INSERT INTO support_app.ticket_messages
               SELECT uuidv7(), uuidv7(), false, 'lost', 'A', null, null, null, now() FROM generate_series(1, 3)""",
        ):
            await connection.execute(statement)
        await connection.close()
        plan = await planned(tmp_path, url=built.url)
        (lost,) = (group for group in plan.invalid if group.reason == "ticket_missing")
        assert (lost.count, len(lost.examples)) == (3, 3)
        assert {check.name: check.state for check in plan.checks}["indexes"] == "yellow"


async def test_prerequisites_are_green_only_by_what_was_seen(tmp_path: Path) -> None:
    """Without evidence each is red; a restored backup, equal checksums, an escrow and a rehearsal make them green."""
    folder = SuiteFolder(tmp_path / "suite")
    folder.create()
    KeyEncryptionKeys.create(folder.secrets / "key-encryption-keys.json")
    async with predecessor("shared") as built:
        bare = await planned(tmp_path, url=built.url)
        names = ("source_backup", "backup", "keys", "credentials", "rollback")
        assert {check.name: check.state for check in bare.checks if check.name in names} == dict.fromkeys(names, "red")
        escrow, backup, rehearsal = tmp_path / "escrow.json", tmp_path / "backup", tmp_path / "rollback.json"
        keys = KeyEncryptionKeys.load(folder.secrets / "key-encryption-keys.json")
        escrow.write_bytes(seal_with_passphrase(keys, "a long passphrase"))
        backup.mkdir()
        verified = {"equal": True, "verified_time": datetime.now(UTC).isoformat()}
        (backup / "verified.json").write_text(json.dumps(verified), encoding="utf-8")
        rehearsal.write_text(json.dumps({"rollback": {"messages": 3}}), encoding="utf-8")
        async with empty() as copy:
            await build(copy, kind="shared", customers=CUSTOMERS, tickets=TICKETS)
            plan = await planned(
                tmp_path,
                url=built.url,
                key_file=key_file(tmp_path, built),
                restored=copy,
                backup=backup,
                escrow=escrow,
                rehearsal=rehearsal,
            )
        states = {check.name: check.state for check in plan.checks}
        assert {name: states[name] for name in names} == dict.fromkeys(names, "green")
        assert states["window"] == states["amounts"] == "green"


def test_the_quietest_window_may_pass_midnight_and_the_end_of_the_week() -> None:
    """Hours of a week are a ring."""
    hours = [10] * 168
    for hour in (166, 167, 0, 1):
        hours[hour] = 1
    found = quietest(hours, 4, 2.0)
    assert (found.weekday, found.hour, found.messages_per_hour) == (6, 22, 0.5)
    assert found.share == pytest.approx(4 / sum(hours), abs=1e-6)


async def test_the_command_writes_the_plan_for_its_owners_eyes_and_says_no_secret(tmp_path: Path) -> None:
    """The file is 0600; neither it nor the output holds a password, a key or a credential. Red checks end it with 1."""
    async with predecessor("shared") as built:
        out = tmp_path / "plan.json"
        arguments = ("migrate", "plan", "--source", built.url, "--out", str(out), "--data", str(tmp_path / "suite"))
        ran = await asyncio.to_thread(rapport, *arguments, "--key-file", str(key_file(tmp_path, built)), "--json")
        assert ran.code == 1, ran.messages
        assert out.stat().st_mode & 0o777 == 0o600
        plan = Plan.load(out)
        assert ran.value["shops"][0]["slug"] == plan.shops[0].slug
        told = out.read_text(encoding="utf-8") + ran.output + ran.messages
        password = built.url.partition("://")[2].partition("@")[0].partition(":")[2]
        secret = [value for config in built.configs.values() for name, value in config.items() if "secret" in name]
        assert not [one for one in (password, built.key, *secret) if one in told]
        ran = await asyncio.to_thread(rapport, *arguments, "--source", built.url.replace(password, "wrong"), "--json")
        assert ran.value["error"]["reason"] == "SOURCE_UNREACHABLE"
        assert "wrong" not in ran.output + ran.messages
