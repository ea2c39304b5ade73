"""`rapport connection …`: a shop's connections to its helpdesks."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Connect a shop to its helpdesk.", no_args_is_help=True)


@commands.command()
def create(
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="The helpdesk, e.g. zendesk.")],
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    config: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="What is not secret; may be repeated.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A secret, e.g. webhook_secret; others see it in the process list."),
    ] = None,
    secret_file: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="A secret that stands in a file.")
    ] = None,
    secret_stdin: Annotated[
        str | None, typer.Option(metavar="NAME", help="A secret that is read from standard input.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a connection; the address for the helpdesk's webhooks is shown this once.

    The secret that verifies webhooks is always called webhook_secret.
    """
    from cli.connections import create_connection
    from cli.operator import run

    secrets = _secrets(secret or [], secret_file or [], secret_stdin)
    connection, url = run(
        create_connection(suite_folder(data), tenant, provider, _pairs("--config", config or []), secrets, name)
    )
    if as_json:
        print_json({"connection": connection, "webhook_url": url})
        return
    print_lines(f"Connected {tenant} to {provider} ({connection['id']}).", f"Webhook address: {url}")
    say("The address is shown this once: enter it at the provider now.")


@commands.command("list")
def list_(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """List a shop's connections, oldest first; of secrets only what may be known."""
    from cli.connections import list_connections
    from cli.operator import run

    connections = run(list_connections(suite_folder(data), tenant))
    if as_json:
        print_json({"connections": connections})
        return
    columns = [("id", "left"), ("provider", "left"), ("name", "left"), ("created", "left"), ("secrets", "left")]
    rows = [
        [
            one["id"],
            one["provider"],
            one["display_name"],
            one.get("create_time", ""),
            ", ".join(f"{item['name']} v{item['version']}" for item in one["secrets"]),
        ]
        for one in connections
    ]
    print_table("", columns, rows)


def _secrets(given: list[str], files: list[str], from_input: str | None) -> dict[str, str]:
    """Collect the secrets; an end of line at the end of a file or of the input does not belong to them."""
    found = _pairs("--secret", given)
    for name, path in _pairs("--secret-file", files).items():
        try:
            found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            text = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise CommandError(
                f"--secret-file {name}: cannot read {path}: {text}.", reason="FILE_UNREADABLE"
            ) from error
    if from_input is not None:
        found[from_input] = sys.stdin.read().rstrip("\r\n")
    if empty := [name for name, value in found.items() if not value]:
        raise CommandError(f"The secret '{empty[0]}' is empty.", reason="USAGE")
    return found


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Read `NAME=VALUE` texts; a message about a wrong one never shows it, for it may be a secret."""
    found = {}
    for number, text in enumerate(texts, start=1):
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise CommandError(f"{option} number {number}: write NAME=VALUE.", reason="USAGE")
        if name in found:
            raise CommandError(f"{option}: '{name}' is given twice.", reason="USAGE")
        found[name] = value
    return found
