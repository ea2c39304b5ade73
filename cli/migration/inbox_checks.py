"""What shops see after the move, asked through the gateway: old ids, other shops' ids, orders of inboxes, profiles."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from uuid import UUID

import httpx

from cli.migration.comparing import Said
from cli.migration.live_checks import Edge
from cli.migration.mapping import Rules
from cli.migration.moving import judged_orders
from cli.migration.old_order import REASONS, Facts, compare
from cli.migration.ownership import Owners
from cli.migration.report import Finding, bounded
from cli.migration.rows import SourceProfile, SourceTicket
from cli.migration.source import Source
from cli.operator import Operator

MOST_SHOPS = 10
"""How many shops are looked at, those with the most tickets."""

_IDS_A_SHOP = 20
_FOREIGN_A_PAIR = 3
_INBOX = 50
_CENTS = 0.011
_SALES = "SELECT DISTINCT order_id::text AS id FROM {table} WHERE customer_id::text = ANY($1)"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Shops:
    """The shops that are looked at, and how each is asked: with an operator's token that is bound to it."""

    edge: Edge
    operator: Operator
    slugs: Sequence[str]

    async def get(self, client: httpx.AsyncClient, slug: str, path: str) -> httpx.Response:
        """Ask for a path in the name of a shop."""
        return await client.get(self.edge.https_url + path, headers=dict(await self.operator.metadata(slug)))


async def old_ids(shops: Shops, said: Said) -> Finding:
    """Ask for tickets by the ids and the numbers that they had."""
    asked, wrong, renumbered = 0, [], 0
    async with shops.edge.client() as client:
        for slug in shops.slugs:
            for ticket, number in said.sample(slug, _IDS_A_SHOP):
                asked += 1
                answer = await shops.get(client, slug, f"/api/tickets/{ticket}")
                if answer.status_code != httpx.codes.OK or answer.json()["id"] != str(ticket):
                    wrong.append(f"{slug}: {ticket}: {answer.status_code}")
                    continue
                by_number = await shops.get(client, slug, f"/api/tickets/T-{number:03}") if number else answer
                renumbered += by_number.status_code != httpx.codes.OK or by_number.json()["id"] != str(ticket)
    kept = "every number was kept" if not renumbered else f"{renumbered} had to get another number"
    return Finding(
        "tickets answer to the ids that they had",
        "red" if wrong or not asked else "green",
        f"{asked} tickets asked for in {len(shops.slugs)} shops; {kept}",
        "Run `rapport migrate run` again; `rapport migrate verify` names missing tickets.",
        bounded(wrong),
    )


async def isolation(shops: Shops, said: Said) -> Finding:
    """Ask in the name of one shop for the tickets of another."""
    asked, open_doors = 0, []
    async with shops.edge.client() as client:
        for mine, others in permutations(shops.slugs, 2):
            for ticket, _ in said.sample(others, _FOREIGN_A_PAIR):
                for path in (f"/api/tickets/{ticket}", f"/v1/tickets/{ticket}", f"/api/tickets/{ticket}/notes"):
                    asked += 1
                    status = (await shops.get(client, mine, path)).status_code
                    if status != httpx.codes.NOT_FOUND:
                        open_doors.append(f"{mine} asks for {path} of {others}: {status}")
    evidence = (
        f"{asked} requests for other shops' tickets, every one 404"
        if asked
        else "nothing to ask for: tickets in one shop only"
    )
    return Finding(
        "no shop sees a row of another shop",
        "red" if open_doors else "green" if asked else "yellow",
        evidence if not open_doors else f"{len(open_doors)} of {asked} were answered otherwise",
        "Stop the cut-over (`rapport migrate rollback`) and look at once.",
        bounded(open_doors),
    )


async def inbox_orders(shops: Shops, source: Source, profiles: Mapping[str, SourceProfile]) -> Finding:
    """Compare the first page of shops' inboxes with the order that the predecessor had for the same tickets."""
    now, reasons, decided, lines = datetime.now(UTC), Counter[str](), Counter[str](), []
    pairs = unexplained = 0
    async with shops.edge.client() as client:
        for slug in shops.slugs:
            inbox = await _inbox(shops, client, slug)
            known = {str(one.id): one for one in await _tickets(source, inbox)}
            order = [
                _facts(known[one], profiles, await _parts(shops, client, slug, one)) for one in inbox if one in known
            ]
            found = compare(order, now)
            pairs, unexplained = pairs + found.pairs, unexplained + found.unexplained
            reasons, decided = reasons + found.reasons, decided + found.decided
            if found.pairs:
                lines.append(f"{slug}: {found.turned} of {found.pairs} pairs stand the other way round")
    told = [f"{count} because {REASONS[reason]}" for reason, count in reasons.most_common()]
    told += [f"of the last kind, {count} were decided by the part {part}" for part, count in decided.most_common()]
    evidence = (
        f"{reasons.total()} of {pairs} pairs of tickets stand the other way round than in the predecessor, "
        f"{unexplained} without a reason"
    )
    return Finding(
        "inboxes are in order, and what stands otherwise than before has a reason",
        "red" if unexplained else "green" if pairs else "yellow",
        evidence if pairs else "no shop has two open tickets that were moved",
        "An order contradicts its own explanation: `rapport ticket explain`, then `rapport policy set` orders it anew.",
        bounded([*told, *lines]),
    )


