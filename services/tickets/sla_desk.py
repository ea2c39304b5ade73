"""What an operator does with promises: each method is one transaction, and the clocks follow in the background."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from servicekit.etag import etag, require
from services.tickets.calendars import Calendar
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.store import Store
from services.tickets.targets import SlaSettings, TagTargets, Targets, check_targets


def etag_of(settings: SlaSettings) -> str:
    """Return the etag of settings."""
    return etag("sla", settings.revision)


class SlaDesk:
    """Reads and changes what a tenant promises."""

    def __init__(
        self,
        store: Store,
        on_calendar: Callable[[Caller, Calendar], Awaitable[None]],
        on_targets: Callable[[Caller], Awaitable[None]],
        clock: Clock = utc_now,
    ) -> None:
        """Call `on_calendar` and `on_targets` after a change: the order of the inbox depends on both."""
        self._store = store
        self._on_calendar = on_calendar
        self._on_targets = on_targets
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
        settings = await self._change(
            caller, lambda known: replace(known, priorities=dict(priorities), tags=tuple(tags)), expected
        )
        await self._on_targets(caller)
        return settings

    async def set_calendar(self, caller: Caller, calendar: Calendar, expected: str = "") -> SlaSettings:
        """Replace the calendar.

        Raises:
            EtagMismatchError: the settings have changed since the caller saw them.
        """
        settings = await self._change(caller, lambda known: replace(known, calendar=calendar), expected)
        await self._on_calendar(caller, calendar)
        return settings

    async def _change(self, caller: Caller, step: Callable[[SlaSettings], SlaSettings], expected: str) -> SlaSettings:
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            known = await shop.sla.settings_to_change(now)
            require(expected, etag_of(known))
            settings = replace(step(known), revision=known.revision + 1, update_time=now, principal=caller.principal)
            await shop.sla.put_settings(settings)
        return settings
