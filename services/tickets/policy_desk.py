"""What shops and operators do with the policy of an inbox: each change is a new version, built in the background."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from servicekit.doorbell import Doorbell
from servicekit.etag import etag, require
from services.tickets import handling, policies
from services.tickets.calendars import Calendar
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.policies import Edit, Policy
from services.tickets.policy_store import Version
from services.tickets.reranking import BELL
from services.tickets.store import Shop, Store


@dataclass(frozen=True, slots=True)
class Shown:
    """A version as it stands now: active, building or retired; and the etag of the newest version."""

    version: Version
    state: str
    etag: str


class PolicyDesk:
    """Reads and changes policies."""

    def __init__(self, store: Store, doorbell: Doorbell, clock: Clock = utc_now) -> None:
        self._store = store
        self._doorbell = doorbell
        self._clock = clock

    async def get(self, caller: Caller, number: int = 0) -> Shown:
        """Return a version of the policy; 0 is the active one.

        Raises:
            PolicyNotFoundError: there is no such version.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            wanted = number or (await shop.places.rankings()).active.policy_version
            return (await _shown(shop, caller, [await shop.policies.version(wanted)]))[0]

    async def list(self, caller: Caller, before: int | None, limit: int) -> Sequence[Shown]:
        """Return versions older than `before`, newest first."""
        async with self._store.shop(caller.tenant_id) as shop:
            return await _shown(shop, caller, await shop.policies.versions(before=before, limit=limit))

    async def change(self, caller: Caller, edit: Edit, expected: str, reason: str) -> Shown:
        """Make a new version of the newest one.

        Raises:
            PolicyInvalidError: the edit is not allowed.
            EtagMismatchError: there is a newer version than the caller has seen.
        """
        return await self._next(caller, lambda newest: policies.edited(newest, edit), expected, reason)

    async def roll_back(self, caller: Caller, number: int, expected: str, reason: str) -> Shown:
        """Make a new version that orders as an earlier one did.

        Raises:
            PolicyNotFoundError: there is no such version.
            EtagMismatchError: there is a newer version than the caller has seen.
        """
        earlier = (await self.get(caller, number)).version.policy

        def again(newest: Policy) -> Policy:
            return replace(earlier, calendar=newest.calendar, handling=newest.handling)

        return await self._next(caller, again, expected, reason or f"Back to version {number}")

    async def on_calendar(self, shop: Shop, caller: Caller, calendar: Calendar) -> None:
        """Let tickets age by another calendar from this transaction on; `ring` at its end."""
        await self._add(shop, caller, lambda newest: replace(newest, calendar=calendar), "The working hours changed")

    async def on_targets(self, shop: Shop, caller: Caller) -> None:
        """Put the inbox in order anew because this transaction changes the targets for answers; `ring` at its end."""
        await self._add(shop, caller, lambda newest: newest, "The targets for answers changed")

    async def ring(self) -> None:
        """Let the places by a new version be made."""
        await self._doorbell.ring(BELL)

    async def learn(self, caller: Caller) -> bool:
        """Look how long the tenant's closed tickets took; tell whether that made a new version."""
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            # Whatever comes of it, it is the turn of the other tenants afterwards.
            await shop.policies.take_turn(now)
        async with self._store.shop(caller.tenant_id) as shop:
            learned = handling.learned(await shop.policies.efforts(handling.TICKETS, handling.LONGEST_GAP))
            await shop.policies.remember(learned, now)
            known = (await shop.policies.newest()).policy.handling
        if not handling.different(known, learned):
            return False
        reason = "Handling times learned from closed tickets"
        await self._next(caller, lambda newest: replace(newest, handling=learned), "", reason)
        return True

    async def _next(self, caller: Caller, step: Callable[[Policy], Policy], expected: str, reason: str) -> Shown:
        """Add a version and let the places by it be made."""
        async with self._store.shop(caller.tenant_id) as shop:
            version = await self._add(shop, caller, step, reason, expected)
            shown = await _shown(shop, caller, [version])
        await self.ring()
        return shown[0]

    async def _add(
        self, shop: Shop, caller: Caller, step: Callable[[Policy], Policy], reason: str, expected: str = ""
    ) -> Version:
        """Add a version, and begin the ranking by it."""
        newest = (await shop.policies.newest()).policy
        require(expected, _etag(caller, newest.version))
        policy = replace(step(newest), version=newest.version + 1)
        version = Version(policy, caller.principal, reason, self._clock())
        await shop.policies.add(version)
        await shop.rankings.begin(policy.version)
        return version


async def _shown(shop: Shop, caller: Caller, versions: Sequence[Version]) -> list[Shown]:
    rankings = await shop.places.rankings()
    states = {rankings.active.policy_version: "active"}
    if rankings.building is not None:
        states.setdefault(rankings.building.policy_version, "building")
    newest = (await shop.policies.versions(limit=1))[0].policy.version
    return [
        Shown(version, states.get(version.policy.version, "retired"), _etag(caller, newest)) for version in versions
    ]


def _etag(caller: Caller, newest: int) -> str:
    return etag("policy", str(caller.tenant_id), str(newest))
