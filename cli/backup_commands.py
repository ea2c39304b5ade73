"""`rapport backup …`: backups with the write-ahead log, the proof that they can be restored, and their use."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from cli.suite.base_backups import BaseBackup

commands = typer.Typer(help="Back up the whole suite and restore it, or one shop of it.", no_args_is_help=True)

_UNTIL = "The moment as of which, for example 2026-01-31T12:00:00Z."


@commands.callback()
def backup() -> None:
    """Back up the whole suite and restore it, or one shop of it."""


@commands.command()
def create(
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="The folder to make.", show_default="DATA/backups/<time>"),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a backup of the running suite's database, beside all work; the first one begins the archive of the log."""
    from cli.operator import run
    from cli.suite.base_backups import create as make

    made = run(make(suite_folder(data), to, say))
    if as_json:
        print_json(_described(made))
        return
    print_lines(f"The backup is {made.folder} ({_size(made) / 2**20:.1f} MB).")
    say("Prove that it can be restored: `rapport backup verify`. It has no key: see `rapport keys escrow`.")


@commands.command("list")
def list_(*, as_json: Json = False, data: Data = None) -> None:
    """List the backups in the suite's folder, oldest first, and whether each was tried."""
    from cli.suite.base_backups import list_backups

    found = [_described(made) for made in list_backups(suite_folder(data))]
    if as_json:
        print_json({"backups": found})
        return
    columns = [("backup", "left"), ("made", "left"), ("MB", "right"), ("rows", "right"), ("verified", "left")]
    print_table("", columns, [_row(one) for one in found])


@commands.command()
def verify(
    backup: Annotated[Path | None, typer.Argument(help="The backup's folder or name; the newest without it.")] = None,
    *,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Restore a backup into a scratch server and compare every table with what it held; the suite is not touched."""
    from cli.operator import run
    from cli.suite.backup_trials import verify as try_out
    from cli.suite.base_backups import find

    result = run(try_out(find(suite_folder(data), backup), say))
    if as_json:
        print_json(result)
        return
    print_lines(
        f"{result['backup']} was restored: {result['tables']} tables with {result['rows']} rows are equal "
        f"({result['seconds']:.1f} s)."
    )


@commands.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="The backup's folder.")],
    *,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help=_UNTIL, show_default="the end of the log")
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            "--secrets", metavar="FOLDER", help="The folder `secrets` of the suite that was backed up, to be copied."
        ),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a suite in an empty --data of a backup, as of the end of its log or of an earlier moment."""
    from cli.operator import run
    from cli.suite.backup_trials import restore as make
    from cli.suite.base_backups import find
    from cli.suite.secret_files import KEY_ENCRYPTION_KEYS

    folder = suite_folder(data)
    reached, missing = run(make(folder, find(folder, backup), _moment(until), secrets))
    if missing:
        say(
            f"WARNING: the part {missing} of the log is missing in the archive, and what follows it was not restored: "
            "find it, and restore again into another folder."
        )
    if as_json:
        print_json({"data": str(folder.root), "restored_until": reached.isoformat(), "missing_log": missing})
        return
    print_lines(f"The database is restored as of {reached.isoformat(timespec='seconds')}.")
    say(f"Start it with `rapport up --data {folder.root}`, and then make its first backup: `rapport backup create`.")
    if secrets is None:
        keys = folder.secrets / KEY_ENCRYPTION_KEYS
        say(
            f"First put its keys back: `rapport keys recover --escrow FILE --to {keys}`; without them it gets new ones,"
        )
        say("and nothing that was sealed can be opened.")


@commands.command("restore-tenant")
def restore_tenant_(
    slug: Annotated[str, typer.Argument(help="The shop's slug.")],
    *,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="BACKUP", help="The backup's folder or name.", show_default="the newest"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help=_UNTIL, show_default="when the backup was made")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the shop that there is, which must be suspended.")
    ] = False,
    despite_erasures: Annotated[
        bool, typer.Option("--despite-erasures", help="Bring customers back too that were erased since the backup.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Bring one shop back from a backup into the running suite, while all others go on.

    Streams, advice and changes of other shops come in late meanwhile: their followers read only what no running
    transaction can precede, and each service's part is one transaction.
    """
    from uuid import UUID

    from cli.caches import flush_tenant
    from cli.operator import run
    from cli.suite.base_backups import find
    from cli.suite.tenant_restore import restore_tenant

    folder = suite_folder(data)
    until_then = _moment(until)
    options = {"replace": replace, "despite_erasures": despite_erasures}
    result = run(restore_tenant(folder, slug, find(folder, source), until_then, **options, tell=say))
    result["cache_flushed"] = run(flush_tenant(folder, UUID(result["tenant_id"])))
    if as_json:
        print_json(result)
        return
    print_lines(
        f"{slug} is back from {result['backup']}: {sum(result['rows'].values())} rows in {len(result['rows'])} tables, "
        "equal to the backup's."
    )
    if result["revocations_since"]:
        print_lines(f"{result['revocations_since']} keys that were revoked since stay revoked.")
    if result["erasures_since"]:
        print_lines(
            f"{result['erasures_since']} ids, addresses and tickets of customers that were erased since may be back: "
            "erase these customers again."
        )
    if not result["cache_flushed"]:
        say(f"Valkey does not answer; when it is back: `rapport cache flush --tenant {slug}`.")


def _moment(text: str | None) -> datetime | None:
    """Read a moment; one without an offset is in UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--until {text}: write it as 2026-01-31T12:00:00Z.", reason="USAGE") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _described(made: "BaseBackup") -> dict[str, Any]:
    from cli.suite.backup_trials import last_trial

    return {
        "backup": made.name,
        "folder": str(made.folder),
        "made_time": made.made_time.isoformat(),
        "bytes": _size(made),
        "rows": sum(one.rows for one in made.tables.values()),
        "verified": last_trial(made.folder),
    }


def _size(made: "BaseBackup") -> int:
    return sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file())


def _row(one: dict[str, Any]) -> list[str]:
    trial = one["verified"]
    verdict = "never" if trial is None else f"{'equal' if trial['equal'] else 'DIFFERS'}, {trial['verified_time'][:19]}"
    return [one["backup"], one["made_time"][:19], f"{one['bytes'] / 2**20:.1f}", str(one["rows"]), verdict]
