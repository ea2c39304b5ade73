"""Carries out the steps of a provider's API for a connection."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from servicekit.errors import DomainError
from services.crm.call_store import CallStore
from services.crm.calling.account import Account, open_account
from services.crm.calling.failures import CallError
from services.crm.calling.guard import GuardedNetwork, Resolve, resolved
from services.crm.calling.lane import CIRCUIT_OPEN, Lane
from services.crm.calling.origins import Origin, checked_origin
from services.crm.calling.renewal import LEASE, Renewals
from services.crm.calling.sender import BUSY, CALL_SECONDS, Sender
from services.crm.keyring import Keyring
from services.crm.providers.api import Api, ApiError, Call, Config, Renewed, Reply, Steps

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")

MakeSteps = Callable[[Api, Config], Steps[Result]]
"""Makes the steps of one API by a connection's settings, as in `lambda api, config: api.ticket(config, "42")`."""

PATIENCE = 20.0
"""How many seconds a call may be waited for and repeated, unless who asks says otherwise."""

MOST_LANES = 10_000
"""Of how many connections the pace and the breaker are remembered."""

NOT_UNDERSTOOD = "ANSWER_NOT_UNDERSTOOD"
"""The reason of an answer of another form than the vendor documents."""

# What steps themselves may find that is wrong with the connection, and not with what was asked.
_OF_THE_CONNECTION = frozenset({NOT_UNDERSTOOD, "CREDENTIALS_MISSING", "CREDENTIALS_REFUSED", "SETTING_MISSING"})

# What says nothing new about the vendor: it was not even asked.
_OF_THIS_PROCESS = frozenset({BUSY, CIRCUIT_OPEN})

_NOTE_SECONDS = 30.0


