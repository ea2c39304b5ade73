"""Channels to other parts of the suite: spread over all their processes; with our size limits."""

import grpc

_OPTIONS = (
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
)


def open_channel(target: str) -> grpc.aio.Channel:
    """Return a channel to `target` ("ipv4:127.0.0.1:7001,127.0.0.1:7002"); nothing connects before the first call."""
    return grpc.aio.insecure_channel(target, options=_OPTIONS)
