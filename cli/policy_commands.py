"""`rapport policy …`: by what a shop's inbox is ordered, and why."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="By what a shop's inbox is ordered, and why.", no_args_is_help=True)

Name = Annotated[
    str, typer.Option("--name", help="rapport, sla-first, value-first, fifo or predecessor (for comparison only).")
]
Weight = Annotated[
    list[str] | None, typer.Option("--weight", metavar="NAME=NUMBER", help="A weight, 0 to 2; may be repeated.")
]
Gamma = Annotated[float | None, typer.Option("--gamma", help="How much the rank rises in an hour of waiting.")]
Share = Annotated[float | None, typer.Option("--sla-share", help="How much of the time until an answer is due counts.")]
Etag = Annotated[str, typer.Option("--etag", help="Change it only if this is still the etag of the newest version.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the version.")]

_COLUMNS = [
    ("version", "right"),
    ("name", "left"),
    ("state", "left"),
    ("made", "left"),
    ("by", "left"),
    ("why", "left"),
]
_PLACES = [("new", "right"), ("now", "right"), ("ticket", "left"), ("because", "left")]
_PARTS = [("part", "left"), ("points", "right"), ("input", "left"), ("origin", "left"), ("", "left")]
_POINT = 1_000_000


@commands.command()
def show(
    *,
    tenant: Tenant,
    version: Annotated[int, typer.Option(min=0, help="The version; 0 for the active one.")] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show the policy that a shop's inbox is ordered by."""
    from cli.operator import run
    from cli.policies import get_policy

    _show(run(get_policy(suite_folder(data), tenant, version)), as_json=as_json)


@commands.command("list")
def list_(
    *,
    tenant: Tenant,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the versions of the policy, newest first."""
    from cli.operator import run
    from cli.policies import list_policies

    found = run(list_policies(suite_folder(data), tenant, limit))
    if as_json:
        print_json({"policies": found})
        return
    rows = [
        [
            str(each["version"]),
            each["name"],
            _state(each),
            each.get("create_time", ""),
            each["principal"],
            each["reason"],
        ]
        for each in found
    ]
    print_table("", _COLUMNS, rows)


@commands.command("set")
def set_(
    *,
    tenant: Tenant,
    name: Name = "",
    weight: Weight = None,
    gamma: Gamma = None,
    sla_share: Share = None,
    etag: Etag = "",
    reason: Reason = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change the policy; the inbox takes the new order when all places are there, and no page is wrong until then."""
    from cli.operator import run
    from cli.policies import edit, set_policy

    wanted = edit(name, weight or [], gamma, sla_share)
    _show(run(set_policy(suite_folder(data), tenant, wanted, etag, reason)), as_json=as_json)


@commands.command()
def rollback(
    version: Annotated[int, typer.Argument(min=1, help="The version to go back to.", show_default=False)],
    *,
    tenant: Tenant,
    etag: Etag = "",
    reason: Reason = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Order the inbox as an earlier version did; what was learned since then stays."""
    from cli.operator import run
    from cli.policies import roll_back

    _show(run(roll_back(suite_folder(data), tenant, version, etag, reason)), as_json=as_json)


@commands.command()
def preview(
    *,
    tenant: Tenant,
    name: Name = "",
    weight: Weight = None,
    gamma: Gamma = None,
    sla_share: Share = None,
    size: Annotated[int, typer.Option(min=1, max=200, help="How many tickets to show.")] = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show the head of the inbox as a change would make it; nothing is stored."""
    from cli.operator import run
    from cli.policies import edit
    from cli.policies import preview as asked

    wanted = edit(name, weight or [], gamma, sla_share)
    found = run(asked(suite_folder(data), tenant, wanted, size))
    if as_json:
        print_json(found)
        return
    rows = [
        [str(each["new_place"]), str(each["place"]), each["ticket_number"], ", ".join(each["reasons"])]
        for each in found["places"]
    ]
    print_table("", _PLACES, rows)
    print_lines(f"{found['moved_count']} of the {found['ranked_count']} highest open tickets would move.")


@commands.command()
def why(
    ticket: Annotated[str, typer.Argument(help="A ticket's id or number, e.g. T-001.", show_default=False)],
    other: Annotated[str, typer.Argument(help="Another one, to hear why one is above the other.")] = "",
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Say why a ticket stands where it stands, or why one of two stands above the other."""
    from cli.operator import run
    from cli.policies import compare, explain

    folder = suite_folder(data)
    found = run(compare(folder, tenant, ticket, other) if other else explain(folder, tenant, ticket))
    if as_json:
        print_json(found)
    elif other:
        print_lines(found["sentence"])
        rows = [[each["name"], f"{int(each['micros']) / _POINT:+.2f}"] for each in found["differences"]]
        print_table("", _PARTS[:2], rows)
    else:
        print_lines(f"{found['ticket_number']} has {found['score']:.2f} points ({found['policy']}, {found['tier']}).")
        rows = [
            [each["name"], f"{each['points']:+.2f}", each["input"], each["origin"], each["sentence"]]
            for each in found["parts"]
        ]
        print_table("", _PARTS, rows)
        print_lines(*(each["sentence"] for each in found["counterfactuals"]))


def _show(policy: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(policy)
        return
    hours = f"at most {policy['bound_hours']:.0f} working hours" if policy["bound_hours"] else "no bound"
    print_lines(
        f"{policy['name']}, version {policy['version']}, {_state(policy)}",
        f"  ageing {policy['gamma']:g} per hour, share of the target {policy['sla_share']:g}; overtaken by: {hours}",
        f"  weights: {', '.join(f'{name} {value:g}' for name, value in sorted(policy['weights'].items()))}",
    )
    for each in policy["handling_times"]:
        print_lines(f"  {each['intent']}: {each['minutes']:g} minutes, from {each['tickets']} closed tickets")


def _state(policy: dict[str, Any]) -> str:
    return str(policy["state"]).removeprefix("STATE_").lower()