async def profile_figures(
    shops: Shops, source: Source, profiles: Mapping[str, SourceProfile], owners: Owners, rules: Rules
) -> Finding:
    """Compare figures of customers with what the predecessor said of them, and say why they differ."""
    reasons, odd, asked = Counter[str](), [], 0
    orders = await _orders(source, owners, rules, list(profiles))
    async with shops.edge.client() as client:
        for customer, placed in owners.of(profiles).items():
            if placed.slug not in shops.slugs:
                continue
            asked += 1
            answer = await shops.get(client, placed.slug, f"/api/customers/{customer}")
            for reason in _answered(answer, profiles[customer], orders.get(customer, (0, 0))):
                reasons[reason] += 1
                if reason in (_UNEXPLAINED, _UNANSWERED):
                    odd.append(f"{placed.slug}: {customer}: {answer.status_code}")
    told = [f"{count} times: {reason}" for reason, count in reasons.most_common()]
    return Finding(
        "customers have the orders that moved, and their figures differ for known reasons only",
        "red" if odd else "green" if asked else "yellow",
        f"{asked} customers compared, {reasons.total()} differences, {len(odd)} of them without a known reason",
        "Run `rapport migrate run` again; then compare with `rapport customer show`.",
        bounded([*told, *odd]),
    )


async def sampled_profiles(source: Source, said: Said, slugs: Iterable[str]) -> dict[str, SourceProfile]:
    """Return what the source kept of the customers of some tickets of each shop, and of those in front of inboxes."""
    ids = [ticket for slug in slugs for ticket, _ in said.sample(slug, _INBOX)]
    wanted = {ticket.customer for ticket in await source.tickets_by_id(ids) if ticket.customer}
    return await profiles_of(source, wanted)


async def profiles_of(source: Source, customers: set[str]) -> dict[str, SourceProfile]:
    """Return what the source kept of these customers."""
    found: dict[str, SourceProfile] = {}
    async with aclosing(source.profiles()) as pages:
        async for page in pages:
            found |= {one.customer: one for one in page if one.customer in customers}
    return found


async def inbox_customers(shops: Shops, source: Source) -> set[str]:
    """Return the customers of the tickets on the first pages of the shops' inboxes."""
    found: set[str] = set()
    async with shops.edge.client() as client:
        for slug in shops.slugs:
            page = await _inbox(shops, client, slug)
            found |= {ticket.customer for ticket in await _tickets(source, page) if ticket.customer}
    return found


_UNEXPLAINED = "Rapport has not the orders that moved"
_UNANSWERED = "Rapport did not answer"


def _answered(answer: httpx.Response, theirs: SourceProfile, orders: tuple[int, int]) -> list[str]:
    if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
        return [_UNANSWERED]
    ours = answer.json().get("business_metrics", {}) if answer.status_code == httpx.codes.OK else {}
    return _differences(theirs, ours, orders)


def _differences(theirs: SourceProfile, ours: Mapping[str, Any], orders: tuple[int, int]) -> list[str]:
    """Return why the figures of a customer differ, one reason for each that does.

    `orders` are those that moved: without cancelled ones, and with them.
    """
    if not ours:
        return [_UNEXPLAINED if orders[1] else "the customer bought nothing: figures without a purchase are not kept"]
    found = []
    count = int(ours.get("total_orders") or 0)
    if not orders[0] <= count <= orders[1]:
        found.append(_UNEXPLAINED)
    elif theirs.total_orders is not None and count != theirs.total_orders:
        found.append("the profile counted other orders than the sales have, which alone are moved")
    value = float(ours.get("lifetime_value") or 0.0)
    if theirs.lifetime_value is not None and abs(value - theirs.lifetime_value) > _CENTS:
        found.append("value is the sum of the orders less discounts and refunds, not the figure that was stored")
    if theirs.days_since_last_purchase != ours.get("days_since_last_purchase"):
        found.append("days since the last purchase are counted to today, not to the last nightly run")
    return found


async def _orders(source: Source, owners: Owners, rules: Rules, customers: list[str]) -> dict[str, tuple[int, int]]:
    """Return how many orders of each customer moved: those that are not cancelled, and all."""
    if "combined_sales" not in source.places:
        return {}
    query = _SALES.format(table=source.places["combined_sales"].sql)
    ids = [row["id"] for row in await source.connection.fetch(query, customers)]
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        for order in judged_orders(await source.orders_by_id(ids[start : start + _AT_ONCE]), owners, rules):
            if order.moves:
                counted, every = found.get(order.source.customer, (0, 0))
                cancelled = any(line.cancelled for line in order.lines)
                found[order.source.customer] = counted + (not cancelled), every + 1
    return found


async def _inbox(shops: Shops, client: httpx.AsyncClient, slug: str) -> list[str]:
    answer = await shops.get(client, slug, f"/api/tickets?status=open&limit={_INBOX}&smart_order=true")
    return [str(ticket["id"]) for ticket in answer.raise_for_status().json()["tickets"]]


async def _tickets(source: Source, ids: Sequence[str]) -> list[SourceTicket]:
    return await source.tickets_by_id([UUID(one) for one in ids])


async def _parts(shops: Shops, client: httpx.AsyncClient, slug: str, ticket: str) -> dict[str, float]:
    answer = await shops.get(client, slug, f"/api/tickets/{ticket}/score-breakdown")
    return dict(answer.raise_for_status().json()["components"])


def _facts(ticket: SourceTicket, profiles: Mapping[str, SourceProfile], parts: Mapping[str, float]) -> Facts:
    profile = profiles.get(ticket.customer)
    last = ticket.messages[-1].content or "" if ticket.messages else ""
    return Facts(
        str(ticket.id),
        ticket.priority,
        ticket.created,
        last[:100],
        None if profile is None else profile.lifetime_value or 0.0,
        None if profile is None else profile.churn_risk,
        parts,
    )
