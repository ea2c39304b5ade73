"""The ADS method over a real gRPC connection, with a client that is not Envoy."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from gateway.ads.cache import SnapshotCache
from gateway.ads.resources import CLUSTER
from gateway.ads.server import SERVICE, handlers, register
from gateway.ads.snapshot import Snapshot
from tests.gateway.resources import cluster
from tests.support.waiting import eventually

Stream = grpc.aio.StreamStreamCall[DiscoveryRequest, DiscoveryResponse]
DeltaStream = grpc.aio.StreamStreamCall[DeltaDiscoveryRequest, DeltaDiscoveryResponse]
NODE = Node(id="client")


def _serialised(request: Any) -> bytes:
    return bytes(request)


@dataclass
class Ads:
    """A served cache and a channel to it."""

    cache: SnapshotCache
    channel: grpc.aio.Channel

    def stream(self) -> Stream:
        """Open a stream."""
        method: Stream = self.channel.stream_stream(
            f"/{SERVICE}/StreamAggregatedResources",
            request_serializer=_serialised,
            response_deserializer=DiscoveryResponse.parse,
        )()
        return method

    def delta_stream(self) -> DeltaStream:
        """Open a stream of the delta variant."""
        method: DeltaStream = self.channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources",
            request_serializer=_serialised,
            response_deserializer=DeltaDiscoveryResponse.parse,
        )()
        return method


@pytest.fixture
async def ads() -> AsyncIterator[Ads]:
    """A running ADS server."""
    server, cache = grpc.aio.server(), SnapshotCache()
    register(server, cache)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Ads(cache, channel)
    await server.stop(grace=0)


async def test_a_watch_is_answered_as_soon_as_there_is_a_snapshot(ads: Ads) -> None:
    """It may come first; the ACK is noted for the node."""
    stream = ads.stream()
    await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER))

    async def connected() -> bool:
        return "client" in ads.cache.nodes

    await eventually(connected)
    snapshot = Snapshot.of(cluster("a"))
    ads.cache.publish(snapshot)
    response = await stream.read()
    assert isinstance(response, DiscoveryResponse)
    assert response.version_info == snapshot.versions[CLUSTER]
    await stream.write(DiscoveryRequest(type_url=CLUSTER, response_nonce=response.nonce))

    async def acknowledged() -> bool:
        known = ads.cache.nodes["client"].types.get(CLUSTER)
        return known is not None and known.accepted == response.version_info

    await eventually(acknowledged)
    stream.cancel()


async def test_a_client_that_goes_is_no_longer_counted(ads: Ads) -> None:
    """Its state is kept for whoever asks; nobody waits for it."""
    stream = ads.stream()
    await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER))

    async def open_streams() -> int:
        return ads.cache.nodes["client"].streams if "client" in ads.cache.nodes else 0

    await eventually(open_streams)
    stream.cancel()

    async def gone() -> bool:
        return await open_streams() == 0

    await eventually(gone)


@pytest.mark.parametrize(
    "request_", [DiscoveryRequest(type_url=CLUSTER), DiscoveryRequest(node=NODE)], ids=["no node", "no type"]
)
async def test_a_breach_of_the_protocol_ends_the_stream(ads: Ads, request_: DiscoveryRequest) -> None:
    """With INVALID_ARGUMENT and the reason."""
    stream = ads.stream()
    await stream.write(request_)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stream.read()
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_of_the_delta_variant_is_sent_each_change(ads: Ads) -> None:
    """With the resource's own version; the variant is noted for the node."""
    stream = ads.delta_stream()
    await stream.write(DeltaDiscoveryRequest(node=NODE, type_url=CLUSTER))
    first, second = Snapshot.of(cluster("a")), Snapshot.of([*cluster("a"), *cluster("b")])
    for snapshot, name in ((first, "a"), (second, "b")):
        ads.cache.publish(snapshot)
        response = await stream.read()
        assert isinstance(response, DeltaDiscoveryResponse)
        assert [one.name for one in response.resources] == [name]
        await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=response.nonce))
    assert ads.cache.nodes["client"].variant == "delta"
    stream.cancel()


async def test_who_is_not_admitted_gets_nothing() -> None:
    """Neither variant; the connection itself decides."""
    server, cache = grpc.aio.server(), SnapshotCache()
    server.add_generic_rpc_handlers((handlers(cache, lambda _: False),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    cache.publish(Snapshot.of(cluster("a")))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ads = Ads(cache, channel)
        for stream in (ads.stream(), ads.delta_stream()):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await stream.read()
            assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert cache.nodes == {}
    await server.stop(grace=0)


async def test_many_clients_are_served_at_once(ads: Ads) -> None:
    """Each has its own nonces."""
    ads.cache.publish(Snapshot.of(cluster("a")))

    async def one(number: int) -> str:
        stream = ads.stream()
        await stream.write(DiscoveryRequest(node=Node(id=str(number)), type_url=CLUSTER))
        response = await stream.read()
        stream.cancel()
        assert isinstance(response, DiscoveryResponse)
        return response.nonce

    assert set(await asyncio.gather(*(one(number) for number in range(20)))) == {"1"}
