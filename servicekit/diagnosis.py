"""How a process is: examinations that it runs when an operator asks (`rapport doctor`).

An examination reads only, and tells counts, times and ids: no content, no secret. What every process has is examined
here; a service adds what it keeps.
"""

import asyncio
import difflib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from rapport.diagnosis.v1 import diagnosis_service_pb2 as pb

from servicekit.cache import Cache
from servicekit.database import Database, RoleTooPowerfulError
from servicekit.errors import DomainError
from servicekit.settings import ServiceSettings

PATIENCE_SECONDS = 3.0
"""How long one examination may take."""

CLOCK_WARNING_SECONDS = 2.0
CLOCK_FAILED_SECONDS = 20.0
"""Tokens live for two minutes and are renewed a minute before; signed webhooks are taken for five."""

DAY = 86_400.0

_CACHE_SECONDS = 0.8 * PATIENCE_SECONDS
_AGAIN_SECONDS = 0.1


class State(Enum):
    """How bad a finding is."""

    OK = pb.Finding.STATE_OK
    WARNING = pb.Finding.STATE_WARNING
    FAILED = pb.Finding.STATE_FAILED


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination found.

    Attributes:
        check: what was examined, a stable word.
        state: how bad it is.
        summary: one sentence.
        remedy: what to do; empty where there is nothing.
        evidence: the figures behind it.
    """

    check: str
    state: State
    summary: str
    remedy: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)


Examination = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at one subject; what it raises is a finding as well."""


def graded(value: float, *, warning: float, failed: float) -> State:
    """Return how bad a figure is that should be small."""
    if value >= failed:
        return State.FAILED
    return State.WARNING if value >= warning else State.OK


async def examine(examinations: Mapping[str, Examination], patience: float = PATIENCE_SECONDS) -> list[Finding]:
    """Run all examinations side by side, each for `patience` seconds at most; return the findings in their order."""
    found = await asyncio.gather(*(_one(name, work, patience) for name, work in examinations.items()))
    return [finding for findings in found for finding in findings]


async def _one(name: str, work: Examination, patience: float) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(patience):
            return await work()
    except TimeoutError:
        summary = f"It could not be examined within {patience:g} s."
    except DomainError as error:
        summary = f"It could not be examined: {error.detail}"
    except Exception as error:  # noqa: BLE001 - an examination that fails is what is asked for
        summary = f"It could not be examined: {type(error).__name__}."
    return [Finding(name, State.FAILED, summary, "see the service's log: `rapport logs`")]


def of_every_process(
    settings: ServiceSettings, database: Database, cache: Cache | None = None
) -> dict[str, Examination]:
    """Return what is examined of every process of a service."""
    examinations: dict[str, Examination] = {
        "settings": lambda: _settings(settings, os.environ),
        "clock.database": lambda: _clock(database),
        "database.role": lambda: _role(database),
        "certificate.peer": lambda: _certificate(settings),
    }
    if cache is not None:
        examinations["cache"] = lambda: _cache(cache)
    return examinations


async def _settings(settings: ServiceSettings, environment: Mapping[str, str]) -> list[Finding]:
    """Look for settings that nobody reads: a slip in a name would leave the default in force, unseen."""
    prefix = str(settings.model_config.get("env_prefix", "")).upper()
    known = {f"{prefix}{name}".upper() for name in type(settings).model_fields}
    unknown = sorted(name for name in environment if name.upper().startswith(prefix) and name.upper() not in known)
    if not unknown:
        return [Finding("settings", State.OK, "Every setting in the environment is one that is read.")]
    near = {name: difflib.get_close_matches(name.upper(), known, n=1) for name in unknown}
    hints = ", ".join(f"{name} (is {close[0]} meant?)" if close else name for name, close in near.items())
    return [
        Finding(
            "settings",
            State.FAILED,
            f"The environment sets what nobody reads: {hints}.",
            "correct or remove it: docs/reference/configuration.md lists what there is; then restart the process",
            {"unknown": ", ".join(unknown)},
        )
    ]


async def _clock(database: Database) -> list[Finding]:
    """Compare the process's clock with the database's, in the middle of the question's way."""
    before = datetime.now(UTC)
    rows = await database.fetch("SELECT clock_timestamp() AS at")
    after = datetime.now(UTC)
    apart = abs((rows[0]["at"] - (before + (after - before) / 2)).total_seconds())
    state = graded(apart, warning=CLOCK_WARNING_SECONDS, failed=CLOCK_FAILED_SECONDS)
    remedy = "" if state is State.OK else "let both machines follow the same time server (NTP)"
    summary = f"Process and database differ by {apart:.3f} s."
    return [Finding("clock.database", state, summary, remedy, {"seconds": f"{apart:.3f}"})]


async def _role(database: Database) -> list[Finding]:
    """Judge the database role as at the start: what has become too powerful since would read around row security."""
    try:
        await database.check_role()
    except RoleTooPowerfulError as error:
        return [
            Finding(
                "database.role",
                State.FAILED,
                f"The role could read around row-level security: {error}.",
                "take it back at once (ALTER ROLE … NOBYPASSRLS, ALTER TABLE … FORCE ROW LEVEL SECURITY); the process "
                "would not start again like this",
            )
        ]
    return [Finding("database.role", State.OK, "The role is bound by row-level security in every table of a tenant.")]


async def _cache(cache: Cache) -> list[Finding]:
    """Ask Valkey for an answer, past the circuit."""
    if cache.client is None:
        return [Finding("cache", State.OK, "No Valkey is set: everything is answered from the database.")]
    # One answer that is late may be a moment in which this process did not get to its sockets.
    until = asyncio.get_running_loop().time() + _CACHE_SECONDS
    while True:
        try:
            async with asyncio.timeout_at(until):
                await cache.client.ping()
        except Exception as error:  # noqa: BLE001 - whatever keeps it from answering is the finding
            if asyncio.get_running_loop().time() < until - _AGAIN_SECONDS:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            return [
                Finding(
                    "cache",
                    State.FAILED,
                    f"Valkey does not answer: {type(error).__name__}.",
                    "nothing is lost and everything answers, more slowly; start Valkey again",
                )
            ]
        else:
            return [Finding("cache", State.OK, "Valkey answers.")]


async def _certificate(settings: ServiceSettings) -> list[Finding]:
    """Tell until when the process's own certificate is valid, as the files say now."""
    from servicekit.peers import CertificateUnusableError, read

    files = settings.peer_files()
    if files is None:
        return [Finding("certificate.peer", State.OK, "The process uses no mutual TLS.")]
    remedy = "see that the issuer runs: `rapport certificates show`, `rapport certificates issue`"
    try:
        held = await asyncio.to_thread(read, files)
    except CertificateUnusableError as error:
        return [Finding("certificate.peer", State.FAILED, f"The certificate cannot be used: {error}.", remedy)]
    left = (held.end - datetime.now(UTC)).total_seconds() / DAY
    # They live for three days and are renewed at half of that.
    state = graded(-left, warning=-1.0, failed=-0.25)
    summary = f"The process's certificate ends in {left:.1f} days."
    evidence = {"ends": held.end.isoformat(timespec="seconds")}
    return [Finding("certificate.peer", state, summary, "" if state is State.OK else remedy, evidence)]
