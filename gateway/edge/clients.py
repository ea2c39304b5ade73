"""What is asked of clients and believed of what stands between them and the gateway; plain values, quick to import."""

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

USUAL_PORT = 443
"""The port of HTTPS that need not be said."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take.

    For its TLS handshake, for a request's headers, for the whole of a request; and how long a stream or a connection
    stays open on which nothing happens.
    """

    handshake: timedelta = timedelta(seconds=10)
    headers: timedelta = timedelta(seconds=10)
    request: timedelta = timedelta(seconds=60)
    idle: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Who stands in front of the gateway.

    `hops` is the number of proxies that each add the address of who asked them, `networks` are those from which the
    last of them connects; none means from anywhere but this machine. `name_host` says that they set `x-forwarded-host`
    themselves, whatever the client sent.
    """

    hops: int
    networks: tuple[Network, ...] = ()
    name_host: bool = False