class Calling:
    """Calls the APIs of the tenants' providers. One for a process; `base_url` replaces all vendors' sites by one.

    In `base_url` the provider's name stands for `{provider}`: `http://127.0.0.1:9000/{provider}`.
    """

    def __init__(
        self,
        store: CallStore,
        keyring: Keyring,
        *,
        base_url: str = "",
        resolve: Resolve = resolved,
        clock: Callable[[], float] = time.monotonic,
        call_seconds: float = CALL_SECONDS,
        lease: timedelta = LEASE,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._base_url = base_url
        self._clock = clock
        self._sender = Sender(GuardedNetwork(exempt=_exempt(base_url), resolve=resolve), seconds=call_seconds)
        self._lanes: OrderedDict[tuple[UUID, UUID], Lane] = OrderedDict()
        self._noted: OrderedDict[tuple[UUID, UUID], tuple[str, float]] = OrderedDict()
        self._renewals = Renewals(store, keyring, self._ask_for_tokens, lease=lease)

    async def close(self) -> None:
        """Close all connections to vendors, after the renewals that are under way."""
        await self._renewals.close()
        await self._sender.close()

    async def account(self, tenant_id: UUID, connection_id: UUID) -> Account:
        """Return a connection as its calls are made.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
            CallError: its provider has no API (`PROVIDER_WITHOUT_API`).
        """
        return await open_account(self._store, self._keyring, tenant_id, connection_id)

    async def run(
        self,
        tenant_id: UUID,
        connection_id: UUID,
        make_steps: MakeSteps[Result],
        *,
        patience: float = PATIENCE,
        patience_at_first: float | None = None,
        afresh: bool = False,
    ) -> Result:
        """Carry out steps for a connection and return what they end with.

        `patience_at_first` is that of the first call, `patience` unless said; for steps that are better carried out
        later than waited for before they have begun. `afresh` forgets first how calls went before, for somebody who has
        put right what was wrong.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
            OutOfReachError: nothing is wrong, but it did not work within `patience` seconds; later it may.
            ApiError: the vendor, the settings or the credentials do not allow it; `reason` says why. Those that are
                `CallError`s say something about the connection, the others about what was asked.
        """
        if afresh:
            self._lanes.pop((tenant_id, connection_id), None)
            self._renewals.forget(tenant_id, connection_id)
        try:
            account = await self.account(tenant_id, connection_id)
            result = await self._walk_as(account, make_steps, patience, patience_at_first)
        except CallError as error:
            if error.reason not in _OF_THIS_PROCESS:
                await self._note(tenant_id, connection_id, error)
            raise
        except ApiError:
            # The vendor answered, and the steps say that there is nothing to be done.
            await self._note(tenant_id, connection_id, None)
            raise
        await self._note(tenant_id, connection_id, None)
        return result

    async def _walk_as(
        self, account: Account, make_steps: MakeSteps[Result], patience: float, patience_at_first: float | None
    ) -> Result:
        """Carry out steps, logged in; with a token that has ended, once more with a new one."""
        session = _Session(account, self._renewals, self._origin(account))
        await session.log_in()
        lane = self._lane(account)
        waiting = patience if patience_at_first is None else patience_at_first

        async def send(call: Call) -> Reply:
            nonlocal waiting
            address, seconds, waiting = session.origin.address(call), waiting, patience
            try:
                return await lane.send(account.api, call, address, session.headers, patience=seconds)
            except CallError as error:
                # Who is not let in has had nothing done.
                if error.reason != "CREDENTIALS_REFUSED" or not await session.renewed():
                    raise
            return await lane.send(account.api, call, address, session.headers, patience=seconds)

        return await _walk(make_steps(account.api, account.config), send)

    async def _ask_for_tokens(self, account: Account) -> Renewed:
        """Ask the vendor for new tokens; these calls log in by what the steps themselves send."""
        steps = account.api.renew(account.config, account.credentials)
        if steps is None:
            raise CallError("CREDENTIALS_REFUSED", "the vendor refuses the credentials")
        origin, lane = self._origin(account), self._lane(account)

        async def send(call: Call) -> Reply:
            return await lane.send(account.api, call, origin.address(call), {}, patience=PATIENCE)

        return await _walk(steps, send)

    def _origin(self, account: Account) -> Origin:
        instead = self._base_url.replace("{provider}", account.provider)
        return checked_origin(_checked(lambda: account.api.origin(account.config)), account.api.apexes, instead=instead)

    def _lane(self, account: Account) -> Lane:
        lane = self._lanes.get(account.key)
        if lane is None:
            lane = self._lanes[account.key] = Lane(self._sender, account.provider, self._clock)
            while len(self._lanes) > MOST_LANES:
                self._lanes.popitem(last=False)
        self._lanes.move_to_end(account.key)
        return lane

    async def _note(self, tenant_id: UUID, connection_id: UUID, error: CallError | None) -> None:
        """Keep in the connection's health how it went: what is new at once, the same again now and then."""
        key, reason = (tenant_id, connection_id), error.reason if error else ""
        noted, when = self._noted.get(key, (None, 0.0))
        if noted == reason and self._clock() - when < _NOTE_SECONDS:
            return
        try:
            if error is None:
                await self._store.note_success(tenant_id, connection_id)
            else:
                await self._store.note_failure(tenant_id, connection_id, reason=reason, detail=error.detail)
        except DomainError as failure:
            _log.warning("health_not_noted", reason=failure.reason)
            return
        self._noted[key] = (reason, self._clock())
        self._noted.move_to_end(key)
        while len(self._noted) > MOST_LANES:
            self._noted.popitem(last=False)


class _Session:
    """Who is logged in while steps are carried out: renewed at most once."""

    def __init__(self, account: Account, renewals: Renewals, origin: Origin) -> None:
        self._account = account
        self._renewals = renewals
        self._may_renew = True
        self.origin = origin
        self.headers: Mapping[str, str] = {}

    async def log_in(self) -> None:
        """Get ready to send: with a new token where there is none yet, or it is about to end."""
        if self._account.is_expiring(datetime.now(UTC)) and await self.renewed():
            return
        try:
            self.headers = self._authorization()
        except CallError as error:
            if error.reason != "CREDENTIALS_MISSING" or not await self.renewed():
                raise

    async def renewed(self) -> bool:
        """Log in anew, with a token that is newer; False when there is no such thing or it was done already."""
        if not self._may_renew or not self._is_renewable():
            return False
        self._may_renew = False
        self._account = await self._renewals.after(self._account)
        try:
            self.headers = self._authorization()
        except CallError as error:
            # Somebody replaced the credentials meanwhile, and nobody has got a token by the new ones yet.
            if error.reason != "CREDENTIALS_MISSING" or not self._is_renewable():
                raise
            self._account = await self._renewals.after(self._account)
            self.headers = self._authorization()
        return True

    def _is_renewable(self) -> bool:
        try:
            steps = self._account.api.renew(self._account.config, self._account.credentials)
        except ApiError:
            return False
        if steps is None:
            return False
        steps.close()
        return True

    def _authorization(self) -> Mapping[str, str]:
        return _checked(lambda: self._account.api.authorization(self._account.config, self._account.credentials))


async def _walk(steps: Steps[Result], send: Callable[[Call], Awaitable[Reply]]) -> Result:
    """Carry out steps to their end."""
    reply: Reply | None = None
    try:
        while True:
            try:
                call = next(steps) if reply is None else steps.send(reply)
            except StopIteration as end:
                result: Result = end.value
                return result
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                # What the vendor sent has another form than its documentation says.
                raise CallError(NOT_UNDERSTOOD, type(error).__name__) from error
            except ApiError as error:
                if error.reason in _OF_THE_CONNECTION and not isinstance(error, CallError):
                    raise CallError(error.reason, error.detail) from error
                raise
            reply = await send(call)
    finally:
        steps.close()


def _checked(make: Callable[[], Result]) -> Result:
    """Return what a provider module makes of a connection's settings and secrets; its complaint is about those."""
    try:
        return make()
    except CallError:
        raise
    except ApiError as error:
        raise CallError(error.reason, error.detail) from error


def _exempt(base_url: str) -> list[tuple[str, int]]:
    """Return the host and port that are called in the vendors' place, whatever their addresses are."""
    if not base_url:
        return []
    parts = urlsplit(base_url)
    return [(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))]
