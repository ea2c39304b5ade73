"""Which addresses may be connected to: only public ones, whatever a name resolves to.

The name is resolved here and the connection goes to the very address that was judged, so that a name server cannot
answer the judge one thing and the connection another. The name itself stays what the certificate is checked against.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore

from services.crm.calling.failures import CallError, OutOfReachError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host's name."""

_NAT64 = ip_network("64:ff9b::/96")

# What Python takes for global, and nobody on the public internet has.
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # the anycast of 6to4 relays, long given up
            "::/96",  # IPv4 in the last 32 bits, given up
            "::ffff:0:0:0/96",  # IPv4 translated statelessly, inside a network only
            "64:ff9b:1::/48",  # a network's own NAT64
            "5f00::/16",  # segment routing, inside a network only
            "fec0::/10",  # site-local, given up
        ),
    )
)


async def resolved(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of a name as the system resolves it.

    Raises:
        OSError: there are none, or no name server answers.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(text: str) -> bool:
    """Return whether an IP address is one of the public internet, also where it wraps an IPv4 address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = _wrapped(address)
    return all(map(_is_global, (address, *inner)))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    """Return whether one address, taken by itself, belongs to the public internet."""
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_unspecified
        and not any(address in network for network in _NOT_PUBLIC)
        # All NAT64 addresses are reserved; what counts there is the address within.
        and (not address.is_reserved or address in _NAT64)
    )


def _wrapped(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses to which packets for an IPv6 address may go in the end."""
    if isinstance(address, IPv4Address):
        return ()
    wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        wrapped.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(each for each in wrapped if each is not None)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only; `exempt` are the hosts and ports that an operator put in a vendor's place."""

    def __init__(
        self,
        *,
        exempt: Iterable[tuple[str, int]] = (),
        resolve: Resolve = resolved,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._exempt = frozenset(exempt)
        self._resolve = resolve
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the name's addresses that answers, if all of them are public.

        Raises:
            CallError: an address is not public (`ADDRESS_NOT_PUBLIC`).
            OutOfReachError: the name has no address now (`HOST_UNKNOWN`).
            httpcore.ConnectError, httpcore.ConnectTimeout: no address answers.
        """
        addresses = [host] if (host, port) in self._exempt else await self._judged(host, port)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def _judged(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise OutOfReachError("HOST_UNKNOWN", f"{host} has no address") from error
        if not addresses:
            raise OutOfReachError("HOST_UNKNOWN", f"{host} has no address")
        if not all(is_public(address) for address in addresses):
            raise CallError("ADDRESS_NOT_PUBLIC", f"{host} leads to an address that is not public")
        return addresses
