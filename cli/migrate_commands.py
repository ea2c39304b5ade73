"""`rapport migrate …`: from the predecessor's database to Rapport, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import cutover_commands, rollback_commands
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

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="The file that `rapport migrate plan` wrote.")]
StateFile = Annotated[Path | None, typer.Option(help="Where the run keeps how far it is.", show_default="PLAN.state")]

_SHOWN = 5
_MIB = 1 << 20


cutover_commands.register(commands)
rollback_commands.register(commands)


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


@commands.command("run")
def run_(
    plan: PlanFile,
    *,
    source: SourceUrl,
    state: StateFile = None,
    handover: Annotated[
        Path | None,
        typer.Option(help="Where new keys and webhook addresses are written (0600).", show_default="PLAN.handover"),
    ] = None,
    key_file: KeyFile = None,
    rate: Annotated[float, typer.Option(min=0, help="How many tickets a second at most; 0 for all that go.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=500, help="How many tickets a call takes.")] = 200,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what changes at the source, until Ctrl-C or SIGTERM.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Move what is left, compare every ticket once, and follow no more.")
    ] = False,
    delta: Annotated[
        bool, typer.Option("--delta", help="Follow changes by looking again, not by logical replication.")
    ] = False,
    into: Annotated[
        list[str] | None,
        typer.Option(metavar="SLUG", help="A shop that Rapport has already may be moved into; may be repeated."),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Move what the plan says: shops, connections, orders, contacts, tickets. The source stays in use meanwhile.

    It may be killed at any time: the same command goes on. It may be repeated: what moved before is known. With
    --follow changes are followed from before the first row is read: by a replication slot at the source, or with
    --delta by looking again. Run it with --finish once nobody writes at the source any more: it takes the slot away.
    """
    from cli.migration.plan import Plan
    from cli.migration.running import Options, run_migration
    from cli.operator import run

    loaded = Plan.load(plan)
    options = Options(
        url=source,
        state=state or plan.with_name(plan.name + ".state"),
        handover=handover or plan.with_name(plan.name + ".handover"),
        key_file=key_file,
        rate=rate,
        batch=batch,
        follow=follow,
        finish=finish,
        delta=delta,
        into=tuple(into or ()),
    )
    totals = {name: sum(shop.counts.get(name, 0) for shop in loaded.shops) for name in ("tickets", "orders")}
    with _advancing("moving") as advance:
        done = run(
            run_migration(
                suite_folder(data), loaded, options, lambda what, more: advance(what, more, totals.get(what, 0))
            )
        )
    if as_json:
        print_json(done)
    else:
        _show_run(done)


@contextmanager
def _advancing(doing: str = "reading") -> "Iterator[Advance]":
    """Give what shows how far reading is: a bar for each kind of rows."""
    from cli.order_commands import progress_bar

    with progress_bar() as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, more: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"{doing} {what}", total=total or None)
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


def _show_run(done: dict[str, Any]) -> None:
    kinds = ("orders", "contacts", "tickets_created", "tickets_updated", "tickets_unchanged", "connections")
    rows = [[slug, *(f"{counts.get(kind, 0):,}" for kind in kinds)] for slug, counts in done["shops"].items()]
    columns = [("shop", "left"), *((kind.replace("_", " "), "right") for kind in kinds)]
    print_table(f"{done['state'].capitalize()} in {done['seconds']:,.1f} s", columns, rows)
    if behind := done["stayed_behind"]:
        columns = [("what", "left"), ("shop", "left"), ("rows", "right"), ("reason", "left"), ("for example", "left")]
        shown = [
            [one["what"], one["shop"], f"{one['count']:,}", one["reason"], ", ".join(one["examples"][:_SHOWN])]
            for one in behind
        ]
        print_table("Stayed behind", columns, shown)
    if done["handover"]:
        say(f"  New keys and webhook addresses are in {done['handover']}: hand them over, then delete the file.")
