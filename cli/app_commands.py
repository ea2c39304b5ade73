"""`rapport app …`: vendors' apps, whose one secret signs for all shops; and `rapport connection predecessor`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.connection_commands import Id as ConnectionId
from cli.connection_commands import collect_secrets
from cli.connection_commands import commands as connection_commands
from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.pairs import named_values
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Register vendors' apps, whose one secret signs for all shops.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="APP", help="The app's id; `rapport app list` shows it.")]

_WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - the name of a secret


@commands.command()
def create(
    *,
    provider: Annotated[str, typer.Option(help="The vendor: intercom, hubspot or shopify.")],
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="allowed_addresses: where webhooks may come from."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="The secret webhook_secret; others see it in the process list."),
    ] = None,
    secret_file: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="The secret stands in a file.")
    ] = None,
    secret_stdin: Annotated[
        str | None, typer.Option(metavar="NAME", help="The secret is read from standard input.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make an app; the address for the vendor's webhooks is shown this once.

    The secret is always called webhook_secret. A shop gets what its own account sends once `rapport connection test`
    has proved that the account is its own.
    """
    from cli.apps import create_app
    from cli.operator import run

    found = collect_secrets(secret or [], secret_file or [], secret_stdin)
    if set(found) != {_WEBHOOK_SECRET}:
        raise CommandError(f"Give the secret {_WEBHOOK_SECRET}, and no other.", reason="USAGE")
    settings = dict(named_values("--config", config or []))
    made = run(create_app(suite_folder(data), provider, settings, found[_WEBHOOK_SECRET], name))
    if as_json:
        print_json(made)
        return
    print_lines(f"Made an app of {provider} ({made['app']['id']}).", f"Webhook address: {made['webhook_url']}")
    say("The address is shown this once: enter it at the vendor now.")


@commands.command("list")
def list_(*, as_json: Json = False, data: Data = None) -> None:
    """List the apps, oldest first; of secrets only what may be known."""
    from cli.apps import list_apps
    from cli.operator import run

    apps = run(list_apps(suite_folder(data)))
    if as_json:
        print_json({"apps": apps})
        return
    columns = [("id", "left"), ("provider", "left"), ("name", "left"), ("created", "left"), ("secrets", "left")]
    rows = [
        [
            app["id"],
            app["provider"],
            app["display_name"],
            app.get("create_time", ""),
            ", ".join(f"{item['name']} v{item['version']}" for item in app["secrets"]),
        ]
        for app in apps
    ]
    print_table("", columns, rows)


@commands.command()
def rotate(
    app: Id,
    *,
    secret_file: Annotated[Path | None, typer.Option(help="The new webhook secret stands in a file.")] = None,
    secret_stdin: Annotated[bool, typer.Option(help="The new webhook secret is read from standard input.")] = False,
    address: Annotated[bool, typer.Option(help="Make a new address instead.")] = False,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=168, help="How long what was valid before stays so.")
    ] = 24.0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Store a new webhook secret, or make a new address; for a while the old one is still taken."""
    from cli.apps import rotate_app_address, rotate_app_secret
    from cli.operator import run

    overlap, folder = timedelta(hours=overlap_hours), suite_folder(data)
    if [secret_file is not None, secret_stdin, address].count(True) != 1:
        raise CommandError("Give one of --secret-file, --secret-stdin and --address.", reason="USAGE")
    if address:
        url = run(rotate_app_address(folder, app, overlap))
        if as_json:
            print_json({"webhook_url": url})
            return
        print_lines(f"Webhook address: {url}")
        say(f"It is shown this once: enter it at the vendor within {overlap_hours:g} hours.")
        return
    files = [f"{_WEBHOOK_SECRET}={secret_file}"] if secret_file else []
    secret = collect_secrets([], files, _WEBHOOK_SECRET if secret_stdin else None)[_WEBHOOK_SECRET]
    found = run(rotate_app_secret(folder, app, secret, overlap))
    if as_json:
        print_json({"app": found})
        return
    print_lines(f"Rotated the webhook secret of {app}.")
    say(f"The vendor must sign with it within {overlap_hours:g} hours: so long the old one is taken as well.")


@commands.command()
def delete(
    app: Id,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without being asked again.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Delete an app with its addresses and its secret, at once and for good; shops' connections stay."""
    from cli.apps import delete_app
    from cli.operator import run

    if not yes:
        raise CommandError(f"Deleting {app} cannot be undone: say so with --yes.", reason="USAGE")
    run(delete_app(suite_folder(data), app))
    if as_json:
        print_json({"deleted": app})
        return
    print_lines(f"Deleted {app}.")


@connection_commands.command()
def predecessor(
    connection: ConnectionId,
    *,
    tenant: Tenant,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"], help="When it ends (UTC).")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End it now.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Take the predecessor's webhooks as well, until a date; each one that only this lets in is in the audit log.

    A connection to gorgias is then also reached by POST /api/gorgias/webhook with its secret in X-Webhook-Token.
    """
    from cli.apps import set_predecessor_mode
    from cli.operator import run

    if (until is None) is not off:
        raise CommandError("Give one of --until and --off.", reason="USAGE")
    end = until.replace(tzinfo=UTC) if until else None
    found: dict[str, Any] = run(set_predecessor_mode(suite_folder(data), tenant, connection, end))
    if as_json:
        print_json({"connection": found})
        return
    state = f"on until {found['predecessor_expire_time']}" if found.get("predecessor_expire_time") else "off"
    print_lines(f"Predecessor mode of {connection} is {state}.")
