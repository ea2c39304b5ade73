"""`rapport migrate …`: from the predecessor's database to Rapport, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.pairs import named_values
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from cli.migration.plan import Check, Group, Plan
    from cli.migration.planning import Advance

commands = typer.Typer(help="Move from the predecessor's database to Rapport, and back.", no_args_is_help=True)

SourceUrl = Annotated[
    str,
    typer.Option(
        "--source", envvar="RAPPORT_MIGRATE_SOURCE", metavar="URL", help="The predecessor's database, postgresql://…"
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="The file with the predecessor's ENCRYPTION_KEY, or its env file.")
]

_SHOWN = 5
_MIB = 1 << 20


@commands.callback()
def migrate() -> None:
    """Move from the predecessor's database to Rapport, and back."""


@commands.command()
def plan(
    *,
    source: SourceUrl,
    out: Annotated[Path, typer.Option(help="Where the plan is written.")] = Path("plan.json"),
    store: Annotated[
        list[str] | None, typer.Option(metavar="STORE=SLUG", help="The shop of a store_id; may be repeated.")
    ] = None,
    one_shop: Annotated[str, typer.Option(metavar="SLUG", help="The install has this one shop only.")] = "",
    rules: Annotated[Path | None, typer.Option(help="A file of rules (YAML), see docs/migration.md.")] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SCHEMA.TABLE", help="Which table counts where several schemas have one."),
    ] = None,
    key_file: KeyFile = None,
    env_file: Annotated[Path | None, typer.Option(help="The predecessor's settings, to be translated.")] = None,
    restored: Annotated[
        str, typer.Option(metavar="URL", envvar="RAPPORT_MIGRATE_RESTORED", help="A restored backup of the source.")
    ] = "",
    backup: Annotated[Path | None, typer.Option(help="A backup of Rapport that was verified.")] = None,
    escrow: Annotated[Path | None, typer.Option(help="The sealed copy of Rapport's keys.")] = None,
    rehearsal: Annotated[
        Path | None, typer.Option(help="What a rehearsed `rapport migrate rollback --json` said.")
    ] = None,
    window_hours: Annotated[int, typer.Option(min=1, max=48, help="How many quiet hours are looked for.")] = 6,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Read the predecessor's database, never writing, and say what moves where, what stays behind, and why.

    The plan goes into a file (0600: it holds ids of customers) by which `rapport migrate run` works. Nothing is
    guessed: a row whose shop no evidence and no rule tells stays behind and is listed. Ends with 1 while a
    prerequisite is red.
    """
    from cli.migration.planning import Options, make_plan
    from cli.operator import run
    from cli.suite.secret_files import write_private

    options = Options(
        url=source,
        stores=named_values("--store", store or []),
        one_shop=one_shop,
        rules=rules,
        tables=dict(named_values("--table", table or [])),
        key_file=key_file,
        env_file=env_file,
        restored=restored,
        backup=backup,
        escrow=escrow,
        rehearsal=rehearsal,
        window_hours=window_hours,
    )
    with _advancing() as advance:
        made = run(make_plan(suite_folder(data), options, advance))
    try:
        write_private(out, made.to_json())
    except OSError as error:
        raise CommandError(f"Cannot write the plan to {out}: {error.strerror}.", reason="FILE_UNWRITABLE") from error
    if as_json:
        print_json({"plan": str(out), **_summary(made)})
    else:
        _show(made, out)
    if any(check.state == "red" for check in made.checks):
        raise typer.Exit(1)


@contextmanager
def _advancing() -> "Iterator[Advance]":
    """Give what shows how far reading is: a bar for each kind of rows."""
    from cli.order_commands import progress_bar

    with progress_bar() as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, more: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"reading {what}", total=total)
            progress.advance(tasks[what], more)

        yield advance


def _summary(made: "Plan") -> dict[str, Any]:
    """Return a plan for `--json`, without the examples: those are in the file."""
    import json

    found: dict[str, Any] = json.loads(made.to_json())
    for name in ("unmapped", "conflicts", "invalid", "adapted", "dropped"):
        for group in found[name]:
            group.pop("examples")
    found.pop("rules")
    if found["window"]:
        found["window"].pop("by_hour")
    return found


def _show(made: "Plan", out: Path) -> None:
    origin = made.origin
    print_lines(
        f"Source: {origin.kind}, Postgres {origin.version}, {sum(origin.bytes.values()) / _MIB:,.0f} MiB in "
        f"{len(origin.tables)} tables"
    )
    kinds = ("customers", "tickets", "messages", "notes", "orders", "order_lines")
    rows = [[shop.slug, *(f"{shop.counts.get(kind, 0):,}" for kind in kinds)] for shop in made.shops]
    print_table("What moves", [("shop", "left"), *((kind, "right") for kind in kinds)], rows)
    for title, groups in (
        ("Stays behind: nobody knows whose it is", made.unmapped),
        ("Stays behind: of several shops", made.conflicts),
        ("Stays behind: Rapport does not take it", made.invalid),
        ("Moves with a change", made.adapted),
        ("Is not moved", made.dropped),
    ):
        _show_groups(title, groups)
    for shop in made.shops:
        for one in shop.connections:
            print_lines(f"Connection of {shop.slug}: {one.provider}" + (f" ({one.problem})" if one.problem else ""))
    _show_checks(made.checks)
    for setting in made.settings:
        print_lines(f"{setting.theirs} → {setting.ours}" + (f" ({setting.note})" if setting.note else ""))
    if made.estimate:
        say(f"  It may take {made.estimate.seconds / 60:,.0f} minutes, while the source stays in use.")
    print_lines(f"The plan is in {out}.")


def _show_groups(title: str, groups: "tuple[Group, ...]") -> None:
    if not groups:
        return
    columns = [("what", "left"), ("rows", "right"), ("reason", "left"), ("for example", "left")]
    shown = [[one.what, f"{one.count:,}", one.text, ", ".join(one.examples[:_SHOWN])] for one in groups]
    print_table(title, columns, shown)


def _show_checks(checks: "tuple[Check, ...]") -> None:
    columns = [("check", "left"), ("", "left"), ("evidence", "left"), ("what to do", "left")]
    print_table("Prerequisites", columns, [[one.name, one.state, one.evidence, one.advice] for one in checks])
