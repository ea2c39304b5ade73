"""The SQL of who is who: stated ids, who answers with whom, and what follows from it for orders.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations import merge_store
from services.recommendations.errors import TooManyConnectedError
from services.recommendations.identities import MOST_HOLDERS, Identity, Stated
from services.recommendations.merge_store import PERSON, Merge

_MOST_CONNECTED = 500
_MOST_SEEN = 2 * MOST_HOLDERS
"""How many holders of an id are looked at: more than may be, to see those who were joined when they were fewer."""


@dataclass(frozen=True, slots=True)
class Connected:
    """Some customers with all that connects them: what is stated, who survives now, and the merges that stand."""

    stated: Stated
    survivors: Mapping[str, str]
    merges: Mapping[str, Merge]


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A stable id as stated, and how many customers are known by it."""

    identity: Identity
    source: str
    create_time: datetime
    customer_count: int


async def survivors(connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]) -> dict[str, str]:
    """Return the surviving customer of each id: itself where it was not merged."""
    result = await connection.exec_driver_sql(
        "SELECT customer_id, survivor_id FROM customer_links WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])",
        (tenant_id, list(customer_ids)),
    )
    merged = {row.customer_id: row.survivor_id for row in result}
    return {customer: merged.get(customer, customer) for customer in customer_ids}


async def merged_into(connection: AsyncConnection, tenant_id: UUID, survivor_ids: Collection[str]) -> list[str]:
    """Return the ids that answer with one of these customers."""
    result = await connection.exec_driver_sql(
        "SELECT customer_id FROM customer_links WHERE tenant_id = $1 AND survivor_id = ANY ($2::text[])",
        (tenant_id, list(survivor_ids)),
    )
    return sorted(result.scalars(), key=lambda one: (len(one), one))


async def is_stated(connection: AsyncConnection, tenant_id: UUID, customer_id: str) -> bool:
    """Tell whether anything is known under an id: a customer, a stated id, or a merge that stands."""
    result = await connection.exec_driver_sql(
        """
        SELECT EXISTS (SELECT FROM customers WHERE tenant_id = $1 AND customer_id = $2)
            OR EXISTS (SELECT FROM customer_identities WHERE tenant_id = $1 AND customer_id = $2)
            OR EXISTS (SELECT FROM customer_links WHERE tenant_id = $1 AND customer_id = $2)""",
        (tenant_id, customer_id),
    )
    return bool(result.scalar_one())


async def state(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_id: str,
    source: str,
    identities: Collection[Identity],
    *,
    instead: Collection[str] = (),
    replace: bool = False,
) -> tuple[list[Identity], bool]:
    """Keep ids of a customer; of the kinds `instead`, or of all, those go that the source stated before.

    Return what went, and whether anything came.
    """
    keep = [(one.kind, one.value) for one in identities]
    result = await connection.exec_driver_sql(
        """
        DELETE FROM customer_identities AS stated
        WHERE tenant_id = $1 AND customer_id = $2 AND source = $3 AND ($7 OR kind = ANY ($4::text[]))
          AND NOT EXISTS (SELECT FROM unnest($5::text[], $6::text[]) AS kept (kind, value)
                          WHERE kept.kind = stated.kind AND kept.value = stated.value)
        RETURNING kind, value""",
        (
            tenant_id,
            customer_id,
            source,
            list(instead),
            [kind for kind, _ in keep],
            [value for _, value in keep],
            replace,
        ),
    )
    gone = [Identity(row.kind, row.value) for row in result]
    came = await connection.exec_driver_sql(
        """
        INSERT INTO customer_identities (tenant_id, customer_id, kind, value, source)
        SELECT $1, $2, kind, value, $3 FROM unnest($4::text[], $5::text[]) AS stated (kind, value)
        ON CONFLICT DO NOTHING""",
        (tenant_id, customer_id, source, [kind for kind, _ in keep], [value for _, value in keep]),
    )
    return gone, came.rowcount > 0


async def list_identities(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_ids: Sequence[str],
    limit: int,
    after: tuple[str, str, str] = ("", "", ""),
) -> list[StoredIdentity]:
    """Return the ids by which customers are known, from a kind, value and source on, each with how many have it."""
    result = await connection.exec_driver_sql(
        """
        SELECT kind, value, source, min(create_time) AS create_time, (
            SELECT count(DISTINCT customer_id) FROM customer_identities AS held
            WHERE held.tenant_id = $1 AND held.kind = stated.kind AND held.value = stated.value) AS customer_count
        FROM customer_identities AS stated WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])
          AND (kind, value, source) > ($4::text, $5::text, $6::text)
        GROUP BY kind, value, source ORDER BY kind, value, source LIMIT $3""",
        (tenant_id, list(customer_ids), limit, *after),
    )
    return [
        StoredIdentity(Identity(row.kind, row.value), row.source, row.create_time, row.customer_count) for row in result
    ]


