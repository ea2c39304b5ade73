"""`rapport keys …`: the keys that seal credentials: see, rotate, back up, and prove that the backup can be opened."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from servicekit.envelope import KeyEncryptionKeys

commands = typer.Typer(
    help="See, rotate, back up and recover the keys that seal credentials (API keys: `rapport key`).",
    no_args_is_help=True,
)

_SHARES = re.compile(r"(\d{1,2})-of-(\d{1,2})", re.ASCII)

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="The file with the passphrase; else it is asked for."),
]


@commands.command()
def status(*, as_json: Json = False, data: Data = None) -> None:
    """Say which key-encryption key is active, what each one is needed for, and how the latest rotations stand."""
    from cli.operator import run
    from cli.sealing import key_status

    found = run(key_status(suite_folder(data)))
    if as_json:
        print_json(found)
        return
    _show_uses(found)
    print_lines(f"{found['older_data_keys']} replaced data keys are kept for deliveries that are sealed under them.")
    columns = [(name, "left") for name in ("rotation", "state", "to", "done", "began", "ended", "problem")]
    rows = [
        [
            one["kind"],
            one["state"],
            one["target"],
            f"{one['done']} of {one['total']}",
            one["began"],
            one["ended"] or "",
            one["problem"],
        ]
        for one in found["rotations"]
    ]
    print_table("", columns, rows)


@commands.command("rotate-kek")
def rotate_kek_(*, as_json: Json = False, data: Data = None) -> None:
    """Wrap all data keys by a new key-encryption key while everything runs; repeated, it goes on where it stopped.

    In Vault, rotate the key there first; this wraps everything by its newest version.
    """
    from cli.operator import run
    from cli.sealing import rotate_kek

    with _progress("wrapping data keys") as progress:
        done = run(rotate_kek(suite_folder(data), progress))
    if as_json:
        print_json(done)
        return
    print_lines(f"{done['kek']} wraps everything now: {done['rotation']['done']} data keys were wrapped anew.")
    _show_uses({"active_kek": done["kek"], "kek_uses": done["kek_uses"]})
    say("Make a new sealed copy now (`rapport keys escrow`): those from before do not hold the new key.")


@commands.command("rotate-data-keys")
def rotate_data_keys_(
    *,
    tenant: Annotated[str, typer.Option(help="Only this shop's, by its slug; else all.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Give every shop a new data key and seal its credentials anew, while everything runs."""
    from cli.operator import run
    from cli.sealing import rotate_data_keys

    with _progress("replacing data keys") as progress:
        done = run(rotate_data_keys(suite_folder(data), tenant, progress))
    if as_json:
        print_json({"rotation": done})
        return
    print_lines(f"{done['done']} of {done['total']} shops have a new data key, and their credentials are sealed by it.")


