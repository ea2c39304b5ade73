"""What must be true before anything moves, each looked at and not just asked: green, yellow or red, with evidence."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.migration.credentials import CredentialsError, open_credentials
from cli.migration.plan import Capture, Check, State, Window
from cli.migration.rows import SourceTenant
from cli.migration.source import Source
from cli.suite.backup_trials import last_trial
from cli.suite.base_backups import VERIFIED
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS
from servicekit.envelope import KeyEncryptionKeys
from servicekit.escrow import EscrowError, describe

_BACKUP_AGE = timedelta(days=7)
_MOST_SHARE = 0.02
_RESTORED = 0.95
"""Which part of each table's rows a restored backup must have."""

_AGREEING = 0.95
"""Shipping and taxes make some orders come to something else than their lines."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_COMPARED = ("tickets", "ticket_messages", "ticket_notes", "combined_sales")


async def source_backup(source: Source, restored_url: str, tables: Mapping[str, str]) -> Check:
    """Check that a backup of the source was restored once: the restored database is counted against the source."""
    name, advice = "source_backup", "restore a backup of the source into a scratch server and give --restored URL"
    if not restored_url:
        return Check(name, "red", "no restored backup of the source was given", advice)
    try:
        async with Source.open(restored_url, tables) as restored:
            started = "SELECT pg_postmaster_start_time()"
            # A copy of the files has the same fingerprint, but no other server started at the same moment.
            same = restored.fingerprint == source.fingerprint
            if same and await restored.connection.fetchval(started) == await source.connection.fetchval(started):
                return Check(name, "red", "--restored leads to the source itself, not to a restored backup", advice)
            counts = {table: (await restored.count(table), await source.count(table)) for table in _COMPARED}
            newest = "SELECT max(created_at) FROM {}"
            last = await restored.connection.fetchval(newest.format(restored.places["ticket_messages"].sql))
            first = await source.connection.fetchval(newest.format(source.places["ticket_messages"].sql))
    except CommandError as error:
        return Check(name, "red", f"the restored backup cannot be read: {error.message}", advice)
    told = ", ".join(f"{table} {there} of {here}" for table, (there, here) in counts.items())
    behind = first - last if first and last else timedelta(0)
    evidence = f"restored: {told}; its newest message is {behind} older than the source's"
    if any(there < _RESTORED * here for there, here in counts.values()):
        return Check(name, "red", evidence, f"it lacks more than {1 - _RESTORED:.0%} of a table's rows: make another")
    state: State = "green" if behind <= _BACKUP_AGE else "yellow"
    return Check(name, state, evidence, "" if state == "green" else "make a newer one before the window begins")


def target_backup(folder: Path | None, now: datetime) -> Check:
    """Check that a backup of Rapport was restored and compared: what `rapport backup verify` left beside it."""
    name, advice = "backup", "rapport backup create, then rapport backup verify FOLDER, and give --backup FOLDER"
    if folder is None:
        return Check(name, "red", "no backup of Rapport was given", advice)
    found = last_trial(folder)
    if found is None:
        return Check(name, "red", f"nobody has verified the backup: there is no {VERIFIED} in {folder.name}", advice)
    at = _verified_at(found)
    passed = found.get("equal") is True
    evidence = f"restored and compared {at.isoformat() if at else 'at a time that is not told'}: " + (
        "all checksums equal" if passed else "not equal"
    )
    if not passed:
        return Check(name, "red", evidence, "the restored copy differs: make another backup")
    if at is None or now - at > _BACKUP_AGE:
        return Check(name, "yellow", evidence, f"it is older than {_BACKUP_AGE.days} days: make another")
    return Check(name, "green", evidence)


def keys(folder: SuiteFolder, escrow: Path | None) -> Check:
    """Check that Rapport's key-encryption keys exist, and that a sealed copy of all of them is kept."""
    name, advice = "keys", "rapport keys escrow --to FILE --shares 3-of-5, and give --escrow FILE"
    file = folder.secrets / KEY_ENCRYPTION_KEYS
    try:
        names = list(KeyEncryptionKeys.load(file).names)
    except (OSError, ValueError):
        return Check(name, "red", f"there are no key-encryption keys in {folder.secrets}", "rapport up makes them")
    if escrow is None:
        return Check(name, "red", f"generated ({', '.join(names)}), no sealed copy was given", advice)
    try:
        copy = describe(escrow.read_bytes())
    except (OSError, EscrowError):
        return Check(name, "red", f"{escrow.name} is no sealed copy of keys", advice)
    missing = [one for one in names if one not in copy.get("keks", [])]
    evidence = f"generated ({', '.join(names)}); sealed copy of {copy.get('create_time')} holds all of them"
    if missing:
        return Check(name, "red", f"the sealed copy lacks {', '.join(missing)}", f"make it anew: {advice}")
    return Check(name, "green", evidence)