async def load_connected(
    connection: AsyncConnection, tenant_id: UUID, customer_ids: Iterable[str], identities: Iterable[Identity] = ()
) -> Connected:
    """Return whoever is connected to these customers or ids by anything that is stated.

    Raises:
        TooManyConnectedError: they are more than are looked at together.
    """
    reached: set[str] = set()
    held: dict[str, set[Identity]] = defaultdict(set)
    common: set[Identity] = set()
    seen: set[Identity] = set()
    links: dict[str, str] = {}
    merges: dict[str, Merge] = {}
    frontier, fresh = set(customer_ids), set(identities)
    while frontier or fresh:
        reached |= frontier
        if len(reached) > _MOST_CONNECTED:
            raise TooManyConnectedError(
                f"More than {_MOST_CONNECTED} ids are connected to each other.",
                metadata={"at_most": str(_MOST_CONNECTED)},
            )
        ends = await _joined(connection, tenant_id, frontier, links, merges)
        for customer, identity in await _identities(connection, tenant_id, frontier):
            held[customer].add(identity)
            fresh.add(identity)
        holders = await _holders(connection, tenant_id, fresh - seen)
        seen |= fresh
        fresh = set()
        for identity, found in holders.items():
            if len(found) > _MOST_SEEN:
                common.add(identity)
            else:
                ends |= found
        frontier = ends - reached
    stated = Stated(
        {customer: frozenset(known - common) for customer, known in held.items()},
        {merge.customer_id: merge.survivor_id for merge in merges.values() if merge.origin == PERSON},
        await kept_apart(connection, tenant_id, reached),
        frozenset(await with_rows(connection, tenant_id, reached)),
    )
    return Connected(stated, {customer: links.get(customer, customer) for customer in reached}, merges)


async def _joined(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_ids: Collection[str],
    links: dict[str, str],
    merges: dict[str, Merge],
) -> set[str]:
    """Add the links and the standing merges of customers to what was found, and return whom they lead to."""
    ends: set[str] = set()
    result = await connection.exec_driver_sql(
        """
        SELECT customer_id, survivor_id FROM customer_links
        WHERE tenant_id = $1 AND (customer_id = ANY ($2::text[]) OR survivor_id = ANY ($2::text[]))""",
        (tenant_id, list(customer_ids)),
    )
    for row in result:
        links[row.customer_id] = row.survivor_id
        ends |= {row.customer_id, row.survivor_id}
    for merge in await merge_store.list_merges(connection, tenant_id, customer_ids, standing=True):
        merges[merge.customer_id] = merge
        ends |= {merge.customer_id, merge.survivor_id}
    return ends


async def _identities(
    connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]
) -> list[tuple[str, Identity]]:
    result = await connection.exec_driver_sql(
        "SELECT customer_id, kind, value FROM customer_identities WHERE tenant_id = $1 AND customer_id = ANY ($2)",
        (tenant_id, list(customer_ids)),
    )
    return [(row.customer_id, Identity(row.kind, row.value)) for row in result]


async def _holders(
    connection: AsyncConnection, tenant_id: UUID, identities: Collection[Identity]
) -> dict[Identity, set[str]]:
    """Return who is known by ids; of an id that is too common one more than are looked at."""
    result = await connection.exec_driver_sql(
        """
        SELECT kind, value, customer_id FROM unnest($2::text[], $3::text[]) AS wanted (kind, value)
        CROSS JOIN LATERAL (
            SELECT DISTINCT customer_id FROM customer_identities AS held
            WHERE held.tenant_id = $1 AND held.kind = wanted.kind AND held.value = wanted.value LIMIT $4) AS holder""",
        (tenant_id, [one.kind for one in identities], [one.value for one in identities], _MOST_SEEN + 1),
    )
    found: dict[Identity, set[str]] = defaultdict(set)
    for row in result:
        found[Identity(row.kind, row.value)].add(row.customer_id)
    return found


async def kept_apart(connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]) -> frozenset[str]:
    """Return whom of these only people join."""
    result = await connection.exec_driver_sql(
        "SELECT customer_id FROM customers_apart WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])",
        (tenant_id, list(customer_ids)),
    )
    return frozenset(result.scalars())


async def keep_apart(connection: AsyncConnection, tenant_id: UUID, customer_id: str, *, apart: bool) -> None:
    """Let only people join a customer, or (False) evidence again."""
    await connection.exec_driver_sql(
        "INSERT INTO customers_apart (tenant_id, customer_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
        if apart
        else "DELETE FROM customers_apart WHERE tenant_id = $1 AND customer_id = $2",
        (tenant_id, customer_id),
    )


