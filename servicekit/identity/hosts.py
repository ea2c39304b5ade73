"""What a request's host and a page's origin say: which ones name no tenant, and which ones a token is good on."""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import ip_address

from servicekit.identity.decision import Host
from servicekit.identity.principal import Principal

HOST_HEADER = "x-rapport-host"
"""The header in which the gateway says the host that the client called; what a client says in it never comes in."""

EXCHANGED_HEADER = "x-rapport-token"
"""Where the gateway puts the token that it exchanged a key for; whoever brings a token says "authorization"."""

BASE_DOMAIN = "localhost"
"""The base domain where none is set."""

_PORT = re.compile(r":\d*\Z")


def hostname(authority: str) -> str:
    """Return the name or address that an authority (`host[:port]`) names: lower case, no port, no dot at its end."""
    name = _PORT.sub("", authority.strip().lower())
    if name.startswith("["):
        return name.removeprefix("[").removesuffix("]")
    return name.removesuffix(".")


class HostRules:
    """Judges hosts.

    `<slug>.<base domain>` is a tenant's subdomain; the base domain itself, neutral hosts and addresses name no tenant;
    every other host is some tenant's own domain.
    """

    def __init__(self, base_domain: str = BASE_DOMAIN, neutral: Iterable[str] = ()) -> None:
        self.base_domain = hostname(base_domain)
        self.neutral = frozenset({self.base_domain, *map(hostname, neutral)})

    def judge(self, authority: str | None, slug: str, hosts: Collection[str]) -> Host:
        """Return what the host says of the tenant with this slug and these own domains.

        No authority at all is a call inside the suite; an empty slug is a credential without tenant.
        """
        if authority is None or self.is_neutral(authority):
            return Host.AGREES
        name = hostname(authority)
        label = name.removesuffix(f".{self.base_domain}")
        good = label == slug if label != name else name in hosts
        return Host.AGREES if good and slug else Host.DISAGREES

    def is_neutral(self, authority: str) -> bool:
        """Tell whether the host names no tenant."""
        name = hostname(authority)
        return name in self.neutral or _is_address(name)

    def is_ours(self, authority: str) -> bool:
        """Tell whether the host is the suite's own: neutral, or a subdomain of the base domain."""
        return self.is_neutral(authority) or hostname(authority).endswith(f".{self.base_domain}")


def origin_allowed(origin: str | None, principal: Principal) -> bool:
    """Tell whether a page of this origin may use the principal's token; `origin` None means that no page asks."""
    if origin is None or principal.origins is None:
        return not principal.browser
    return any(_origin_pattern(pattern).fullmatch(origin.lower()) for pattern in principal.origins)


@lru_cache(maxsize=4096)
def _origin_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern, in which `*` stands for one label of the host or for the port."""
    return re.compile("[a-z0-9-]+".join(re.escape(part) for part in pattern.lower().split("*")))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
