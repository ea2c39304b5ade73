"""What a call's metadata may be believed: some of it only the gateway may say.

The gateway drops these headers from outside and sets its own, so they are true on its connection. With mutual TLS the
connection proves whose it is, and from anybody else they are taken out before anything looks at them. None of them can
widen what a caller may do when it is missing: without a host nothing is narrowed, which the same caller could have had
by not naming one, and without an original path the path is the one of the method itself.

Without TLS no connection proves anything, and the headers are believed from everybody who reaches the port. That is why
such a port listens on this machine only, or in a network that something else guards (`TRUST_NETWORK`).
"""

from typing import Any

import grpc

from servicekit.authority import identity_uri

CLIENT_HEADER = "x-rapport-client"
"""The key under which the gateway says the address of the client, behind the proxies that are trusted."""

ONLY_THE_GATEWAY = frozenset({"x-envoy-original-path", "x-envoy-original-method", "x-rapport-host", CLIENT_HEADER})
"""The keys of metadata that nobody else may set."""

_GATEWAY = identity_uri("gateway").encode()

Metadata = tuple[tuple[str, str | bytes], ...]


def believed_metadata(context: "grpc.aio.ServicerContext[Any, Any]") -> Metadata:
    """Return a call's metadata without what its caller has no right to say; use it wherever metadata is read."""
    given: Metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
    if ONLY_THE_GATEWAY.isdisjoint(key for key, _ in given) or may_be_the_gateway(context):
        return given
    return tuple((key, value) for key, value in given if key not in ONLY_THE_GATEWAY)


def may_be_the_gateway(context: "grpc.aio.ServicerContext[Any, Any]") -> bool:
    """Tell whether the connection is the gateway's, or one that proves nothing."""
    proven = context.auth_context()
    # gRPC names the lack of TLS as well.
    in_clear = list(proven.get("transport_security_type", ())) in ([], [b"insecure"])
    return in_clear or list(proven.get("peer_spiffe_id", ())) == [_GATEWAY]
