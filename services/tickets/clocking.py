"""Brings clocks up to date: of a ticket that is being placed, and of all of a tenant whose promises changed."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from services.tickets.sla import Clocks, News, Rules, Said, Situation, advanced, phase_of, rescheduled
from services.tickets.sla_store import Clocked, Told
from services.tickets.store import Shop, Store
from services.tickets.targets import SlaSettings
from services.tickets.tickets import Ticket

AT_ONCE = 500
"""How many tickets get their clocks by new settings in one transaction."""


async def clocked(
    shop: Shop, ticket: Ticket, said: Sequence[Said], now: datetime
) -> tuple[Ticket, Sequence[tuple[News, str]]]:
    """Return a ticket that is locked with its clocks as of a moment, and what is to be told of which of them.

    `said` is the messages of the ticket and of those that were merged into it, oldest first.
    """
    settings = await shop.sla.settings()
    rules = rules_of(settings, ticket)
    clocks, news = advanced(ticket.clocks, situation_of(ticket, said, now), rules, now)
    return replace(ticket, clocks=with_snooze(clocks, ticket)), news


def told_of(ticket_id: UUID, clocks: Clocks, news: Sequence[tuple[News, str]]) -> list[Told]:
    """Return what is to be told of a ticket."""
    dues = {breach.clock: breach.due for breach in clocks.breaches}
    return [
        Told(ticket_id, what, clock, dues[clock] if what is News.BREACHED else getattr(clocks, f"{clock}_due"))
        for what, clock in news
    ]


async def judge(store: Store, tenant_id: UUID, ticket_ids: Collection[UUID], now: datetime) -> list[UUID]:
    """Bring the clocks of tickets up to date and tell of them; return which of the tickets have slept long enough."""
    async with store.shop(tenant_id) as shop:
        batch = await shop.sla.locked(ticket_ids)
        # Read behind the locks: who sets clocks by newer settings comes after this.
        settings = await shop.sla.settings()
        said = await shop.sla.said([one for ticket in batch for one in ticket.family])
        fresh: dict[UUID, Clocks] = {}
        told: list[Told] = []
        for ticket in batch:
            situation = situation_of(ticket, _together(said, ticket.family), now)
            clocks, news = advanced(ticket.clocks, situation, rules_of(settings, ticket), now)
            fresh[ticket.id] = with_snooze(clocks, ticket)
            told += told_of(ticket.id, clocks, news)
        if fresh:
            await shop.sla.put_clocks(fresh)
        await shop.sla.tell(told, now)
    return [one.id for one in batch if one.snooze_until is not None and one.snooze_until <= now]


def rules_of(settings: SlaSettings, ticket: Ticket | Clocked) -> Rules:
    """Return by what a ticket's clocks are computed."""
    return Rules(settings.targets(ticket.priority, ticket.tags), settings.calendar, settings.revision)


def situation_of(ticket: Ticket | Clocked, said: Sequence[Said], now: datetime) -> Situation:
    """Return how a ticket stands; the time of its status is the one that a helpdesk told, if it told one."""
    phase = phase_of(ticket.status, snoozed=ticket.snooze_until is not None, merged=ticket.merged_into is not None)
    told = ticket.field_times.get("status")
    since = min(datetime.fromisoformat(told).astimezone(UTC), now) if told else now
    return Situation(phase, since, ticket.start_time, said)


async def reschedule(store: Store, tenant_id: UUID, now: datetime) -> int:
    """Set the clocks of all tickets that are not closed by the tenant's newest settings; return how many changed.

    It may be interrupted and begun again. What is to be told is told by the timers, which ring at once.
    """
    async with store.shop(tenant_id) as shop:
        # Who placed a ticket by older settings has ended after this, and the ticket can be seen.
        await shop.wait_for_placers()
    after, done = UUID(int=0), 0
    while True:
        async with store.shop(tenant_id) as shop:
            settings = await shop.sla.settings()
            batch = await shop.sla.behind(settings.revision, after, AT_ONCE)
            if not batch:
                await shop.sla.applied(settings.revision)
                return done
            said = await shop.sla.said([one for ticket in batch for one in ticket.family])
            clocks = {}
            for ticket in batch:
                situation = situation_of(ticket, _together(said, ticket.family), now)
                fresh = rescheduled(ticket.clocks, situation, rules_of(settings, ticket), now)
                clocks[ticket.id] = with_snooze(fresh, ticket)
            await shop.sla.put_clocks(clocks)
        after, done = batch[-1].id, done + len(batch)


def _together(by_ticket: dict[UUID, list[Said]], family: Sequence[UUID]) -> list[Said]:
    """Return the messages of a ticket and of those that were merged into it, oldest first."""
    return sorted((one for each in family for one in by_ticket.get(each, ())), key=lambda one: one.moment)


def with_snooze(clocks: Clocks, ticket: Ticket | Clocked) -> Clocks:
    """Let the alarm of a ticket that sleeps ring when it wakes, or before."""
    if ticket.snooze_until is None or ticket.status != "pending":
        return clocks
    return replace(clocks, alarm=min(clocks.alarm or ticket.snooze_until, ticket.snooze_until))
