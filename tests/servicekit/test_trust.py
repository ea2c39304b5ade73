"""The identity of a service itself, and the trust it follows, against a token service written by hand."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import jwt
import pytest
from rapport.tenant.v1 import token_service_pb2 as pb
from rapport.tenant.v1 import token_service_pb2_grpc as pb_grpc

from servicekit.channel import open_channel
from servicekit.errors import CredentialInvalidError
from servicekit.identity import TokenVerifier, TrustWatcher, Workload
from servicekit.ids import uuid7
from servicekit.server import Registration, RunningServer, start_server
from tests.servicekit.probe import TENANT
from tests.servicekit.waiting import until
from tests.support.tokens import Issuer


class HandWrittenTokens(pb_grpc.TokenServiceServicer):
    """Exchanges any workload secret "good", and streams the trust set that a test puts in."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.exchanges = 0
        self.lifetime = 120
        self.refused: list[UUID] = []
        self.restored: list[UUID] = []
        self.revoked: list[str] = []
        self.restored_keys: list[str] = []
        self.partial = False
        self.changed = asyncio.Event()

    async def ExchangeWorkload(  # noqa: N802 - the contract's name
        self, request: pb.ExchangeWorkloadRequest, _context: Any
    ) -> pb.AccessToken:
        """Count and sign."""
        self.exchanges += 1
        await asyncio.sleep(0)
        if request.secret != "good":
            raise CredentialInvalidError("no")
        tenant_id = UUID(request.tenant_id) if request.tenant_id else None
        answer = pb.AccessToken(
            token=self.issuer.token(
                "trust.watch",
                tenant_id=tenant_id,
                subject=f"service:{request.service}",
                key_id=str(self.exchanges),
                lifetime=self.lifetime,
            )
        )
        answer.expire_time.FromSeconds(int(time.time()) + self.lifetime)
        return answer

    async def WatchTrust(  # noqa: N802 - the contract's name
        self, _request: pb.WatchTrustRequest, _context: Any
    ) -> AsyncIterator[pb.TrustSet]:
        """Say the set, and say it again at each change."""
        while True:
            self.changed.clear()
            key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.issuer.key.public_key()))
            jwks = json.dumps({"keys": [key | {"kid": self.issuer.kid, "alg": "ES256", "use": "sig"}]})
            yield pb.TrustSet(
                jwks_json=jwks,
                refused_tenant_ids=[str(tenant) for tenant in self.refused],
                revoked_key_ids=self.revoked,
                partial=self.partial,
                restored_tenant_ids=[str(tenant) for tenant in self.restored],
                restored_key_ids=self.restored_keys,
            )
            await self.changed.wait()


@asynccontextmanager
async def token_service(listen: str = "127.0.0.1:0") -> AsyncIterator[tuple[HandWrittenTokens, RunningServer]]:
    """Run the hand-written token service."""
    tokens = HandWrittenTokens(Issuer())  # type: ignore[abstract]  # answers what these tests ask
    registration = Registration(pb_grpc.add_TokenServiceServicer_to_server, tokens)
    server = await start_server([registration], trust=tokens.issuer.trust, listen=listen)
    yield tokens, server
    await server.stop()


async def test_many_callers_at_once_cause_one_exchange_per_tenant() -> None:
    """Tokens are kept per tenant, and a crowd that needs one waits for the same exchange."""
    async with token_service() as (tokens, server), open_channel(f"ipv4:{server.address}") as channel:
        workload = Workload("tickets", "good", channel)
        unbound = await asyncio.gather(*(workload.metadata() for _ in range(20)))
        bound = await asyncio.gather(*(workload.metadata(TENANT) for _ in range(20)))
        assert tokens.exchanges == 2
        assert len(set(unbound)) == len(set(bound)) == 1
        verifier = TokenVerifier(tokens.issuer.trust)
        assert verifier.verify(bound[0][0][1].removeprefix("Bearer ")).tenant_id == TENANT
        assert verifier.verify(unbound[0][0][1].removeprefix("Bearer ")).subject == "service:tickets"


async def test_a_token_is_renewed_before_it_ends() -> None:
    """A token that would end within its last quarter is exchanged anew."""
    async with token_service() as (tokens, server), open_channel(f"ipv4:{server.address}") as channel:
        tokens.lifetime = 0
        workload = Workload("tickets", "good", channel)
        first = await workload.token()
        assert await workload.token() != first


async def test_a_failed_exchange_is_told_to_everyone_and_tried_anew() -> None:
    """A refusal reaches each waiting caller; nobody is stuck with it."""
    async with token_service() as (tokens, server), open_channel(f"ipv4:{server.address}") as channel:
        workload = Workload("tickets", "bad", channel)
        outcomes = await asyncio.gather(*(workload.token() for _ in range(3)), return_exceptions=True)
        assert [isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes] == [True] * 3
        with pytest.raises(grpc.aio.AioRpcError):
            await workload.token()
        assert tokens.exchanges == 2


async def test_the_watcher_learns_keys_and_refusals_as_they_change() -> None:
    """A suspension reaches a service by the stream, well within a second."""
    async with token_service() as (tokens, server), open_channel(f"ipv4:{server.address}") as channel:
        watcher = TrustWatcher(Workload("tickets", "good", channel), channel)
        assert not watcher.ready()
        await watcher.start()
        await until(watcher.ready)
        verifier = TokenVerifier(watcher)
        token = tokens.issuer.token("a", tenant_id=TENANT)
        assert verifier.verify(token).tenant_id == TENANT
        tokens.refused = [TENANT]
        tokens.changed.set()
        await until(lambda: TENANT in watcher.refused_tenants, 1)
        with pytest.raises(CredentialInvalidError):
            verifier.verify(token)
        await watcher.stop()


async def test_the_watcher_changes_its_set_by_what_is_added_and_taken_out() -> None:
    """A partial message leaves alone what it does not name; after a reconnection the set is whole again."""
    async with token_service() as (tokens, server), open_channel(f"ipv4:{server.address}") as channel:
        other, third = uuid7(), uuid7()
        tokens.refused, tokens.revoked = [TENANT, other], ["a", "b"]
        watcher = TrustWatcher(Workload("tickets", "good", channel), channel)
        await watcher.start()
        await until(lambda: watcher.refused_tenants == {TENANT, other})
        tokens.partial = True
        tokens.refused, tokens.restored = [third], [other]
        tokens.revoked, tokens.restored_keys = ["c"], ["a"]
        tokens.changed.set()
        await until(lambda: watcher.refused_tenants == {TENANT, third})
        assert watcher.revoked_keys == {"b", "c"}
        tokens.refused, tokens.restored, tokens.revoked, tokens.restored_keys = [], [], [], []
        told = time.monotonic()
        tokens.changed.set()
        await until(lambda: watcher.age < time.monotonic() - told)
        assert watcher.refused_tenants == {TENANT, third}
        await watcher.stop()


async def test_the_watcher_comes_back_by_itself_after_the_tenant_service_restarts() -> None:
    """After a restart with new keys the watcher follows the new stream."""
    async with token_service() as (_, server), open_channel(f"ipv4:{server.address}") as channel:
        watcher = TrustWatcher(Workload("tickets", "good", channel), channel)
        await watcher.start()
        await until(watcher.ready)
        await server.stop()
        async with token_service(server.address) as (restarted, _):
            restarted.issuer.kid = "next-key"
            restarted.issuer.trust.keys = {"next-key": restarted.issuer.key.public_key()}
            await until(lambda: "next-key" in watcher.keys)
            await watcher.stop()
