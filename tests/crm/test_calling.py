"""Calls of a provider's API: what is repeated, what is waited for, what is remembered of it."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from servicekit.database import Database
from servicekit.ids import uuid7
from services.crm.call_store import CallStore
from services.crm.calling.breaker import MOST_FAILURES
from services.crm.calling.engine import Calling
from services.crm.calling.failures import CallError, OutOfReachError
from services.crm.calling.guard import GuardedNetwork
from services.crm.calling.sender import BUSY, Sender
from services.crm.connection_updates import Wishes
from services.crm.errors import ConnectionNotFoundError
from services.crm.providers.api import AddNote, ApiError, Call
from tests.crm.conftest import Crm
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.server import Answered, Fault, VendorServer, broken, lost, too_many, vendor_server
from tests.support.waiting import eventually

OAUTH = {"client_secret": "hubspot-client-secret", "refresh_token": "hubspot-refresh-token"}
PRIVATE = {"private_app_token": "pat-private-app-token"}


@dataclass
class Place:
    """A connection to a simulated HubSpot, and what calls it."""

    crm: Crm
    hubspot: HubSpotSimulator
    server: VendorServer
    tenant_id: UUID
    connection_id: UUID
    calling: Calling
    opened: list[Calling]

    async def another(self, **settings: Any) -> Calling:
        """Return what another process calls by, with a database pool of its own."""
        database = await Database.connect(self.crm.database.app_url, schema="crm")
        self.crm.databases.append(database)
        made = Calling(CallStore(database), self.crm.main.keyring, base_url=self.server.base_url, **settings)
        self.opened.append(made)
        return made

    async def account(self, calling: Calling | None = None, **settings: Any) -> str:
        """Ask whose credentials these are."""
        return await (calling or self.calling).run(
            self.tenant_id, self.connection_id, lambda api, config: api.account(config), **settings
        )

    async def health(self) -> Any:
        """Return what is stored of how calls went."""
        async with self.crm.databases[0].driver_tenant(self.tenant_id) as connection:
            return await connection.fetchrow(
                "SELECT * FROM crm.connection_calls WHERE tenant_id = $1 AND connection_id = $2",
                self.tenant_id,
                self.connection_id,
            )

    async def renews_slowly(self, answer: Answered) -> asyncio.Task[str]:
        """Have a process ask for tokens, get this answer late, and stand still until its lease is over."""
        self.server.fail(Fault(lambda asked: asked.path == "/oauth/v1/token", answer=answer, held=True))
        late = asyncio.create_task(self.account(await self.another()))
        await self.server.wait_until(lambda: bool(self.server.asked))
        async with self.crm.databases[0].driver_tenant(self.tenant_id) as connection:
            await connection.execute(
                "UPDATE crm.connection_calls SET renewing_until = now() - interval '1 second' WHERE tenant_id = $1",
                self.tenant_id,
            )
        return late

    async def connect(self, secrets: dict[str, str]) -> None:
        """Make the connection anew with these secrets."""
        made = await self.crm.main.connections.create(
            self.tenant_id,
            provider_name="hubspot",
            display_name="",
            config={"portal_id": str(self.hubspot.portal_id), "client_id": self.hubspot.client_id},
            secrets={"webhook_secret": "hubspot-webhook-secret", **secrets},
        )
        self.connection_id = made.connection.id


@pytest.fixture
async def place(crm: Crm) -> AsyncIterator[Place]:
    """A connection that logs in by a private app's token."""
    hubspot = HubSpotSimulator()
    async with vendor_server(hubspot) as server:
        made = Place(crm, hubspot, server, uuid7(), uuid7(), crm.main.calling, [])
        made.calling = await made.another()
        await made.connect(PRIVATE)
        yield made
        for calling in made.opened:
            await calling.close()


async def test_steps_are_carried_out_and_the_connection_is_well(place: Place) -> None:
    """The call carries the credentials, its steps get the reply, and the health says that it worked."""
    assert await place.account() == "62515"
    (asked,) = place.server.calls("hubspot")
    assert asked.headers["authorization"] == "Bearer pat-private-app-token"
    assert asked.headers["accept-encoding"] == "identity"
    health = await place.health()
    assert health["success_time"] is not None
    assert (health["failure_reason"], health["failing_since"]) == ("", None)


