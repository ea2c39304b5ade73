"""Where a call may go: to the one origin of its connection, whose host lies below the provider's own domains."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from services.crm.calling.failures import CallError
from services.crm.providers.api import Call

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"({_LABEL}\.)+{_LABEL}", re.ASCII)
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)
_CALL_PATH = re.compile(r"/[!-~]*", re.ASCII)
_LONGEST_HOST = 253


@dataclass(frozen=True, slots=True)
class Origin:
    """A connection's API: `site` is scheme and host, `path` what comes before every call's path.

    `documented` is the vendor's own site; it differs from `site` only where a process calls something in its place.
    """

    site: str
    path: str
    documented: str

    @property
    def host(self) -> str:
        """The vendor's host."""
        return urlsplit(self.documented).hostname or ""

    def address(self, call: Call) -> str:
        """Return the whole address of a call, without its query.

        Raises:
            CallError: the call's own address is at another origin, or is none.
        """
        if not call.url:
            if not _CALL_PATH.fullmatch(call.path) or "?" in call.path or "#" in call.path or ".." in call.path:
                raise CallError("ADDRESS_INVALID", "the call has no proper path")
            return f"{self.site}{self.path}{call.path}"
        for site in (self.site, self.documented):
            rest = call.url.removeprefix(site)
            if rest != call.url and rest[:1] in {"/", "?"} and _CALL_PATH.fullmatch(f"/{rest}"):
                return f"{self.site}{rest}"
        raise CallError("ADDRESS_INVALID", "the provider named a next page at another origin")


def checked_origin(text: str, apexes: Iterable[str], *, instead: str = "") -> Origin:
    """Return the origin that a provider module made of a connection's settings.

    `instead` is the site (with a path or without) that this process calls in place of the vendor's; empty for none.

    Raises:
        CallError: the address is not an https one below the provider's domains (`HOST_NOT_ALLOWED`).
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise CallError("HOST_NOT_ALLOWED", "the address is malformed") from error
    host = parts.netloc.removesuffix(":443") if port is not None else parts.netloc
    if not _is_proper(parts, host):
        raise CallError("HOST_NOT_ALLOWED", "the address is not a plain https one")
    if not any(host == apex or host.endswith(f".{apex}") for apex in apexes):
        raise CallError("HOST_NOT_ALLOWED", f"{host} is not a host of this provider")
    site = f"https://{host}"
    return Origin(instead.rstrip("/") or site, parts.path.rstrip("/"), site)


def _is_proper(parts: SplitResult, host: str) -> bool:
    return (
        parts.scheme == "https"
        and len(host) <= _LONGEST_HOST
        and _HOST.fullmatch(host) is not None
        and not parts.query
        and not parts.fragment
        and _PATH.fullmatch(parts.path.rstrip("/")) is not None
        and ".." not in parts.path
    )
