"""Making the plan of a migration: the source is read, never written, and everything that is found is told."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from cli.errors import CommandError
from cli.migration import environment, inspecting, prerequisites
from cli.migration.credentials import CredentialsError, open_credentials, read_key, translated
from cli.migration.inspecting import Sizes
from cli.migration.mapping import Rules
from cli.migration.ownership import Owners
from cli.migration.plan import FORMAT, Check, ConnectionPlan, Estimate, Group, Origin, Plan, ShopPlan
from cli.migration.rows import SourceTenant
from cli.migration.rules_file import SLUG, read_rules, with_options, with_tenants
from cli.migration.source import Source
from cli.migration.survey import Survey
from cli.suite.folder import SuiteFolder

_SAMPLE = 2000
_ENVIRONMENTS = ("production", "staging", "development")

TICKETS_PER_SECOND = 250.0
"""How many tickets with three messages each Rapport is counted to take in per second: see docs/migration.md."""

LINES_PER_SECOND = 4000.0
"""The same for order lines."""

Advance = Callable[[str, int, int], None]
"""Is told what is being read, how many rows more, and how many there are."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator says; what is not said is not known, and the check that needs it is red.

    Attributes:
        url: the source's address.
        stores: the shop of each store, in the order of the options.
        one_shop: the only shop.
        rules: the file of rules.
        tables: "schema.table" of tables that lie in several schemas.
        key_file: where the predecessor's ENCRYPTION_KEY stands.
        env_file: the predecessor's settings.
        restored: the address of a restored backup of the source.
        backup: a verified backup of Rapport.
        escrow: a sealed copy of Rapport's key-encryption keys.
        rehearsal: what a rehearsed rollback said (`rapport migrate rollback --json`).
        window_hours: how many quiet hours are looked for.
    """

    url: str = field(repr=False)
    stores: Sequence[tuple[str, str]] = ()
    one_shop: str = ""
    rules: Path | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    key_file: Path | None = None
    env_file: Path | None = None
    restored: str = field(default="", repr=False)
    backup: Path | None = None
    escrow: Path | None = None
    rehearsal: Path | None = None
    window_hours: int = 6


async def make_plan(folder: SuiteFolder, options: Options, advance: Advance) -> Plan:
    """Read the source and return the plan.

    Raises:
        CommandError: the source cannot be read, or the rules make no sense for it.
    """
    told = with_options(read_rules(options.rules), options.stores, options.one_shop)
    key = read_key(options.key_file) if options.key_file else ""
    async with Source.open(options.url, options.tables) as source:
        tenants = await source.tenants()
        rules = with_tenants(told, tenants)
        with Owners() as owners:
            await owners.read(source, rules)
            if rules.one_shop:
                await _check_one_shop(source, tenants)
            found = await inspecting.sizes(source)
            survey = Survey(rules)
            survey.customers(source, owners)
            await _count(source, owners, survey, found, advance)
        how, why = await inspecting.capture(source)
        window = await inspecting.traffic(source, options.window_hours)
        return Plan(
            format=FORMAT,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            origin=_origin(source, found),
            rules=rules,
            shops=_shops(rules, tenants, survey, key),
            capture=how,
            capture_reason=why,
            unmapped=(*_tenants_left(source, tenants, rules), *survey.unmapped.all()),
            conflicts=survey.conflicts.all(),
            invalid=(*survey.invalid.all(), *await inspecting.orphans(source)),
            adapted=survey.adapted.all(),
            dropped=(*inspecting.dropped(source.places, found.rows), *await inspecting.message_fields(source)),
            checks=(
                await prerequisites.source_backup(source, options.restored, options.tables),
                prerequisites.target_backup(options.backup, datetime.now(UTC)),
                prerequisites.keys(folder, options.escrow),
                prerequisites.credentials(tenants, key),
                prerequisites.rollback(options.rehearsal),
                prerequisites.window(window),
                *prerequisites.reading(source, how, why),
                prerequisites.amounts(survey.gross, survey.net, survey.totalled, read_net=rules.net),
                _whole(survey),
            ),
            window=window,
            estimate=await _estimate(source, found, survey),
            settings=environment.translated(environment.read_environment(options.env_file)),
        )


async def _check_one_shop(source: Source, tenants: Sequence[SourceTenant]) -> None:
    """Refuse to take several shops for one.

    Raises:
        CommandError: the source has several stores or tenants.
    """
    stores: set[str] = set()
    for name in ("fact_customer_current", "fact_customer_history", "customer_profiles"):
        if name in source.places and "store_id" in source.places[name].columns:
            query = f"SELECT DISTINCT store_id::text AS store FROM {source.places[name].sql} WHERE store_id IS NOT NULL"  # noqa: S608 - quoted
            stores |= {row["store"] for row in await source.connection.fetch(query)}
    active = [tenant.slug for tenant in tenants if tenant.active]
    if len(stores) > 1 or len(active) > 1:
        raise CommandError(
            f"--one-shop: the source has {max(len(stores), len(active))} stores or tenants "
            f"({', '.join(sorted(stores)[:5])}): map them by --store.",
            reason="SEVERAL_SHOPS",
        )


async def _count(source: Source, owners: Owners, survey: Survey, found: Sizes, advance: Advance) -> None:
    totals = {"tickets": found.rows["tickets"], "order lines": found.rows.get("combined_sales", 0)}

    def on(what: str, more: int) -> None:
        advance(what, more, totals[what])

    await survey.tickets(source, owners, on)
    await survey.orders(source, owners, on)


def _origin(source: Source, found: Sizes) -> Origin:
    return Origin(
        fingerprint=source.fingerprint,
        kind=source.kind,
        version=source.version,
        tables={name: str(place) for name, place in source.places.items()},
        rows=found.rows,
        bytes=found.bytes,
    )


def _shops(rules: Rules, tenants: Sequence[SourceTenant], survey: Survey, key: str) -> tuple[ShopPlan, ...]:
    """Return every shop that rows move to, and every tenant that was served, in the order of slugs."""
    slugs = {*survey.counts, *rules.tenants.values(), *rules.stores.values()} | ({rules.one_shop} - {""})
    return tuple(_shop(slug, rules, tenants, survey, key) for slug in sorted(slugs))


def _shop(slug: str, rules: Rules, tenants: Sequence[SourceTenant], survey: Survey, key: str) -> ShopPlan:
    own = [
        one for one in tenants if rules.one_shop == slug or (not rules.one_shop and rules.tenants.get(one.id) == slug)
    ]
    said = next((one.environment for one in own if one.environment in _ENVIRONMENTS), "production")
    return ShopPlan(
        slug=slug,
        name=next((one.name for one in own if one.name), slug)[:200],
        environment=said,
        stores=tuple(sorted(store for store, shop in rules.stores.items() if shop == slug)),
        source_tenants=tuple(one.id for one in own),
        connections=tuple(_connection(one, key) for one in own if one.provider or one.credentials),
        counts=dict(survey.counts.get(slug, {})),
        has_api_key=any(one.has_api_key for one in own),
    )


def _connection(tenant: SourceTenant, key: str) -> ConnectionPlan:
    """Return the connection that a tenant's credentials become; without the key only its account is known."""
    try:
        found = open_credentials(tenant.credentials, key) if key and tenant.credentials else {}
        made = translated(tenant.provider, found, tenant.identifiers)
    except CredentialsError as error:
        return ConnectionPlan(tenant.provider, tenant.id, problem=str(error))
    problem = "" if tenant.credentials else "the source stores no credentials of it"
    return ConnectionPlan(tenant.provider, tenant.id, made.config, tuple(sorted(made.secrets)), made.unknown, problem)