async def test_connection_of_another_tenant_is_not_there(place: Place) -> None:
    """Nobody calls by somebody else's credentials."""
    with pytest.raises(ConnectionNotFoundError):
        await place.calling.run(uuid7(), place.connection_id, lambda api, config: api.account(config))
    assert place.server.asked == []


async def test_wait_that_the_vendor_asks_for_is_kept(place: Place) -> None:
    """After a 429 the call is repeated when the vendor said, and not before."""
    place.server.fail(too_many(1))
    started = time.monotonic()
    assert await place.account() == "62515"
    assert 1.0 <= time.monotonic() - started < 5
    assert len(place.server.calls("hubspot")) == 2


async def test_wait_longer_than_the_patience_is_told_instead(place: Place) -> None:
    """Who asks learns when to come again, and until then the vendor is left alone."""
    place.server.fail(too_many(120))
    with pytest.raises(OutOfReachError, match="RATE_LIMITED") as caught:
        await place.account()
    assert caught.value.retry_after == 120
    with pytest.raises(OutOfReachError, match="RATE_LIMITED"):
        await place.account()
    assert len(place.server.calls("hubspot")) == 1


async def test_limit_that_the_vendor_tells_is_not_run_into(place: Place) -> None:
    """With no calls left until the window ends, none is sent that would only be refused."""
    place.hubspot.calls_left = 0
    assert await place.account() == "62515"
    with pytest.raises(OutOfReachError, match="RATE_LIMITED") as caught:
        await place.account(patience=1.0)
    assert caught.value.retry_after is not None
    assert 5 < caught.value.retry_after <= 10
    assert len(place.server.calls("hubspot")) == 1


@pytest.mark.parametrize(
    ("interval", "wait"),
    [
        pytest.param("99999999999999999", 3600.0, id="for ever"),
        pytest.param("9" * 400, 0.0, id="larger than any float"),
        pytest.param("9" * 5000, 0.0, id="larger than any number that is read"),
    ],
)
async def test_limit_that_would_never_end_is_not_believed(place: Place, interval: str, wait: float) -> None:
    """Whatever a header says, the vendor is asked again some time, and nothing else breaks by it."""
    moment = 1000.0
    left = {"x-hubspot-ratelimit-remaining": "0", "x-hubspot-ratelimit-interval-milliseconds": interval}
    place.server.fail(Fault(answer=Answered(200, {"portalId": 62515}, left)))
    calling = await place.another(clock=lambda: moment)
    assert await place.account(calling) == "62515"
    if wait:
        with pytest.raises(OutOfReachError, match="RATE_LIMITED") as caught:
            await place.account(calling)
        assert caught.value.retry_after == wait
        moment += wait
    assert await place.account(calling) == "62515"


async def test_call_that_changes_nothing_twice_is_repeated(place: Place) -> None:
    """A vendor's own error, and an answer that got lost, are tried again where that is safe."""
    place.server.fail(broken())
    place.server.fail(lost())
    assert await place.account() == "62515"
    assert len(place.server.calls("hubspot")) == 3


@pytest.mark.parametrize("fault", [broken(), lost()], ids=["error", "lost answer"])
async def test_call_that_may_have_had_its_effect_is_not_repeated(place: Place, fault: Fault) -> None:
    """What creates something is sent once: nobody knows whether the vendor did it."""
    fault.meets = lambda asked: asked.path == "/crm/v3/objects/notes"
    fault.times = 1
    place.hubspot.open_ticket("7", "Late", "Where is it?")
    place.server.fail(fault)
    with pytest.raises(OutOfReachError) as caught:
        await place.calling.run(
            place.tenant_id,
            place.connection_id,
            lambda api, config: api.write(config, "7", AddNote("Because", "marker-1")),
        )
    assert caught.value.done
    assert len(place.server.calls("hubspot", "POST", "/crm/v3/objects/notes")) == 1


async def test_vendor_that_does_not_answer_is_not_waited_for_long(place: Place) -> None:
    """A call has an end."""
    place.server.fail(Fault(held=True, times=10))
    calling = await place.another(call_seconds=0.1)
    with pytest.raises(OutOfReachError, match="VENDOR_TOO_SLOW"):
        await place.account(calling, patience=0.1)