def credentials(tenants: Sequence[SourceTenant], key: str) -> Check:
    """Check that the predecessor's key opens every credential that it stored."""
    name, advice = "credentials", "give --key-file FILE with the predecessor's ENCRYPTION_KEY"
    sealed = [tenant for tenant in tenants if tenant.credentials and tenant.active]
    if not sealed:
        return Check(name, "green", "the source stores no credentials")
    if not key:
        return Check(name, "red", f"{len(sealed)} credentials were not tried: no key was given", advice)
    closed = []
    for tenant in sealed:
        try:
            open_credentials(tenant.credentials, key)
        except CredentialsError as error:
            closed.append(f"{tenant.slug}: {error}")
    if not closed:
        return Check(name, "green", f"the key opens all {len(sealed)}")
    opened = len(sealed) - len(closed)
    return Check(
        name,
        "yellow" if opened else "red",
        f"the key opens {opened} of {len(sealed)}; {'; '.join(closed)}",
        "make those connections by hand: rapport connection create",
    )


def rollback(state: Path | None) -> Check:
    """Check that the way back was tried: what a rehearsal's state file says of it."""
    name = "rollback"
    advice = "rehearse against a copy of the source: migrate run, migrate rollback, and give --rehearsal STATE"
    if state is None:
        return Check(name, "red", "no rehearsal was given", advice)
    found = _json(state)
    tried = found.get("rollback") if found else None
    if found is None or not isinstance(tried, dict):
        return Check(name, "red", f"{state.name} tells of no rollback", advice)
    if found.get("dry_run"):
        return Check(name, "red", f"{state.name} is of a rollback that only said what it would write", advice)
    return Check(name, "green", f"tried: {json.dumps(tried, sort_keys=True)[:200]}")


def window(found: Window | None) -> Check:
    """Check that there is a quiet time to move in."""
    name = "window"
    if found is None:
        return Check(name, "red", "the source has no messages to tell from", "choose the hours by hand")
    end = (found.hour + found.hours) % 24
    evidence = (
        f"{_DAYS[found.weekday]} {found.hour:02}:00 to {end:02}:00 UTC has {found.share:.2%} of a week's messages "
        f"({found.messages_per_hour:g} an hour), measured over {found.weeks:g} weeks"
    )
    if found.weeks < 1:
        return Check(name, "yellow", evidence, "less than a week of messages tells little: choose the hours by hand")
    if found.share > _MOST_SHARE:
        return Check(name, "yellow", evidence, "no hours are really quiet: announce it, and have more people at hand")
    return Check(name, "green", evidence)


def reading(source: Source, chosen: Capture, why: str) -> list[Check]:
    """Check how well the source can be read and followed while it is in use."""
    slow = [
        f"{source.places[name]} (ticket_id)"
        for name in ("ticket_messages", "ticket_notes")
        if name in source.places and "ticket_id" not in source.places[name].indexed
    ]
    found = [
        Check("capture", "green", why)
        if chosen == "logical"
        else Check("capture", "yellow", why, "a short freeze at the end is needed; logical replication needs none")
    ]
    if slow:
        advice = "CREATE INDEX CONCURRENTLY on it first, or every page reads the whole table"
        found.append(Check("indexes", "yellow", f"no index on {', '.join(slow)}", advice))
    else:
        found.append(Check("indexes", "green", "messages and notes are found by their ticket"))
    return found


def amounts(gross: int, net: int, totalled: int, *, read_net: bool) -> Check:
    """Check that the amounts of sales are read as they are meant: against what orders say they came to."""
    fits, other = (net, gross) if read_net else (gross, net)
    meant = "with the discount taken off already" if read_net else "less the discount"
    if not totalled:
        return Check("amounts", "yellow", "no order says what it came to", "compare some orders by hand")
    evidence = f"{fits} of {totalled} orders add up to their total when lines are read {meant}"
    if fits >= _AGREEING * totalled:
        return Check("amounts", "green", evidence)
    if other > fits:
        turned = "net: false" if read_net else "net: true"
        return Check("amounts", "red", f"{evidence}, {other} when not", f"put {turned} into the file of rules")
    return Check("amounts", "yellow", evidence, "totals hold more than goods, or less: compare some orders by hand")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _verified_at(trial: Mapping[str, Any]) -> datetime | None:
    try:
        at = datetime.fromisoformat(trial["verified_time"])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