async def link(connection: AsyncConnection, tenant_id: UUID, changes: Mapping[str, tuple[str, str]]) -> None:
    """Let customers answer with others than before, and move the orders that came in under their ids.

    `changes` is by customer: with whom it answered until now, and with whom from now on (itself: with nobody else).
    """
    customers = list(changes)
    before, after = ([pair[place] for pair in changes.values()] for place in (0, 1))
    await connection.exec_driver_sql(
        "DELETE FROM customer_links WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])", (tenant_id, customers)
    )
    await connection.exec_driver_sql(
        """
        INSERT INTO customer_links (tenant_id, customer_id, survivor_id)
        SELECT $1, customer_id, survivor_id FROM unnest($2::text[], $3::text[]) AS link (customer_id, survivor_id)
        WHERE survivor_id <> customer_id""",
        (tenant_id, customers, after),
    )
    await connection.exec_driver_sql(
        """
        UPDATE orders SET customer_id = moved.after, source_customer_id = nullif(moved.customer_id, moved.after)
        FROM unnest($2::text[], $3::text[], $4::text[]) AS moved (customer_id, before, after)
        WHERE orders.tenant_id = $1 AND orders.customer_id = moved.before
          AND coalesce(orders.source_customer_id, orders.customer_id) = moved.customer_id""",
        (tenant_id, customers, before, after),
    )
    everybody = sorted({*customers, *before, *after})
    # What was said to anybody of them is out of date, whichever id it was said about.
    await connection.exec_driver_sql(
        """
        UPDATE customers SET facts_version = 1 + (
            SELECT max(facts_version) FROM customers WHERE tenant_id = $1 AND customer_id = ANY ($2::text[]))
        WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])""",
        (tenant_id, everybody),
    )


async def with_rows(connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]) -> list[str]:
    """Return those who have a contact or orders of their own."""
    result = await connection.exec_driver_sql(
        "SELECT customer_id FROM customers WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])",
        (tenant_id, list(customer_ids)),
    )
    return list(result.scalars())


async def drop_mere_names(
    connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]
) -> list[str | None]:
    """Drop the rows of ids that had a history only while they survived of others.

    Return of each row the archetype that it leaves, if it was in one.
    """
    result = await connection.exec_driver_sql(
        """
        DELETE FROM customers WHERE tenant_id = $1 AND customer_id = ANY ($2::text[]) AND contact_time IS NULL
          AND NOT EXISTS (SELECT FROM orders WHERE orders.tenant_id = $1 AND orders.customer_id = customers.customer_id)
          AND NOT EXISTS (SELECT FROM customer_links AS link WHERE link.tenant_id = $1
                          AND customers.customer_id IN (link.survivor_id, link.customer_id))
        RETURNING archetype_id""",
        (tenant_id, list(customer_ids)),
    )
    return list(result.scalars())


async def make_known(connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]) -> list[str]:
    """Make the rows of customers who have orders of their own now; return the new ones of whom an id is stated."""
    result = await connection.exec_driver_sql(
        """
        WITH made AS (
            INSERT INTO customers (tenant_id, customer_id) SELECT $1, unnest($2::text[])
            ON CONFLICT DO NOTHING RETURNING customer_id)
        SELECT customer_id FROM made
        WHERE EXISTS (SELECT FROM customer_identities AS stated
                      WHERE stated.tenant_id = $1 AND stated.customer_id = made.customer_id)""",
        (tenant_id, list(customer_ids)),
    )
    return list(result.scalars())


async def erase(connection: AsyncConnection, tenant_id: UUID, customer_ids: Collection[str]) -> list[Identity]:
    """Remove what is stated about customers, their links and every merge that names them; return the ids they had."""
    arguments = (tenant_id, list(customer_ids))
    result = await connection.exec_driver_sql(
        "DELETE FROM customer_identities WHERE tenant_id = $1 AND customer_id = ANY ($2::text[]) RETURNING kind, value",
        arguments,
    )
    gone = [Identity(row.kind, row.value) for row in result]
    await connection.exec_driver_sql(
        "DELETE FROM customers_apart WHERE tenant_id = $1 AND customer_id = ANY ($2::text[])", arguments
    )
    await connection.exec_driver_sql(
        """
        DELETE FROM customer_links
        WHERE tenant_id = $1 AND (customer_id = ANY ($2::text[]) OR survivor_id = ANY ($2::text[]))""",
        arguments,
    )
    await connection.exec_driver_sql(
        """
        DELETE FROM customer_merges
        WHERE tenant_id = $1 AND (customer_id = ANY ($2::text[]) OR survivor_id = ANY ($2::text[]) OR EXISTS (
            SELECT FROM jsonb_array_elements(evidence) AS one WHERE one -> 'shared_with' ?| $2::text[]))""",
        arguments,
    )
    return gone
