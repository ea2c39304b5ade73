"""`rapport action-policy …` and `rapport recommendation …`: what agents are advised to do, and what became of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What a shop allows of actions: refunds, credits, offers.", no_args_is_help=True)
recommendations = typer.Typer(help="What is recommended, and what became of it.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The policy.", show_default=False)]
Etag = Annotated[str, typer.Option("--etag", help="Change it only if this is still the etag of the newest version.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the version.")]

_VERSIONS = [("version", "right"), ("", "left"), ("made", "left"), ("by", "left"), ("why", "left")]
_ACTIONS = [("action", "left"), ("enabled", "left"), ("effect", "right"), ("minutes", "right"), ("gives", "left")]
_PROBLEMS = [("line", "right"), ("field", "left"), ("problem", "left")]
_CHANGES = [("action", "left"), ("now", "right"), ("new", "right"), ("gives now", "left"), ("would give", "left")]
_LINES = [
    ("policy", "right"),
    ("action", "left"),
    ("made", "right"),
    ("shown", "right"),
    ("done", "right"),
    ("edited", "right"),
    ("not", "right"),
    ("accepted", "left"),
    ("settled", "left"),
    ("returned", "left"),
]


@commands.command()
def show(
    *,
    tenant: Tenant,
    version: Annotated[int, typer.Option(min=0, help="The version; 0 for the active one.")] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show a shop's policy: its file, and the actions as it has them."""
    from cli.action_policies import get_policy
    from cli.operator import run

    _show(run(get_policy(suite_folder(data), tenant, version)), as_json=as_json)


@commands.command()
def versions(
    *,
    tenant: Tenant,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the versions of the policy, newest first."""
    from cli.action_policies import list_policies
    from cli.operator import run

    found = run(list_policies(suite_folder(data), tenant, limit))
    if as_json:
        print_json({"action_policies": found})
        return
    rows = [
        [str(each["version"]), _state(each), each.get("create_time", ""), each["principal"], each["reason"]]
        for each in found
    ]
    print_table("", _VERSIONS, rows)


@commands.command()
def check(path: File, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Name everything that is wrong with a policy file; nothing is stored."""
    from cli.action_policies import check_policy, read_document
    from cli.operator import run

    problems = run(check_policy(suite_folder(data), tenant, read_document(path)))
    if as_json:
        print_json({"valid": not problems, "problems": problems})
    elif problems:
        print_table("", _PROBLEMS, _rows(problems))
    else:
        print_lines(f"{path} could be the policy.")
    if problems:
        raise typer.Exit(1)


@commands.command("set")
def set_(
    path: File, *, tenant: Tenant, etag: Etag = "", reason: Reason = "", as_json: Json = False, data: Data = None
) -> None:
    """Make a policy file the shop's policy; it holds for the next recommendation."""
    from cli.action_policies import check_policy, read_document, set_policy
    from cli.operator import run

    folder, document = suite_folder(data), read_document(path)
    try:
        made = run(set_policy(folder, tenant, document, etag, reason))
    except CommandError as error:
        if error.reason == "ACTION_POLICY_INVALID" and not as_json:
            print_table("", _PROBLEMS, _rows(run(check_policy(folder, tenant, document))))
        raise
    _show(made, as_json=as_json)


@commands.command()
def preview(
    path: Annotated[Path | None, typer.Argument(metavar="[FILE.yaml]", help="The policy.", show_default=False)] = None,
    *,
    tenant: Tenant,
    version: Annotated[int, typer.Option(min=0, help="An earlier version, when there is no file.")] = 0,
    size: Annotated[int, typer.Option(min=1, max=200, help="How many tickets to look at.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what a policy would recommend on past tickets, beside what the active one does; nothing is stored."""
    from cli.action_policies import preview as asked
    from cli.action_policies import read_document
    from cli.operator import run

    document = read_document(path) if path is not None else ""
    found = run(asked(suite_folder(data), tenant, document, version, size))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["action"],
            str(each["count"]),
            str(each["new_count"]),
            ", ".join(each["amounts"]),
            ", ".join(each["new_amounts"]),
        ]
        for each in found["actions"]
    ]
    print_table("", _CHANGES, rows)
    left_out = f"; {found['skipped_count']} were left out" if found["skipped_count"] else ""
    print_lines(f"{found['changed_count']} of {len(found['tickets'])} tickets would be given other advice{left_out}.")


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
    """Decide as an earlier version did, by a new version."""
    from cli.action_policies import roll_back
    from cli.operator import run

    _show(run(roll_back(suite_folder(data), tenant, version, etag, reason)), as_json=as_json)


@recommendations.command("show")
def show_recommendation(
    ticket: Annotated[str, typer.Argument(help="A ticket's id or number, e.g. T-001.", show_default=False)],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what is recommended on a ticket, and why."""
    from cli.action_policies import recommendation
    from cli.operator import run

    found = run(recommendation(suite_folder(data), tenant, ticket))
    if as_json:
        print_json(found)
        return
    print_lines(f"Priority {found['priority']}, by version {found['policy_version']} of the policy.")
    for each in found["actions"]:
        worth = f" ({each['worth']['expected_value']:+.2f})" if each.get("worth") else ""
        print_lines(f"{each['priority']}. {each['action']}{worth}", f"   {each['reasoning']}")
    print_lines(*(f"! {each}" for each in found["warnings"]))


@recommendations.command()
def report(
    *,
    tenant: Tenant,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Of how many days.")] = 90,
    version: Annotated[int, typer.Option(min=0, help="Of which version of the policy; 0 for all.")] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Report what became of recommendations, by action and version of the policy.

    Nobody was assigned to an action by chance, so it shows what went with what, not what caused what.
    """
    from cli.action_policies import report as asked
    from cli.operator import run

    found = run(asked(suite_folder(data), tenant, days, version))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            str(each["policy_version"]),
            each["action"],
            *(str(each[f"{name}_count"]) for name in ("made", "shown", "accepted", "edited", "rejected")),
            *(_share(each.get(name)) for name in ("acceptance", "resolved", "returned")),
        ]
        for each in found["lines"]
    ]
    print_table("", _LINES, rows)
    print_lines("Shares with their 95 % intervals; returned: of customers of whom it is known, those who bought again.")


def _show(policy: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(policy)
        return
    print_lines(f"Version {policy['version']}, {_state(policy)}", *policy["document"].splitlines())
    rows = [
        [
            each["action"],
            "yes" if each["enabled"] else "no",
            f"{each['effect']:g}",
            f"{each['minutes']:g}",
            each["gives"],
        ]
        for each in policy["actions"]
    ]
    print_table("", _ACTIONS, rows)


def _state(policy: dict[str, Any]) -> str:
    return "active" if policy["active"] else "earlier"


def _rows(problems: list[dict[str, Any]]) -> list[list[str]]:
    return [[str(each["line"] or ""), each["field"], each["description"]] for each in problems]


def _share(share: dict[str, Any] | None) -> str:
    if not share:
        return ""
    return f"{share['value']:.0%} ({100 * share['low']:.0f}-{100 * share['high']:.0f})"
