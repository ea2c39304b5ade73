"""`rapport ticket …`, the part that works on tickets where Rapport keeps them."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.spans import span
from cli.suite.folder import suite_folder
from cli.ticket_commands import Text, text_of

Tickets = Annotated[list[str], typer.Argument(help="The tickets' ids or numbers, e.g. T-001.", show_default=False)]
Ticket = Annotated[str, typer.Argument(help="The ticket's id or number, e.g. T-001.", show_default=False)]

_SIMPLE = {
    "close": "Close tickets.",
    "reopen": "Open closed tickets again.",
    "wake": "Open snoozed tickets before their time.",
    "pin": "Put tickets above all that are not pinned.",
    "unpin": "Put pinned tickets back among the others.",
    "deescalate": "Put escalated tickets back among the others.",
}
_HISTORY = [("when", "left"), ("what", "left"), ("who", "left"), ("changes", "left")]


def register(commands: typer.Typer) -> None:
    """Add the commands to `rapport ticket`."""
    for name, text in _SIMPLE.items():
        commands.command(name, help=text)(_simple(name))
    for command in (snooze, escalate, change, show, history, reply, merge, unmerge):
        commands.command()(command)


def _simple(name: str) -> Callable[..., None]:
    def command(tickets: Tickets, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
        from cli import work

        _do(tickets, tenant, work.simple(name), as_json, data)

    return command


def snooze(
    tickets: Tickets,
    *,
    tenant: Tenant,
    until: Annotated[str, typer.Option(metavar="MOMENT", help="When they wake, e.g. 2026-12-24T08:00:00+01:00.")] = "",
    span_: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long they sleep, e.g. 4h or 3d.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Set tickets aside until a moment, or until their customer writes."""
    from cli import work

    if bool(until) == bool(span_):
        raise CommandError("Give either --until or --for.", reason="USAGE")
    _do(tickets, tenant, work.snooze(work.moment(until, span("--for", span_) if span_ else None)), as_json, data)


def escalate(
    tickets: Tickets,
    *,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="Why; it stands in the history.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Put tickets above all that are neither pinned nor escalated."""
    from cli import work

    _do(tickets, tenant, work.escalate(reason), as_json, data)


def change(
    tickets: Tickets,
    *,
    tenant: Tenant,
    priority: Annotated[str, typer.Option(help="urgent, high, normal or low.")] = "",
    assign: Annotated[str | None, typer.Option(metavar="NAME", help="Who works on them; '' for nobody.")] = None,
    add_tag: Annotated[list[str] | None, typer.Option(help="A tag to add; may be repeated.")] = None,
    remove_tag: Annotated[list[str] | None, typer.Option(help="A tag to remove; may be repeated.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change the priority, the assignee or the tags of tickets."""
    from cli import work

    _do(tickets, tenant, work.fields(priority, assign, add_tag or [], remove_tag or []), as_json, data)


def show(ticket: Ticket, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show a ticket."""
    from cli import work
    from cli.operator import run

    _print(run(work.show(suite_folder(data), tenant, ticket)), as_json)


def history(
    ticket: Ticket,
    *,
    tenant: Tenant,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How much to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what happened to a ticket, by whom and when, the newest first."""
    from cli import work
    from cli.operator import run

    entries = run(work.history(suite_folder(data), tenant, ticket, limit))
    if as_json:
        print_json({"entries": entries})
        return
    rows = [[one["create_time"], one["action"], one["principal"], _changes(one)] for one in entries]
    print_table("", _HISTORY, rows)


def reply(
    ticket: Ticket,
    *,
    tenant: Tenant,
    text: Text,
    name: Annotated[str, typer.Option(help="The agent's name.")] = "",
    status: Annotated[str, typer.Option(help="The ticket's status afterwards: open, pending or closed.")] = "pending",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Add an agent's reply to a ticket; `rapport ticket send` is what goes out through a helpdesk."""
    from cli import work
    from cli.operator import run

    found = run(work.reply(suite_folder(data), tenant, ticket, text_of(text), name, status))
    if as_json:
        print_json(found)
        return
    _print(found["ticket"], as_json)


def merge(
    ticket: Ticket,
    *,
    tenant: Tenant,
    into: Annotated[str, typer.Option(metavar="TICKET", help="The ticket that goes on.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Let a ticket go on in another one, which shows the messages of both."""
    from cli import work
    from cli.operator import run

    _print(run(work.merge(suite_folder(data), tenant, ticket, into)), as_json)


def unmerge(ticket: Ticket, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Undo a merge: the ticket goes on by itself again."""
    from cli import work
    from cli.operator import run

    _print(run(work.unmerge(suite_folder(data), tenant, ticket)), as_json)


def _do(tickets: list[str], tenant: str, action: Any, as_json: bool, data: Any) -> None:
    """Do one thing to tickets and tell what became of each; one that was refused is a failure."""
    from cli import work
    from cli.operator import run

    outcomes = run(work.do_all(suite_folder(data), tenant, tickets, action))
    refused = [one for one in outcomes if one["reason"]]
    if as_json:
        print_json({"outcomes": outcomes})
    else:
        print_lines(*(_line(one["changed"]) for one in outcomes if not one["reason"]))
    for one in refused:
        say(f"{one['ticket']}: {one['detail']}")
    if refused:
        raise typer.Exit(1)


def _print(ticket: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"ticket": ticket})
    else:
        print_lines(_line(ticket))


def _line(ticket: dict[str, Any]) -> str:
    """Return a ticket on one line: number, status, marks, priority, who works on it, tags."""
    marks = [name for name in ("pinned", "escalated") if ticket[name]]
    if ticket.get("snooze_until"):
        marks.append(f"until {ticket['snooze_until']}")
    if ticket["merged_into"]:
        marks.append(f"merged into {ticket['merged_into']}")
    status = f"{ticket['status']} ({', '.join(marks)})" if marks else ticket["status"]
    return "  ".join([ticket["number"], status, ticket["priority"], ticket["assigned_to"] or "-", *ticket["tags"]])


def _changes(entry: dict[str, Any]) -> str:
    fields = [f"{one['name']}: {one['before'] or '-'} → {one['after'] or '-'}" for one in entry["fields"]]
    return "; ".join([*fields, *(f"{name} {value}" for name, value in sorted(entry["details"].items()))])
