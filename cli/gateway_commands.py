"""`rapport gateway …`: what the gateway serves, and which version of a service gets the traffic."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="See what the gateway serves, and shift traffic between versions.", no_args_is_help=True)


@commands.command()
def status(
    *,
    check: Annotated[bool, typer.Option("--check", help="End with code 1 when something is wrong.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show which Envoy has which configuration, what was refused and why, and where traffic goes."""
    from cli.gateway_status import gateway_status
    from cli.operator import run

    found = run(gateway_status(suite_folder(data)))
    if as_json:
        print_json(found)
    else:
        _print_status(found)
    if check and found["problems"]:
        raise typer.Exit(1)


@commands.command()
def shift(
    service: Annotated[str, typer.Argument(help="The service, e.g. tickets.")],
    percent: Annotated[int, typer.Argument(min=0, max=100, help="The version's share of the requests.")],
    *,
    to: Annotated[str, typer.Option(metavar="VERSION", help="The version; not needed when there is but one.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Send a share of a service's requests to another version of it, and the rest to the base; 0 takes it back."""
    from cli.gateway_status import shift_traffic
    from cli.operator import run

    found = run(shift_traffic(suite_folder(data), service, percent, to))
    if as_json:
        print_json(found)
        return
    print_lines(_shift(found) + ("" if found["in_effect"] else "; not every Envoy does so yet"))


def _print_status(found: dict[str, Any]) -> None:
    print_lines(
        f"configuration   {found['wanted_version'] or 'none yet'}",
        f"served          {found['current_version'] or 'none yet'}",
        f"last good       {found['last_good_version'] or 'none yet'}",
        f"refused         {found['refused_count']} times since the control plane started",
        *(_shift(one) for one in found["shifts"]),
    )
    columns = [
        ("envoy", "left"),
        ("state", "left"),
        ("part", "left"),
        ("wanted", "left"),
        ("accepted", "left"),
        ("refused", "left"),
    ]
    wanted = {part["type"]: part["version"] for part in found["parts"]}
    rows = [
        [
            node["id"],
            f"{'connected' if node['connected'] else 'gone'} ({node['protocol']})",
            part["type"].rpartition(".")[2],
            wanted.get(part["type"], ""),
            part["accepted_version"],
            part["refused_version"],
        ]
        for node in found["nodes"]
        for part in node["parts"]
    ]
    print_table("", columns, rows)
    print_lines(*(f"! {problem}" for problem in found["problems"]))


def _shift(one: dict[str, Any]) -> str:
    if not one["percent"]:
        return f"{one['service']}: all to the base (versions: {', '.join(one['versions'])})"
    return f"{one['service']}: {one['percent']} % to {one['version']}, {100 - one['percent']} % to the base"
