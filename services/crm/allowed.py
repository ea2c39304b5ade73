"""From where a connection's webhooks may come: an allow-list of networks, for vendors that publish theirs."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

SETTING = "allowed_addresses"
"""The setting of any connection that holds the list."""

MOST_NETWORKS = 64
"""How many networks a list may name."""


@lru_cache(maxsize=1024)
def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the networks of a list like `203.0.113.7, 198.51.100.0/24, 2001:db8::/32`.

    Raises:
        ValueError: an entry is no network, has bits behind its prefix, or there are none or too many.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if len(entries) > MOST_NETWORKS:
        raise ValueError(f"more than {MOST_NETWORKS} networks")
    return tuple(ip_network(entry) for entry in entries)


def allows(text: str, client: str | None) -> bool:
    """Return whether a client may send webhooks; an empty list allows all, any other nobody who is not known.

    `client` is the address as the gateway says it, None where it says none. A list that cannot be read allows nobody.
    """
    if not text:
        return True
    try:
        allowed, address = networks(text), ip_address(client or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in allowed)