async def test_failing_vendor_is_left_alone_for_a_while(place: Place) -> None:
    """After some failures in a row calls are not even tried; later one is, and when it works all are again."""
    moment = 1000.0
    place.server.fail(broken(times=MOST_FAILURES))
    calling = await place.another(clock=lambda: moment)
    for _ in range(MOST_FAILURES):
        with pytest.raises(OutOfReachError, match="VENDOR_FAILING"):
            await place.account(calling, patience=0.0)
    with pytest.raises(OutOfReachError, match="CIRCUIT_OPEN") as caught:
        await place.account(calling)
    assert caught.value.retry_after
    assert len(place.server.asked) == MOST_FAILURES
    assert (await place.health())["failure_reason"] == "VENDOR_FAILING"
    moment += 6
    assert await place.account(calling) == "62515"
    assert await place.account(calling) == "62515"


async def test_refused_credentials_are_seen_in_the_health_until_they_work(place: Place) -> None:
    """The health says what is wrong and since when, and forgets it with the first success."""
    place.hubspot.private_app_token = "another-token-by-now"
    with pytest.raises(CallError, match="CREDENTIALS_REFUSED"):
        await place.account()
    first = await place.health()
    assert first["failure_reason"] == "CREDENTIALS_REFUSED"
    assert "pat-private-app-token" not in str(dict(first))
    with pytest.raises(CallError, match="CREDENTIALS_REFUSED"):
        await place.account(await place.another())
    second = await place.health()
    assert second["failing_since"] == first["failing_since"]
    assert second["failure_time"] > first["failure_time"]
    place.hubspot.private_app_token = "pat-private-app-token"
    await place.account()
    healed = await place.health()
    assert (healed["failure_reason"], healed["failing_since"]) == ("", None)