def _tenants_left(source: Source, tenants: Sequence[SourceTenant], rules: Rules) -> tuple[Group, ...]:
    """Return the predecessor's tenants that are no shop of the plan."""
    if rules.one_shop:
        return ()
    groups = []
    left = [tenant for tenant in tenants if tenant.id not in rules.tenants]
    for reason, text, these in (
        ("inactive", "it was not served any more: map it under tenants of the rules to move it",
         [one for one in left if not one.active]),
        ("slug_invalid", "Rapport takes no such slug: name one under tenants of the rules",
         [one for one in left if one.active and not SLUG.fullmatch(one.slug)]),
    ):  # fmt: skip
        if these:
            names = tuple(one.slug for one in these[:20])
            groups.append(Group("tenants", str(source.places["tenants"]), reason, text, len(these), names))
    return tuple(groups)


def _whole(survey: Survey) -> Check:
    """Check that everybody's shop is known."""
    left = sum(group.count for group in (*survey.unmapped.all(), *survey.conflicts.all()))
    if not left:
        return Check("mapping", "green", "every customer, ticket and order belongs to a shop")
    moved = sum(sum(counts[what] for what in ("customers", "tickets", "orders")) for counts in survey.counts.values())
    evidence = f"{left} customers, tickets and orders stay behind, {moved} move"
    advice = "look at unmapped and conflicts, and decide them in the file of rules; the rest stays in the source"
    return Check("mapping", "yellow" if moved else "red", evidence, advice)


async def _estimate(source: Source, found: Sizes, survey: Survey) -> Estimate:
    """Read some whole tickets and orders by the clock; writing goes at the pace that was measured for Rapport."""
    begun, tickets, lines = monotonic(), 0, 0
    async with aclosing(source.tickets()) as pages:
        async for page in pages:
            tickets += len(page)
            if tickets >= _SAMPLE:
                break
    ticket_seconds = (monotonic() - begun) / max(tickets, 1)
    begun = monotonic()
    async with aclosing(source.orders()) as orders:
        async for some in orders:
            lines += sum(len(order.lines) for order in some)
            if lines >= _SAMPLE:
                break
    line_seconds = (monotonic() - begun) / max(lines, 1)
    reading = ticket_seconds * found.rows["tickets"] + line_seconds * found.rows.get("combined_sales", 0)
    moved = [sum(counts[what] for counts in survey.counts.values()) for what in ("tickets", "order_lines")]
    writing = moved[0] / TICKETS_PER_SECOND + moved[1] / LINES_PER_SECOND
    return Estimate(
        sampled={"tickets": tickets, "order_lines": lines},
        read_seconds=round(reading, 1),
        tickets_per_second=TICKETS_PER_SECOND,
        lines_per_second=LINES_PER_SECOND,
        seconds=float(math.ceil(reading + writing)),
    )
