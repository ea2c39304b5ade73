"""The predecessor beside Rapport: where it is, and which shops' requests it still answers (kept in a file).

Only requests of the frontend's contract (`/api/…`) that carry a credential of one of the named shops may go there; they
are judged by Rapport first. All others are Rapport's.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from gateway.addresses import HostPort
from gateway.shifts import WHOLE
from servicekit.certificates import write
from servicekit.errors import InvalidArgumentError, NotFoundError

log = structlog.get_logger(__name__)

KEY_VARIABLE = "RAPPORT_GATEWAY_PREDECESSOR_KEY"
"""The variable of Envoy's environment that holds the predecessor's key; its configuration only names it."""

MAX_ERROR_PERCENT = 0.5
"""The rate of failures beyond which everything goes back, unless somebody says another one."""
WINDOW_SECONDS = 300
"""Over how many seconds it is taken."""

_PORTS = {"http": 80, "https": 443}


class PredecessorNotFoundError(NotFoundError):
    """The gateway was told of no predecessor."""


class CutoverTenantsRequiredError(InvalidArgumentError):
    """There is no cut-over yet, so the shops that take part must be named."""


class Unit(StrEnum):
    """What stays together on one side: a whole shop, or the requests of one client address in a shop."""

    SHOP = "shop"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """Where the predecessor answers; `authorities` is the file of the authorities (PEM) that prove it by TLS, if any.

    `has_key` says that Envoy's environment holds a key of the predecessor.
    """

    at: HostPort
    host: str
    authorities: Path | None = None
    has_key: bool = False

    @classmethod
    def parse(cls, url: str, authorities: Path, *, has_key: bool) -> "Predecessor":
        """Return the predecessor at `http(s)://host[:port]`.

        Raises:
            ValueError: the text is no such address.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"{url!r} is not of the form http(s)://host:port")
        at = HostPort(parts.hostname, parts.port or _PORTS[parts.scheme])
        return cls(at, parts.netloc, authorities if parts.scheme == "https" else None, has_key)


@dataclass(frozen=True, slots=True)
class Cutover:
    """How much of the named shops' requests Rapport answers, and when everything goes back by itself.

    Attributes:
        percent: Rapport's share; the rest goes to the predecessor.
        tenants: ids of the shops, in the order in which whole shops move.
        unit: what stays together on one side.
        max_error_percent: the rate of failures (5xx) on Rapport's side beyond which everything goes back.
        window_seconds: over how many seconds that rate is taken.
        shifted: when the share was set (UTC, ISO 8601).
        returned: why everything went back by itself; empty when it did not.
    """

    percent: int
    tenants: tuple[str, ...]
    unit: Unit = Unit.SHOP
    max_error_percent: float = MAX_ERROR_PERCENT
    window_seconds: int = WINDOW_SECONDS
    shifted: str = ""
    returned: str = ""

    def places(self) -> dict[str, int]:
        """Return by shop the share (0 to 99) beyond which the whole shop is answered by Rapport."""
        return {tenant: at * WHOLE // len(self.tenants) for at, tenant in enumerate(self.tenants)}

    def back(self, why: str) -> "Cutover":
        """Return the cut-over after everything went back by itself."""
        return replace(self, percent=0, returned=why, shifted=now())


def now() -> str:
    """Return the time as it is kept."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_tenants(tenants: Sequence[str], before: Cutover | None) -> tuple[str, ...]:
    """Return the shops that take part: those of the request, or those of before when it names none.

    Raises:
        CutoverTenantsRequiredError: there are none.
    """
    chosen = tuple(dict.fromkeys(tenants)) or (before.tenants if before else ())
    if not chosen:
        raise CutoverTenantsRequiredError("Name the shops whose requests the predecessor answered so far.")
    return chosen


class CutoverFile:
    """The cut-over, read once and written whenever it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Cutover | None:
        """Return the cut-over, None when there is none.

        A file that cannot be read counts as none, which leaves everything to Rapport, and is said so in the log. Fields
        that this version does not know are left out, so that a newer version's file still says who answers.
        """
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            known = {one.name: kept[one.name] for one in fields(Cutover) if one.name in kept}
            return Cutover(**{**known, "tenants": tuple(kept["tenants"]), "unit": Unit(kept["unit"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("cutover_unreadable", error=type(error).__name__)  # noqa: TRY400 - the file holds nothing to see
            return None

    def write(self, cutover: Cutover | None) -> None:
        """Replace the file, so that it is whole at every moment.

        Raises:
            OSError: it cannot be written.
        """
        if cutover is None:
            self._path.unlink(missing_ok=True)
        else:
            write(self._path, json.dumps(asdict(cutover)).encode())