async def test_what_the_steps_find_says_nothing_bad_of_the_connection(place: Place) -> None:
    """A ticket that is not there is an answer like any other."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        await place.calling.run(place.tenant_id, place.connection_id, lambda api, config: api.ticket(config, "404404"))
    assert (await place.health())["failure_reason"] == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answered(302, headers={"location": "http://169.254.169.254/"}), "REDIRECTED", id="redirect"),
        pytest.param(Answered(403), "PERMISSION_MISSING", id="forbidden"),
        pytest.param(Answered(200, body=b"<html>"), "ANSWER_NOT_UNDERSTOOD", id="no JSON"),
        pytest.param(Answered(200, body=b"x" * (9 * 1024 * 1024)), "ANSWER_TOO_LARGE", id="too large"),
    ],
)
async def test_answer_that_is_of_no_use_has_its_reason(place: Place, answer: Answered, reason: str) -> None:
    """Each is told apart, none is followed, and the health shows it."""
    place.server.fail(Fault(answer=answer))
    with pytest.raises(CallError, match=reason):
        await place.account()
    assert len(place.server.asked) == 1
    assert (await place.health())["failure_reason"] == reason


async def test_answers_do_not_fill_the_memory(place: Place) -> None:
    """What would be too much at once comes another time; nothing is counted for ever."""
    place.server.fail(Fault(answer=Answered(200, body=b"x" * 2_000_000), times=3))
    host, _, port = place.server.address.partition(":")
    sender = Sender(GuardedNetwork(exempt=[(host, int(port))]), most_held=1_000_000)
    address = f"http://{place.server.address}/hubspot/account-info/v3/details"
    for _ in range(3):
        with pytest.raises(OutOfReachError, match=BUSY):
            await sender.send(Call("GET", "/"), address, {})
    reply = await sender.send(Call("GET", "/"), address, {"authorization": f"Bearer {PRIVATE['private_app_token']}"})
    assert reply.status == 200
    await sender.close()


async def test_missing_credentials_are_told_without_a_call(place: Place) -> None:
    """Without any way to log in nothing is sent."""
    await place.connect({})
    with pytest.raises(CallError, match="CREDENTIALS_MISSING"):
        await place.account()
    assert place.server.asked == []


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("pat-private-app-token\r\nx-other: header", id="line end"),
        pytest.param("pat-private-app-töken", id="umlaut"),
        pytest.param("pat-private-app-token\u2026", id="ellipsis"),
    ],
)
async def test_credential_that_no_header_may_hold_is_told_apart(place: Place, token: str) -> None:
    """Such a token is a mistake of entering it: it reaches nobody as another header, and no error quotes it."""
    await place.connect({"private_app_token": token})
    with pytest.raises(CallError, match="CREDENTIALS_MALFORMED") as caught:
        await place.account()
    assert place.server.asked == []
    assert (await place.health())["failure_reason"] == "CREDENTIALS_MALFORMED"
    assert "pat-private" not in "".join(traceback.format_exception(caught.value))


async def test_first_access_token_is_got_by_the_refresh_token(place: Place) -> None:
    """A connection that was given no access token gets one, keeps it sealed, and uses it from then on."""
    await place.connect(OAUTH)
    for _ in range(3):
        assert await place.account() == "62515"
    assert len(place.server.calls("hubspot", "POST", "/oauth/v1/token")) == 1
    assert "authorization" not in place.server.calls("hubspot", "POST")[0].headers
    connection = await place.crm.main.connections.get(place.tenant_id, place.connection_id)
    versions = {secret.name: secret.version for secret in connection.secrets}
    assert versions == {"access_token": 1, "client_secret": 1, "refresh_token": 2, "webhook_secret": 1}


async def test_ended_token_is_renewed_once_for_fifty_calls_over_four_processes(place: Place) -> None:
    """All calls find the token refused at once, one of them renews it, and all of them succeed."""
    await place.connect(OAUTH)
    await place.account()
    place.hubspot.access_tokens.append("given-to-somebody-else-so-that-ours-is-refused")
    processes = [await place.another() for _ in range(4)]
    answers = await asyncio.gather(*(place.account(processes[number % 4]) for number in range(50)))
    assert answers == ["62515"] * 50
    assert len(place.server.calls("hubspot", "POST", "/oauth/v1/token")) == 2


async def test_token_about_to_end_is_renewed_before_it_is_used(place: Place) -> None:
    """Nobody waits for a refusal that is foreseeable."""
    await place.connect(OAUTH)
    await place.account()
    async with place.crm.databases[0].driver_tenant(place.tenant_id) as connection:
        await connection.execute(
            "UPDATE crm.connection_calls SET access_expires = now() + interval '30 seconds' WHERE tenant_id = $1",
            place.tenant_id,
        )
    await place.account()
    assert [call.path for call in place.server.asked].count("/oauth/v1/token") == 2
    assert len(place.server.asked) == 4


async def test_token_that_comes_after_another_was_let_in_is_not_stored(place: Place) -> None:
    """A process that was stopped while it renewed does not overwrite what the next one stored."""
    await place.connect(OAUTH)
    stale = Answered(200, {"access_token": "stale-access-token", "expires_in": 1800})
    late = await place.renews_slowly(stale)
    assert await place.account() == "62515"
    place.server.release()
    assert await late == "62515"
    account = await place.calling.account(place.tenant_id, place.connection_id)
    assert account.credentials["access_token"] == "hubspot-access-token-1"
    assert account.generation == 2


async def test_token_of_a_slow_process_is_stored_when_the_refresh_token_is_used_up(place: Place) -> None:
    """The next one gets nothing for the same refresh token; what the slow one brings is the only token there is."""
    await place.connect({**OAUTH, "refresh_token": "good-for-one-use"})
    place.hubspot.access_tokens.append("brought-late")
    once = {"access_token": "brought-late", "refresh_token": OAUTH["refresh_token"], "expires_in": 1800}
    late = await place.renews_slowly(Answered(200, once))
    with pytest.raises(CallError, match="RENEWAL_REFUSED"):
        await place.account()
    place.server.release()
    assert await late == "62515"
    assert await place.account() == "62515"
    account = await place.calling.account(place.tenant_id, place.connection_id)
    assert account.credentials == {**OAUTH, "access_token": "brought-late"}


async def test_renewal_that_takes_longer_than_its_lease_stays_the_only_one(place: Place) -> None:
    """A process that lives holds what it has begun, so that no refresh token is used twice."""
    await place.connect(OAUTH)
    place.hubspot.access_tokens.append("brought-late")
    answer = Answered(200, {"access_token": "brought-late", "expires_in": 1800})
    place.server.fail(Fault(lambda asked: asked.path == "/oauth/v1/token", answer=answer, held=True))
    slow, other = [await place.another(lease=timedelta(seconds=1)) for _ in range(2)]
    asked = asyncio.create_task(place.account(slow))
    await place.server.wait_until(lambda: bool(place.server.asked))
    first = (await place.health())["renewing_until"]
    waiting = asyncio.create_task(place.account(other))

    async def is_over() -> bool | None:
        async with place.crm.databases[0].driver_tenant(place.tenant_id) as connection:
            return await connection.fetchval("SELECT clock_timestamp() > $1", first) or None

    await eventually(is_over)
    assert (await place.health())["renewing_until"] > first
    place.server.release()
    assert [await asked, await waiting] == ["62515", "62515"]
    assert len(place.server.calls("hubspot", "POST", "/oauth/v1/token")) == 1


async def test_token_is_stored_although_that_fails_at_first(place: Place) -> None:
    """What was traded in is worth nothing any more: a database that is away for a moment costs no token."""
    await place.connect(OAUTH)
    owner = await asyncpg.connect(place.crm.database.owner_url)
    await owner.execute("""
        CREATE SEQUENCE crm.tries;
        GRANT USAGE ON crm.tries TO crm_app;
        CREATE FUNCTION crm.away_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('crm.tries') = 1 THEN RAISE 'away' USING ERRCODE = 'cannot_connect_now'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER away BEFORE INSERT ON crm.connection_secrets FOR EACH ROW EXECUTE FUNCTION crm.away_at_first();
    """)
    assert await place.account() == "62515"
    tries = await owner.fetchval("SELECT last_value FROM crm.tries")
    await owner.execute("DROP TRIGGER away ON crm.connection_secrets; DROP FUNCTION crm.away_at_first")
    await owner.execute("DROP SEQUENCE crm.tries")
    await owner.close()
    assert tries > 1
    assert len(place.server.calls("hubspot", "POST", "/oauth/v1/token")) == 1


async def test_token_renewed_for_replaced_credentials_is_not_stored(place: Place) -> None:
    """What a person enters while a renewal is under way stays; the renewal was for what is no longer there."""
    await place.connect({**OAUTH, "refresh_token": "old-refresh-token"})
    late = Answered(200, {"access_token": "for-the-old-refresh-token", "expires_in": 1800})
    place.server.fail(Fault(lambda asked: asked.path == "/oauth/v1/token", answer=late, held=True))
    asked = asyncio.create_task(place.account())
    await place.server.wait_until(lambda: bool(place.server.asked))
    await place.crm.main.connections.update(
        place.tenant_id,
        place.connection_id,
        wishes=Wishes("", {}, {"refresh_token": OAUTH["refresh_token"]}),
        paths=(),
        given_etag="",
    )
    place.server.release()
    assert await asked == "62515"
    account = await place.calling.account(place.tenant_id, place.connection_id)
    assert account.credentials == {**OAUTH, "access_token": "hubspot-access-token-1"}


async def test_refused_renewal_is_seen_in_the_health_and_not_asked_for_again_at_once(place: Place) -> None:
    """A person has to connect anew; until then the vendor is not asked by every call."""
    await place.connect({**OAUTH, "refresh_token": "revoked-refresh-token"})
    for _ in range(5):
        with pytest.raises(CallError, match="RENEWAL_REFUSED"):
            await place.account()
    assert len(place.server.asked) == 1
    health = await place.health()
    assert health["failure_reason"] == "RENEWAL_REFUSED"
    assert "revoked-refresh-token" not in str(dict(health))
    assert health["renewing_until"] is None


async def test_renewal_works_after_one_that_failed_by_chance(place: Place) -> None:
    """Who could not renew lets the next one try at once."""
    await place.connect(OAUTH)
    place.server.fail(broken())
    with pytest.raises(OutOfReachError, match="VENDOR_FAILING"):
        await place.account()
    assert await place.account() == "62515"


async def test_no_credential_of_a_call_is_logged(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever goes wrong, tokens stay out of the logs."""
    await place.connect(OAUTH)
    await place.account()
    place.server.fail(broken(times=4))
    with pytest.raises(OutOfReachError):
        await place.account()
    written = "".join(capfd.readouterr())
    for secret in ("hubspot-access-token-1", *OAUTH.values()):
        assert secret not in written
