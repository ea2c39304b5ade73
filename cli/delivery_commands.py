"""`rapport deliveries …`: what became of a shop's webhooks, and decisions about those that got stuck."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Follow webhooks that came in; decide about those that got stuck.", no_args_is_help=True)

State = Annotated[
    str, typer.Option(help="Only pending, processed, superseded, quarantined, dead or discarded ones.", metavar="STATE")
]
Connection = Annotated[str, typer.Option(help="Only those of the connection with this id.", metavar="ID")]
Provider = Annotated[str, typer.Option(help="Only those of this provider, e.g. zendesk.")]
Reason = Annotated[str, typer.Option(help="Only those that stand where they do for this reason.")]
Since = Annotated[str, typer.Option(help="Only those received at this time or later (ISO 8601).", metavar="TIME")]
Until = Annotated[str, typer.Option(help="Only those received before this time (ISO 8601).", metavar="TIME")]
Ids = Annotated[list[str] | None, typer.Argument(help="The ids of the deliveries.", show_default=False)]

_COLUMNS = [
    ("received", "left"),
    ("id", "left"),
    ("provider", "left"),
    ("state", "left"),
    ("reason", "left"),
    ("tries", "right"),
    ("copies", "right"),
    ("replays", "right"),
]
_STUCK = ("dead", "quarantined")


@commands.command("list")
def list_(
    *,
    tenant: Tenant,
    state: State = "",
    connection: Connection = "",
    provider: Provider = "",
    reason: Reason = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List a shop's deliveries, the newest first."""
    from cli.deliveries import Filters, list_deliveries
    from cli.operator import run

    filters = Filters(state, connection, provider, reason, since, until)
    found = run(list_deliveries(suite_folder(data), tenant, filters, limit))
    if as_json:
        print_json({"deliveries": found})
        return
    print_table("", _COLUMNS, [_row(each) for each in found])


@commands.command()
def show(
    delivery: Annotated[str, typer.Argument(help="The delivery's id.")],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show a delivery with its replays; what the provider sent is never shown."""
    from cli.deliveries import show_delivery
    from cli.operator import run

    found = run(show_delivery(suite_folder(data), tenant, delivery))
    if as_json:
        print_json({"delivery": found})
        return
    print_table("", _COLUMNS, [_row(found)])
    for replay in found["replays"]:
        state, why = _word(replay["state_before"]), replay["reason_before"] or "no reason"
        print_lines(f"replay {replay['number']} ({replay['id']}) at {replay['create_time']}: was {state}, {why}")


@commands.command()
def tail(
    *,
    tenant: Tenant,
    state: State = "",
    connection: Connection = "",
    provider: Provider = "",
    reason: Reason = "",
    last: Annotated[int, typer.Option(min=0, max=200, help="How many of those that are there to show first.")] = 10,
    count: Annotated[int, typer.Option(min=0, help="End after so many lines; 0 goes on until Ctrl-C.")] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show deliveries as they come and each time their state changes; with --json one object on each line."""
    from cli.deliveries import Filters, tail_deliveries
    from cli.operator import run

    async def follow() -> None:
        shown = 0
        filters = Filters(state, connection, provider, reason)
        async for each in tail_deliveries(suite_folder(data), tenant, filters, last):
            if as_json:
                print_json(each)
            else:
                print_lines("  ".join(f"{cell:<11}" for cell in _row(each)).rstrip())
            shown += 1
            if shown == count:
                return

    try:
        run(follow())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


@commands.command()
def balance(
    *,
    tenant: Annotated[str, typer.Option("--tenant", help="The shop's slug; without it, every shop.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Account for every webhook that was ever admitted; ends with 1 when something does not add up."""
    from cli.deliveries import balances
    from cli.operator import run

    found = run(balances(suite_folder(data), tenant))
    if as_json:
        print_json(found[0] if tenant else {"balances": found})
    else:
        names = list(found[0]["balance"]) if found else []
        columns = [("shop", "left"), *((name, "right") for name in names), ("adds up", "left")]
        rows = [[one["tenant"], *(str(one["balance"][name]) for name in names), _yes(one["adds_up"])] for one in found]
        print_table("", columns, rows)
    if not all(one["adds_up"] for one in found):
        say("The balance does not add up: see the runbook.")
        raise typer.Exit(1)


@commands.command()
def replay(
    ids: Ids = None,
    *,
    tenant: Tenant,
    state: Annotated[str, typer.Option(help="Without ids: all that are dead or quarantined.", metavar="STATE")] = "",
    connection: Connection = "",
    provider: Provider = "",
    reason: Reason = "",
    request_id: Annotated[
        str, typer.Option(help="The replay's own id (UUID); repeating it starts no other one.", metavar="UUID")
    ] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Process dead or quarantined deliveries anew; effects that they had do not happen again."""
    from cli.deliveries import replay_deliveries
    from cli.operator import run

    chosen = _chosen(ids, state, connection, provider, reason)
    found = run(replay_deliveries(suite_folder(data), tenant, ids or [], chosen, request_id))
    _print_decided(found, "replayed", as_json=as_json)


@commands.command()
def discard(
    ids: Ids = None,
    *,
    tenant: Tenant,
    state: Annotated[str, typer.Option(help="Without ids: all that are dead or quarantined.", metavar="STATE")] = "",
    connection: Connection = "",
    provider: Provider = "",
    reason: Reason = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Give dead or quarantined deliveries up."""
    from cli.deliveries import discard_deliveries
    from cli.operator import run

    chosen = _chosen(ids, state, connection, provider, reason)
    found = run(discard_deliveries(suite_folder(data), tenant, ids or [], chosen))
    _print_decided(found, "discarded", as_json=as_json)


def _chosen(ids: list[str] | None, state: str, connection: str, provider: str, reason: str) -> Any:
    """Return what finds the deliveries to decide about; None when they are named."""
    from cli.deliveries import Filters

    if bool(ids) == bool(state):
        raise CommandError("Name the deliveries, or say --state dead or --state quarantined.", reason="USAGE")
    if state and state not in _STUCK:
        raise CommandError("Only dead and quarantined deliveries wait for a decision.", reason="USAGE")
    return Filters(state, connection, provider, reason) if state else None


def _print_decided(found: list[dict[str, Any]], word: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"deliveries": found})
        return
    refused = [each for each in found if "refused" in each]
    print_lines(f"{len(found) - len(refused)} {word}, {len(refused)} not: somebody decided about them before.")


def _row(delivery: Mapping[str, Any]) -> list[str]:
    return [
        str(delivery.get("receive_time", ""))[:19].replace("T", " "),
        str(delivery["id"]),
        str(delivery["provider"]),
        _word(delivery["state"]),
        str(delivery["reason"]),
        str(delivery["attempts"]),
        str(delivery["duplicates"]),
        str(delivery["replay_count"]),
    ]


def _word(state: str) -> str:
    return state.removeprefix("STATE_").lower()


def _yes(value: bool) -> str:
    return "yes" if value else "NO"
