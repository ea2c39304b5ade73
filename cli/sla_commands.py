"""`rapport sla …` and `rapport calendar …`: what a shop promises its customers, and in which hours it works."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

sla = typer.Typer(help="Until when answers are due: targets in hours of work.", no_args_is_help=True)
calendar = typer.Typer(help="In which hours a shop works: time zone, opening hours, holidays.", no_args_is_help=True)

_TARGETS = [("for", "left"), ("first answer", "right"), ("next answer", "right"), ("resolution", "right")]
_FORM = "NAME=FIRST/NEXT/RESOLUTION"


@sla.command("show")
def show_targets(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show what a shop promises, in hours of work."""
    from cli.operator import run
    from cli.promises import settings

    _show_targets(run(settings(suite_folder(data), tenant)), as_json=as_json)


@sla.command("set")
def set_targets(
    *,
    tenant: Tenant,
    priority: Annotated[
        list[str] | None,
        typer.Option("--priority", metavar=_FORM, help="Hours for a priority, e.g. high=4/4/24; - promises nothing."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar=_FORM, help="Hours for a tag, before the priority's; - leaves those, 0 is none."),
    ] = None,
    forget_tag: Annotated[list[str] | None, typer.Option("--forget-tag", help="Drop the targets of a tag.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Set targets; those that are not named stay. Open tickets get their new times in the background."""
    from cli.operator import run
    from cli.promises import set_targets as asked
    from cli.promises import targets_of

    priorities, tags = targets_of("--priority", priority or []), targets_of("--tag", tag or [])
    found = run(asked(suite_folder(data), tenant, priorities, tags, forget_tag or []))
    _show_targets(found, as_json=as_json)


@calendar.command("show")
def show_calendar(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show when a shop works."""
    from cli.operator import run
    from cli.promises import settings

    _show_calendar(run(settings(suite_folder(data), tenant)), as_json=as_json)


@calendar.command("set")
def set_calendar(
    *,
    tenant: Tenant,
    time_zone: Annotated[str, typer.Option("--time-zone", help="By its IANA name, e.g. Europe/Berlin.")],
    hours: Annotated[
        list[str],
        typer.Option("--hours", metavar="DAYS=HH:MM-HH:MM", help="E.g. mon-fri=09:00-17:00; may be repeated."),
    ],
    country: Annotated[str, typer.Option("--country", help="Whose public holidays are free, e.g. DE.")] = "",
    subdivision: Annotated[str, typer.Option("--subdivision", help="The part of the country, e.g. BY.")] = "",
    closed: Annotated[
        list[str] | None, typer.Option("--closed", metavar="YYYY-MM-DD", help="A further day on which nobody works.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Replace the calendar; always open is --time-zone UTC --hours mon-sun=00:00-24:00."""
    from rapport.tickets.v1 import sla_service_pb2

    from cli.operator import run
    from cli.promises import hours_of
    from cli.promises import set_calendar as asked

    wanted = sla_service_pb2.Calendar(
        time_zone=time_zone,
        hours=hours_of(hours),
        country=country,
        subdivision=subdivision,
        closed_days=closed or [],
    )
    _show_calendar(run(asked(suite_folder(data), tenant, wanted)), as_json=as_json)


def _show_targets(settings: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(settings)
        return
    targets = settings["targets"]
    rows = [_row(f"tag {each['tag']}", each) for each in targets["tags"]]
    rows += [_row(f"priority {each['priority']}", each) for each in targets["priorities"]]
    print_table("", _TARGETS, rows)


def _row(name: str, targets: dict[str, Any]) -> list[str]:
    from cli.promises import TARGETS

    return [name, *(f"{targets[field]:g} h" if targets.get(field) is not None else "-" for field in TARGETS)]


def _show_calendar(settings: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(settings)
        return
    known = settings["calendar"]
    place = "-".join(part for part in (known["country"], known["subdivision"]) if part)
    print_lines(f"{known['time_zone']}, {f'holidays of {place}' if place else 'no holidays'}")
    for each in known["hours"]:
        print_lines(f"  {each['day'].removeprefix('DAY_').title():<10} {each['opens']} to {each['closes']}")
    if known["closed_days"]:
        print_lines(f"  closed on {', '.join(known['closed_days'])}")
