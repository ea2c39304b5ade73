"""`rapport ticket …`: change a ticket at the helpdesk where it stands."""

import sys
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(
    help="Work on a shop's tickets; note, priority, tag and send do it at the helpdesk (feature write_back).",
    no_args_is_help=True,
)

Ticket = Annotated[str, typer.Argument(help="The ticket's id or number, e.g. T-001.", show_default=False)]
RequestId = Annotated[
    str, typer.Option(metavar="ID", help="Recognises a repetition: the same id makes the change once.")
]
Wait = Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait until it stands at the helpdesk.")]
Text = Annotated[str, typer.Option(help="The text; a dash reads it from standard input.")]

_COLUMNS = [
    ("asked for", "left"),
    ("id", "left"),
    ("ticket", "left"),
    ("what", "left"),
    ("state", "left"),
    ("reason", "left"),
    ("tries", "right"),
]


@commands.command()
def note(
    ticket: Ticket,
    *,
    tenant: Tenant,
    text: Text = "",
    recommendation: Annotated[
        bool, typer.Option("--recommendation", help="Write the current recommendation with its reasons.")
    ] = False,
    request_id: RequestId = "",
    wait: Wait = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add an internal note to a ticket at its helpdesk; the customer never sees it."""
    from cli import writes
    from cli.operator import run

    if bool(text) == recommendation:
        raise CommandError("Give either --text or --recommendation.", reason="USAGE")
    change = writes.note(text_of(text))
    _show(run(writes.write(suite_folder(data), tenant, ticket, change, request_id=request_id, wait=wait)), as_json)


@commands.command()
def priority(
    ticket: Ticket,
    level: Annotated[str, typer.Argument(help="urgent, high, normal or low.", show_default=False)],
    *,
    tenant: Tenant,
    request_id: RequestId = "",
    wait: Wait = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Set a ticket's priority at its helpdesk."""
    from cli import writes
    from cli.operator import run

    change = {"priority": level}
    _show(run(writes.write(suite_folder(data), tenant, ticket, change, request_id=request_id, wait=wait)), as_json)


@commands.command()
def tag(
    ticket: Ticket,
    tags: Annotated[list[str], typer.Argument(help="The tags to add.", show_default=False)],
    *,
    tenant: Tenant,
    request_id: RequestId = "",
    wait: Wait = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add tags to those that a ticket has at its helpdesk."""
    from cli import writes
    from cli.operator import run

    change = writes.tags(tags)
    _show(run(writes.write(suite_folder(data), tenant, ticket, change, request_id=request_id, wait=wait)), as_json)


@commands.command()
def send(
    ticket: Ticket,
    *,
    tenant: Tenant,
    text: Text,
    request_id: RequestId = "",
    wait: Wait = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Send a reply to the customer through the helpdesk. Nothing else ever reaches a customer."""
    from cli import writes
    from cli.operator import run

    text = text_of(text)
    _show(run(writes.send(suite_folder(data), tenant, ticket, text, request_id=request_id, wait=wait)), as_json)


@commands.command("writes")
def list_(
    *,
    tenant: Tenant,
    state: Annotated[str, typer.Option(metavar="STATE", help="Only pending, done or dead ones.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List what was to be changed at the helpdesk and what became of it, the newest first."""
    from cli.operator import run
    from cli.writes import list_writes

    found = run(list_writes(suite_folder(data), tenant, state, limit))
    if as_json:
        print_json({"writes": found})
        return
    print_table("", _COLUMNS, [_row(each) for each in found])


@commands.command()
def retry(
    write: Annotated[str, typer.Argument(help="The id of a dead change.", show_default=False)],
    *,
    tenant: Tenant,
    send: Annotated[bool, typer.Option("--send", help="A reply may go out: its customer reads it then.")] = False,
    wait: Wait = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Have a change that died tried again; what the helpdesk has already is not made twice."""
    from cli.operator import run
    from cli.writes import retry as again

    _show(run(again(suite_folder(data), tenant, write, send_reply=send, wait=wait)), as_json)


def text_of(given: str) -> str:
    """Return the text, read from standard input for a dash."""
    return sys.stdin.read().rstrip("\r\n") if given == "-" else given


def _show(found: dict[str, Any], as_json: bool) -> None:
    """Tell what became of a change; a dead one is a failure."""
    state, what = _word(found["state"]), _word(found["kind"])
    if as_json:
        print_json({"write": found})
    elif state == "done":
        made = "It stands at the helpdesk now" if found["made"] else "It stood at the helpdesk already"
        print_lines(f"{made}: {what} ({found['id']}).")
    elif state == "pending":
        why = f" ({found['reason']})" if found["reason"] else ""
        print_lines(f"It waits{why}: {what} ({found['id']}).")
    if state == "dead":
        say(f"It could not be made: {found['reason']}. Then: rapport ticket retry {found['id']}")
        raise typer.Exit(1)


def _row(found: dict[str, Any]) -> list[str]:
    return [
        found["create_time"],
        found["id"],
        found["ticket_id"],
        _word(found["kind"]),
        _word(found["state"]),
        found["reason"],
        str(found["attempts"]),
    ]


def _word(name: str) -> str:
    return name.partition("_")[2].lower()
