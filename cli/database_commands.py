"""`rapport db …`: the migrations of all services by one command."""

from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder
from cli.suite.names import SERVICES

commands = typer.Typer(help="The schemas of the services, and their migrations.", no_args_is_help=True)


@commands.callback()
def database() -> None:
    """The schemas of the services, and their migrations."""


@commands.command()
def status(*, as_json: Json = False, data: Data = None) -> None:
    """Say which migrations are done, which are to come, and which transactions are in their way."""
    from cli.database import status as look
    from cli.operator import run

    found = run(look(suite_folder(data)))
    if as_json:
        print_json(found)
        return
    columns = [("service", "left"), ("revision", "left"), ("newest", "left"), ("to come", "left")]
    print_table("", columns, [_row(service, one) for service, one in found["services"].items()])
    if not found["sees_others"]:
        print_lines(
            "What is in the way cannot be told: this role does not see others' transactions. A superuser can let it: "
            "GRANT pg_read_all_stats TO tenant_owner."
        )
    for one in found["in_the_way"]:
        waits = f", waits for {', '.join(map(str, one['waits_for']))}" if one["waits_for"] else ""
        print_lines(
            f"In the way: pid {one['pid']} ({one['role']}, {one['program']}, {one['state']}) for {one['seconds']} s "
            f"on {', '.join(one['tables'])}{waits}"
        )


@commands.command()
def migrate(
    *,
    service: Annotated[
        list[str] | None, typer.Option("--service", help="Only this service; may be repeated.", show_default="all")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0, max=3600, help="For how many seconds a migration is tried again for a lock.")
    ] = 60.0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Bring the services' schemas up to date while they run; nobody waits for it longer than a few seconds.

    The database is that of the running suite, or, where RAPPORT_<SERVICE>_MIGRATION_URL is set for each service, that
    one.
    """
    from cli.database import migrate as bring
    from cli.operator import run

    chosen = service or list(SERVICES)
    if unknown := [name for name in chosen if name not in SERVICES]:
        raise CommandError(f"--service {unknown[0]}: there are {', '.join(SERVICES)}.", reason="USAGE")
    done = run(bring(suite_folder(data), chosen, patience, say))
    if as_json:
        print_json(done)
        return
    for name, one in done["services"].items():
        print_lines(
            f"{name}: {one['revision']}" + ("" if one["before"] == one["revision"] else f" (was {one['before']})")
        )


def _row(service: str, one: dict[str, Any]) -> list[str]:
    pending = ", ".join(each["revision"] for each in one["pending"]) or "nothing"
    if one["migrating_pid"]:
        pending += f" (pid {one['migrating_pid']} is at it)"
    return [service, one["revision"] or "none", one["head"], pending]
