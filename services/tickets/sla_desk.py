"""What an operator does with promises: each method is one transaction, and the clocks follow in the background."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from servicekit.etag import etag, require
from services.tickets.calendars import Calendar
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.policy_desk import PolicyDesk
from services.tickets.store import Shop, Store
from services.tickets.targets import SlaSettings, TagTargets, Targets, check_targets


def etag_of(settings: SlaSettings) -> str:
    """Return the etag of settings."""
    return etag("sla", settings.revision)


class SlaDesk:
    """Reads and changes what a tenant promises."""

    def __init__(self, store: Store, ordering: PolicyDesk, clock: Clock = utc_now) -> None:
        """Put the inbox in order anew by `ordering` after a change: its order depends on targets and calendar."""
        self._store = store
        self._ordering = ordering
        self._clock = clock

    async def get(self, caller: Caller) -> SlaSettings:
        """Return what the tenant promises, and its calendar."""
        async with self._store.shop(caller.tenant_id) as shop:
            return await shop.sla.settings()

    async def set_targets(
        self, caller: Caller, priorities: Mapping[str, Targets], tags: Sequence[TagTargets], expected: str = ""
    ) -> SlaSettings:
        """Replace all targets; `expected` is the etag that the caller has seen, empty for any.

        Raises:
            SlaTargetsInvalidError, EtagMismatchError: see there.
        """
        check_targets(priorities, tags)

        def step(known: SlaSettings) -> SlaSettings:
            return replace(known, priorities=dict(priorities), tags=tuple(tags))

        return await self._change(caller, step, expected, lambda shop: self._ordering.on_targets(shop, caller))

    async def set_calendar(self, caller: Caller, calendar: Calendar, expected: str = "") -> SlaSettings:
        """Replace the calendar.

        Raises:
            EtagMismatchError: the settings have changed since the caller saw them.
        """

        def step(known: SlaSettings) -> SlaSettings:
            return replace(known, calendar=calendar)

        return await self._change(
            caller, step, expected, lambda shop: self._ordering.on_calendar(shop, caller, calendar)
        )

    async def _change(
        self,
        caller: Caller,
        step: Callable[[SlaSettings], SlaSettings],
        expected: str,
        order_anew: Callable[[Shop], Awaitable[None]],
    ) -> SlaSettings:
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            known = await shop.sla.settings_to_change(now)
            require(expected, etag_of(known))
            settings = replace(step(known), revision=known.revision + 1, update_time=now, principal=caller.principal)
            await shop.sla.put_settings(settings)
            # Who has read the former settings ends before the new ranking can be seen, and places nothing in it.
            await shop.wait_for_placers()
            await order_anew(shop)
        await self._ordering.ring()
        return settings
