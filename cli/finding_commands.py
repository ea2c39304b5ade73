"""`rapport ticket search`, `rapport ticket count` and `rapport alert …`: find tickets, and watch for topics."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Watch for topics: alerts that lift tickets, and topics that spike.", no_args_is_help=True)

Alert = Annotated[str, typer.Argument(help="The alert's id.", show_default=False)]
Status = Annotated[str, typer.Option(help="Only open, pending or closed tickets.")]
Weight = Annotated[float | None, typer.Option(min=0, max=2, help="How far it lifts: 1 is ten hours of waiting.")]
Until = Annotated[str, typer.Option(metavar="TIME", help="When it ends (ISO 8601).")]

_ALERTS = [("id", "left"), ("text", "left"), ("weight", "right"), ("until", "left"), ("by", "left")]


def register(tickets: typer.Typer) -> None:
    """Add the commands that find tickets to those about tickets."""
    tickets.command()(search)
    tickets.command()(count)


def search(
    query: Annotated[str, typer.Argument(help='Words; "two words" in a row, -without, begin*.', show_default=False)],
    *,
    tenant: Tenant,
    status: Status = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to show at most.")] = 20,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Search subjects and messages, the best matches first."""
    from cli import finding
    from cli.operator import run

    found = run(finding.search(suite_folder(data), tenant, query, status, limit))
    if as_json:
        print_json(found)
        return
    columns = [("ticket", "left"), ("status", "left"), ("subject", "left"), ("text", "left")]
    print_table("", columns, [_match(one) for one in found["results"]])
    print_lines(f"{found['matches']['text']} matching")


def count(
    *,
    tenant: Tenant,
    by: Annotated[str, typer.Option(help="status, priority, channel, assignee, tag or breached.")] = "",
    status: Status = "",
    priority: Annotated[str, typer.Option(help="Only tickets with this priority.")] = "",
    channel: Annotated[str, typer.Option(help="Only tickets of this channel.")] = "",
    assigned_to: Annotated[str, typer.Option(help="Only tickets that this person works on.")] = "",
    customer: Annotated[str, typer.Option(help="Only tickets of this customer.")] = "",
    tag: Annotated[str, typer.Option(help="Only tickets with this tag.")] = "",
    breached: Annotated[bool, typer.Option("--breached", help="Only tickets with a broken promise.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Count tickets by filters and kinds."""
    from cli import finding
    from cli.operator import run

    filters = {
        "status": status,
        "priority": priority,
        "channel": channel,
        "assigned_to": assigned_to,
        "customer_id": customer,
        "tag": tag,
        "breached": breached,
    }
    found = run(finding.count(suite_folder(data), tenant, by, **filters))
    if as_json:
        print_json(found)
        return
    rows = [[one["value"] or "(nobody)", one["count"]["text"]] for one in found["groups"]]
    print_table("", [(by or "tickets", "left"), ("tickets", "right")], [*rows, ["all", found["total"]["text"]]])


@commands.command()
def add(
    text: Annotated[str, typer.Argument(help="The word or phrase.", show_default=False)],
    *,
    tenant: Tenant,
    weight: Weight = None,
    until: Until = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Lift every ticket whose subject or customer messages hold a word or phrase."""
    fields = {"text": text, "weight": weight, "expire_time": _end(until)}
    _show(_call(data, tenant, "CreateTopicAlert", **fields), as_json)


@commands.command("list")
def list_(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """List the alerts that are in force, the newest first."""
    found = _call(data, tenant, "ListTopicAlerts")
    if as_json:
        print_json(found)
        return
    print_table("", _ALERTS, [_row(one) for one in found["topic_alerts"]])


@commands.command()
def change(
    alert: Alert,
    *,
    tenant: Tenant,
    weight: Weight = None,
    until: Until = "",
    without_end: Annotated[bool, typer.Option("--without-end", help="Let it last until it is removed.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change the weight or the end of an alert."""
    fields = {"topic_alert": alert, "weight": weight, "expire_time": _end(until), "without_end": without_end}
    _show(_call(data, tenant, "UpdateTopicAlert", **fields), as_json)


@commands.command()
def remove(alert: Alert, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """End an alert."""
    _call(data, tenant, "DeleteTopicAlert", topic_alert=alert)
    if as_json:
        print_json({"removed": alert})
    else:
        print_lines("It no longer lifts tickets.")


@commands.command()
def spikes(
    *,
    tenant: Tenant,
    lasting: Annotated[bool, typer.Option("--lasting", help="Only those that last.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List topics that far more customers write about than usual, the newest first."""
    found = _call(data, tenant, "ListTopicSpikes", lasting_only=lasting)
    if as_json:
        print_json(found)
        return
    rows = [[one["notice_time"], one["sentence"], one.get("end_time") or "lasts"] for one in found["topic_spikes"]]
    print_table("", [("noticed", "left"), ("what", "left"), ("over", "left")], rows)


def _call(data: Any, tenant: str, method: str, **fields: Any) -> dict[str, Any]:
    from cli import finding
    from cli.operator import run

    return run(finding.topics(suite_folder(data), tenant, method, **fields))


def _end(text: str) -> Any:
    from cli import finding

    return finding.end_of(text)


def _show(alert: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"topic_alert": alert})
    else:
        print_table("", _ALERTS, [_row(alert)])


def _row(alert: dict[str, Any]) -> list[str]:
    end = alert.get("expire_time") or "removed"
    return [alert["id"], alert["text"], f"{alert['weight']:g}", end, alert["principal"]]


def _match(found: dict[str, Any]) -> list[str]:
    ticket = found["ticket"]
    text = "".join(f"[{part['text']}]" if part["matched"] else part["text"] for part in found["snippet"])
    return [ticket["number"], ticket["status"], ticket["subject"], text]
