"""Addresses as settings name them, `host:port` or `unix:/path`, and host names resolved to what Envoy can take."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

CONTROL_PLANE = "control_plane"
"""Envoy's name for the control plane, in its bootstrap."""


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """A host (a name or an address) and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "HostPort":
        """Parse `host:port`; an IPv6 address stands in brackets.

        Raises:
            ValueError: the text has another form.
        """
        host, separator, port = text.strip().rpartition(":")
        if not separator or not host or not port.isdecimal():
            raise ValueError(f"{text!r} is not of the form host:port")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Endpoints: TypeAlias = Mapping[str, tuple[HostPort, ...]]
"""The addresses of each service."""


async def resolve(services: Mapping[str, Sequence[HostPort]], known: Endpoints) -> Endpoints:
    """Return the services with every host name replaced by its addresses.

    A service of which a name does not resolve keeps its `known` addresses, none when there are none.
    """
    resolved = await asyncio.gather(*(_resolve_all(addresses) for addresses in services.values()))
    return {
        service: addresses if addresses is not None else tuple(known.get(service, ()))
        for service, addresses in zip(services, resolved, strict=True)
    }


async def _resolve_all(addresses: Sequence[HostPort]) -> tuple[HostPort, ...] | None:
    try:
        found = await asyncio.gather(*(_resolve(address) for address in addresses))
    except OSError:
        return None
    return tuple(sorted({one for some in found for one in some}))


async def _resolve(address: HostPort) -> list[HostPort]:
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        families = {info[0] for info in infos}
        # A service listens on one address of a name that has both; IPv4 is what containers and localhost serve.
        wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        return [HostPort(str(info[4][0]), address.port) for info in infos if info[0] == wanted]
    return [address]
