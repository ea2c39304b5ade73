"""Streams: how soon they end when the credential that opened them loses its worth, and which ones stay."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from rapport.tenant.v1.token_service_pb2 import AccessToken

from servicekit.identity import TokenVerifier
from tests.servicekit.probe import OTHER_TENANT, REQUEST, TENANT, Refusal, running
from tests.support.tokens import Issuer

KEY = "01890000-0000-7000-8000-00000000000a"
WITHIN_SECONDS = 1.0


async def endless(_request: Any, _context: Any) -> AsyncIterator[AccessToken]:
    """Say one thing and then nothing more."""
    yield AccessToken(token="first")
    await asyncio.Event().wait()


async def chatty(_request: Any, _context: Any) -> AsyncIterator[AccessToken]:
    """Say the same thing again and again, so that there is mostly a message on its way."""
    while True:
        yield AccessToken(token="x" * 10_000)
        await asyncio.sleep(0)


async def ended(call: Any) -> Refusal:
    """Read a stream to its end, which must be a refusal."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return Refusal(error)
    raise AssertionError("the stream ended well")


def suspend(issuer: Issuer) -> None:
    """Refuse the tenant, as for a suspended and for a deleted one."""
    issuer.trust.refused_tenants = frozenset({TENANT})


def revoke(issuer: Issuer) -> None:
    """Revoke the key."""
    issuer.trust.revoked_keys = frozenset({KEY})


def withdraw(issuer: Issuer) -> None:
    """Withdraw the key that signed the token."""
    issuer.trust.keys = {}


def grow_old(issuer: Issuer) -> None:
    """Have nothing heard of the trust for too long."""
    issuer.trust.age = 31.0


REFUSED = (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@pytest.mark.parametrize("behaviour", [endless, chatty])
@pytest.mark.parametrize("name", ["Down", "Chat"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (suspend, REFUSED),
        (revoke, REFUSED),
        (withdraw, REFUSED),
        (grow_old, (grpc.StatusCode.UNAVAILABLE, "TRUST_STALE")),
    ],
)
async def test_a_stream_ends_within_a_second_of_its_credential(
    behaviour: Any, name: str, change: Callable[[Issuer], None], expected: tuple[grpc.StatusCode, str]
) -> None:
    """A silent stream and a busy one end with the refusal that a new call would get."""
    issuer = Issuer()
    token = issuer.token("probe.read", tenant_id=TENANT, key_id=KEY)
    async with running(behaviour, issuer=issuer) as probe:
        request: Any = iter([REQUEST]) if name == "Chat" else REQUEST
        call = probe.call(name, request, metadata=(("authorization", f"Bearer {token}"),))
        assert (await call.read()).token
        began = time.monotonic()
        change(issuer)
        refusal = await ended(call)
        assert time.monotonic() - began < WITHIN_SECONDS
    assert (refusal.code, refusal.reason) == expected


async def test_a_stream_of_another_tenant_goes_on() -> None:
    """One shop's suspension ends its own streams only."""
    issuer = Issuer()
    async with running(endless, issuer=issuer) as probe:
        mine = probe.call("Down")
        theirs = probe.call("Down", metadata=issuer.metadata("probe.read", tenant_id=OTHER_TENANT))
        assert (await mine.read()).token == (await theirs.read()).token == "first"
        suspend(issuer)
        assert (await ended(mine)).code is grpc.StatusCode.UNAUTHENTICATED
        # A second look at the streams has passed over it by the time that a new one has been ended.
        again = probe.call("Down", metadata=issuer.metadata("probe.read", tenant_id=OTHER_TENANT))
        assert (await again.read()).token == "first"
        assert not theirs.done()
        theirs.cancel()
        again.cancel()


async def test_a_stream_ends_with_its_token() -> None:
    """Work of one tenant lasts no longer than the token that opened it; the caller comes again with a new one."""
    issuer = Issuer()
    token = issuer.token("probe.read", tenant_id=TENANT, lifetime=2)
    async with running(endless, issuer=issuer) as probe:
        call = probe.call("Down", metadata=(("authorization", f"Bearer {token}"),))
        assert (await call.read()).token == "first"
        refusal = await ended(call)
    assert (refusal.code, refusal.reason) == REFUSED


def test_a_token_without_a_tenant_may_last() -> None:
    """Services follow one another's streams for as long as they run; what is refused of them ends at once."""
    issuer = Issuer()
    verifier = TokenVerifier(issuer.trust)
    yesterday = time.time() - 86_400
    of_service = replace(verifier.verify(issuer.token("trust.watch", subject="service:crm")), expires=yesterday)
    of_tenant = replace(verifier.verify(issuer.token("tickets.read", tenant_id=TENANT)), expires=yesterday)
    assert verifier.still_good(of_service)
    assert not verifier.still_good(of_tenant)
    withdraw(issuer)
    assert not verifier.still_good(of_service)


async def test_a_stream_that_its_caller_leaves_is_no_refusal() -> None:
    """A caller that goes away is a cancellation, also when the credential is bad by then."""
    issuer = Issuer()
    async with running(endless, issuer=issuer) as probe:
        call = probe.call("Down")
        assert (await call.read()).token == "first"
        suspend(issuer)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
