"""Channels to other parts of the suite: spread over all their processes; with our size limits.

With TLS a channel lives as long as the process although certificates live for days: gRPC takes a certificate when it
opens a channel and keeps it, so a renewed one means a new channel underneath. Calls that have begun end on the old one.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
import orjson

from servicekit.peers import Held, PeerTls
from servicekit.traced_calls import interceptors

# Calls that only read, or that may be made twice, and that somebody waits for: of two processes one may die under them.
_REPEATED = (
    {"service": "rapport.tickets.v1.ConversationService"},
    {"service": "rapport.tickets.v1.TicketService", "method": "GetTicket"},
    {"service": "rapport.tickets.v1.TicketService", "method": "ListTickets"},
    {"service": "rapport.tenant.v1.TokenService", "method": "ExchangeWorkload"},
)
_REPETITION = {
    "maxAttempts": 4,
    "initialBackoff": "0.02s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_SERVICE_CONFIG = {"methodConfig": [{"name": list(_REPEATED), "retryPolicy": _REPETITION}]}

_OPTIONS = (
    ("grpc.service_config", orjson.dumps(_SERVICE_CONFIG).decode()),
    # Names come from the settings; a name server must not say how calls are made.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Processes of one machine that talk to the same address must not share what they believe of it.
    ("grpc.use_local_subchannel_pool", 1),
    # The environment's proxies lead out of the suite.
    ("grpc.enable_http_proxy", 0),
)

_LAST_CALLS_SECONDS = 7200.0
"""How long calls may go on over an old channel. A server ends connections of this age long before."""


def open_channel(target: str, service: str = "", tls: PeerTls | None = None) -> grpc.aio.Channel:
    """Return a channel to `target` ("ipv4:127.0.0.1:7001,127.0.0.1:7002"); nothing connects before the first call.

    With TLS, whoever answers there must prove that it is `service` ("tenant"); without, nothing is proven.
    """
    if tls is not None:
        return _RenewedChannel(target, service, tls)
    return grpc.aio.insecure_channel(target, options=_OPTIONS, interceptors=interceptors())


class _RenewedChannel(grpc.aio.Channel):
    """A channel that shows and believes what the files hold when a call begins."""

    def __init__(self, target: str, service: str, tls: PeerTls) -> None:
        self._target = target
        # The certificate is for the service's name, wherever it runs; the same for all addresses of the target.
        self._options = (*_OPTIONS, ("grpc.ssl_target_name_override", service))
        self._tls = tls
        self._held = tls.held()
        self._open = self._connect(self._held)
        self._leaving: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    def now(self) -> grpc.aio.Channel:
        """Return the channel for a call that begins now."""
        held = self._tls.held()
        if held is not self._held:
            leaving = asyncio.create_task(self._open.close(grace=_LAST_CALLS_SECONDS), name="old_channel")
            self._leaving[leaving] = self._open
            leaving.add_done_callback(self._leaving.pop)
            self._held, self._open = held, self._connect(held)
        return self._open

    def _connect(self, held: Held) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(held.authorities, held.key, held.certificate)
        return grpc.aio.secure_channel(self._target, credentials, options=self._options, interceptors=interceptors())

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return what calls such a method."""
        return _always_new(self, lambda channel: channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return what calls such a method."""
        return _always_new(self, lambda channel: channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return what calls such a method."""
        return _always_new(self, lambda channel: channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return what calls such a method."""
        return _always_new(self, lambda channel: channel.stream_stream(*arguments, **options))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel for calls that begin now."""
        return self.now().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until that state is another."""
        await self.now().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until a call could be made."""
        await self.now().channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel and what is left of older ones; calls have `grace` seconds to end."""
        for leaving, old in tuple(self._leaving.items()):
            leaving.cancel()
            await old.close(grace)
        await self._open.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _always_new(channel: _RenewedChannel, bind: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
    """Return a function that makes its call over the channel of the moment."""
    bound_to = channel.now()
    bound = bind(bound_to)

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal bound_to, bound
        if (now := channel.now()) is not bound_to:
            bound_to, bound = now, bind(now)
        return bound(*arguments, **options)

    return call