@commands.command("remove-kek")
def remove_kek_(
    name: Annotated[str, typer.Argument(help="The key's name, e.g. kek-1.")],
    *,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Remove a key-encryption key from the suite's file, if nothing needs it; backups from before still do."""
    from cli.operator import run
    from cli.sealing import remove_kek

    found = run(remove_kek(suite_folder(data), name))
    if as_json:
        print_json(found)
        return
    print_lines(f"Removed {name}.")
    _show_uses(found)
    say(f"Backups from before the rotation open with {name} only: keep a sealed copy that holds it as long as them.")


@commands.command()
def escrow(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The sealed copy to write.")],
    *,
    shares: Annotated[
        str, typer.Option(metavar="K-of-N", help="Split what opens it into shares, e.g. 3-of-5, in files beside it.")
    ] = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Write the key-encryption keys as a sealed copy to keep elsewhere: by a passphrase, or by k of n shares."""
    from cli.operator import run
    from cli.recovery import write_escrow
    from cli.sealing import active_kek, key_file, load_keys

    folder = suite_folder(data)
    keys = load_keys(key_file(folder))
    active = run(active_kek(folder))
    _refuse_without(keys, active, f"The suite's file does not hold {active}, by which the services wrap: copy that")
    if shares:
        found = _SHARES.fullmatch(shares)
        if not found:
            raise CommandError("--shares: write K-of-N, e.g. 3-of-5.", reason="USAGE")
        made = write_escrow(keys, to, shares=(int(found[1]), int(found[2])))
    else:
        made = write_escrow(keys, to, passphrase=_passphrase(passphrase_file, confirm=True))
    if as_json:
        print_json(made)
        return
    print_lines(f"Wrote {made['escrow']}, which holds {', '.join(made['keks'])}.")
    if made["shares"]:
        print_lines(*made["shares"])
        say("Give each share to somebody else and remove the files. The copy itself may lie beside the backups.")
    if not active:
        say("No suite could be asked whether these are the keys by which it wraps.")
    say("Prove that it works: `rapport keys backup`, then `rapport keys recover --drill`.")


@commands.command()
def backup(
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The file to write.", show_default="DATA/backups/…")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Write the running suite's database into a file, as `pg_dump` makes it; the keys are not in it."""
    from cli.operator import run
    from cli.suite.backups import make_backup

    made = run(make_backup(suite_folder(data), to))
    if as_json:
        print_json({"backup": str(made), "bytes": made.stat().st_size})
        return
    print_lines(f"Wrote {made} ({made.stat().st_size} bytes).")


@commands.command()
def recover(
    escrow_file: Annotated[Path, typer.Option("--escrow", metavar="FILE", help="The sealed copy of the keys.")],
    *,
    drill: Annotated[
        bool, typer.Option("--drill", help="Restore a backup into a scratch server and open every sealed row in it.")
    ] = False,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write the recovered keys to a file.")] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Make a new suite in an empty --data of the keys and the --backup.")
    ] = False,
    backup_file: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="The backup to open; else the newest.")
    ] = None,
    share_file: Annotated[
        list[Path] | None, typer.Option("--share-file", metavar="FILE", help="A share; repeat it for each.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Recover the key-encryption keys from a sealed copy; with --drill prove that they open the newest backup."""
    from cli import recovery
    from cli.operator import run
    from cli.suite.backups import newest_backup

    if [drill, restore, to is not None].count(True) != 1:
        raise CommandError("Say one of --drill, --restore and --to FILE.", reason="USAGE")
    if restore and backup_file is None:
        raise CommandError("--restore: name the backup with --backup.", reason="USAGE")
    folder = suite_folder(data)
    keys = _recovered(escrow_file, share_file or [], passphrase_file)
    if drill:
        if backup_file is None:
            from cli.sealing import active_kek

            # Of the newest backup: what is wrapped from now on is to be opened as well.
            active = run(active_kek(folder))
            _refuse_without(keys, active, f"The copy does not hold {active}, by which the suite wraps: make another")
        _show_drill(run(recovery.drill(keys, backup_file or newest_backup(folder), say)), as_json=as_json)
        return
    if to is not None:
        recovery.write_keys(keys, to)
    elif backup_file is not None:
        to = run(recovery.restore(keys, backup_file, folder))
        say(f"The database is restored: start it with `rapport up --data {folder.root}`.")
    if as_json:
        print_json({"key_file": str(to), "keks": list(keys.names)})
    else:
        print_lines(f"Wrote {to} with {', '.join(keys.names)}.")


def _refuse_without(keys: "KeyEncryptionKeys", active: str, text: str) -> None:
    """Refuse to go on with keys that lack the one by which the suite wraps, where that is known.

    Raises:
        CommandError: they lack it.
    """
    if active and not keys.holds(active):
        raise CommandError(f"{text}.", reason="KEK_NOT_HELD", details={"active_kek": active, "keks": list(keys.names)})


def _recovered(copy: Path, shares: list[Path], passphrase_file: Path | None) -> "KeyEncryptionKeys":
    """Return the keys of a sealed copy, opened by the shares given, or by a passphrase."""
    from cli import recovery

    if shares:
        return recovery.open_escrow(copy, shares=[_text(path) for path in shares])
    if recovery.needs_passphrase(copy):
        return recovery.open_escrow(copy, passphrase=_passphrase(passphrase_file, confirm=False))
    raise CommandError("This copy is opened by shares: name them with --share-file.", reason="USAGE")


def _show_drill(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    rows = [[name, str(count["rows"]), str(count["opened"])] for name, count in result["tables"].items()]
    print_table("", [("table", "left"), ("sealed rows", "right"), ("opened", "right")], rows)
    print_lines(
        f"{result['opened']} sealed rows of {result['backup']} opened with {', '.join(result['keks'])}, "
        f"{result['failed']} did not, in {result['seconds']} s."
    )


def _show_uses(found: dict[str, Any]) -> None:
    names = sorted({found["active_kek"], *(name for uses in found["kek_uses"].values() for name in uses)})
    columns = [
        ("key-encryption key", "left"),
        ("active", "left"),
        ("data keys of shops", "right"),
        ("own keys", "right"),
    ]
    rows = [
        [
            name,
            "yes" if name == found["active_kek"] else "",
            str(found["kek_uses"]["crm"].get(name, 0)),
            str(found["kek_uses"]["tenant"].get(name, 0)),
        ]
        for name in names
    ]
    print_table("", columns, rows)


def _passphrase(file: Path | None, *, confirm: bool) -> str:
    if file is not None:
        return _text(file)
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


def _text(path: Path) -> str:
    """Return what a file holds, without the end of line at its end."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        text = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandError(f"Cannot read {path}: {text}.", reason="FILE_UNREADABLE") from error


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give what draws a progress bar on standard error."""
    from rich import progress as bars
    from rich.console import Console

    columns = (bars.TextColumn("  {task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    with bars.Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
