"""How much of a service's traffic goes to another version of it, kept in a file over restarts.

The setting `RAPPORT_GATEWAY_SERVICES` names a version as `<service>@<version>` beside the service itself, its base.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from servicekit.certificates import write
from servicekit.errors import InvalidArgumentError, NotFoundError

log = structlog.get_logger(__name__)

WHOLE = 100


class ServiceVersionNotFoundError(NotFoundError):
    """The gateway knows no such version of the service."""


class ServiceVersionRequiredError(InvalidArgumentError):
    """The service has several versions beside its base, so one must be named."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A version of a service, and its share of the requests in percent (0 to 100); the rest goes to the base."""

    service: str
    version: str
    percent: int

    @property
    def name(self) -> str:
        """The name of the version's cluster."""
        return f"{self.service}@{self.version}"

    def shares(self) -> dict[str, int]:
        """Return who gets how much, by the names of clusters; who gets nothing is left out."""
        shares = {self.service: WHOLE - self.percent, self.name: self.percent}
        return {name: share for name, share in shares.items() if share}


def base(name: str) -> str:
    """Return the service of which this is a version."""
    return name.partition("@")[0]


def versions(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the versions of each service that has any beside its base, in their order."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        service, mark, version = name.partition("@")
        if mark:
            found.setdefault(service, []).append(version)
    return found


def choose(names: Iterable[str], service: str, version: str, percent: int) -> Shift:
    """Return the shift that a request means.

    Raises:
        ServiceVersionNotFoundError: there is no such version.
        ServiceVersionRequiredError: it may be one of several.
    """
    known = versions(names).get(service, [])
    if not version and len(known) > 1:
        raise ServiceVersionRequiredError(
            f"Name one of the versions of {service}: {', '.join(known)}.", metadata={"service": service}
        )
    chosen = version or (known[0] if known else "")
    if chosen not in known:
        what = f"version {version}" if version else "other version"
        raise ServiceVersionNotFoundError(
            f"The gateway knows no {what} of {service}.", metadata={"service": service, "version": version}
        )
    return Shift(service, chosen, percent)


class ShiftFile:
    """The shifts of all services, read once and written whenever they change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, names: Iterable[str]) -> dict[str, Shift]:
        """Return the shifts by service; those of versions that are no longer there are left out.

        A file that cannot be read counts as none, which sends everything to the base, and is said so in the log.
        """
        known = versions(names)
        try:
            entries = [Shift(**entry) for entry in json.loads(self._path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            log.error("shifts_unreadable", error=type(error).__name__)  # noqa: TRY400 - the file holds nothing to see
            return {}
        return {
            one.service: one
            for one in entries
            if one.version in known.get(one.service, []) and isinstance(one.percent, int) and 0 <= one.percent <= WHOLE
        }

    def write(self, shifts: Mapping[str, Shift]) -> None:
        """Replace the file, so that it is whole at every moment.

        Raises:
            OSError: it cannot be written.
        """
        write(self._path, json.dumps([asdict(shifts[service]) for service in sorted(shifts)]).encode())
