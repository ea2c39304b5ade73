"""Is it healthy? Asked of a service over gRPC, and of the whole suite through the gateway."""

import asyncio
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.channel import open_channel
from servicekit.peers import PeerTls

_ANSWER_SECONDS = 2.0


async def is_serving(address: str, name: str = "", tls: PeerTls | None = None) -> bool:
    """Tell whether the process at the address says that it is serving; with TLS it must prove that it is `name`."""
    async with open_channel(address, name, tls) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=_ANSWER_SECONDS
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def is_ready(https_url: str, ca_file: Path) -> bool:
    """Tell whether the gateway says that every service can be reached through it."""
    return await asyncio.to_thread(_is_ready, https_url, ca_file)


def _is_ready(https_url: str, ca_file: Path) -> bool:
    try:
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
        # Without the environment's proxies: the gateway is on this machine.
        opener = urllib.request.build_opener(trust, urllib.request.ProxyHandler({}))
        with opener.open(f"{https_url}/readyz", timeout=_ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's "OK"
    except (OSError, urllib.error.URLError):
        return False
