"""`rapport connection …`: a shop's connections to its helpdesks."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.pairs import named_values
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Connect a shop to its helpdesk.", no_args_is_help=True)

Id = Annotated[
    str, typer.Argument(metavar="CONNECTION", help="The connection's id; `rapport connection list` shows it.")
]

_WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - the name of a secret


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

    secrets = collect_secrets(secret or [], secret_file or [], secret_stdin)
    made = run(create_connection(suite_folder(data), tenant, provider, _pairs("--config", config or []), secrets, name))
    if as_json:
        print_json({name: value for name, value in made.items() if value})
        return
    print_lines(f"Connected {tenant} to {provider} ({made['connection']['id']}).")
    if not made["webhook_url"]:
        say("It has no webhook secret: the address of the vendor's app receives for it (rapport app create).")
        return
    print_lines(f"Webhook address: {made['webhook_url']}")
    if made["webhook_secret"]:
        print_lines(f"Webhook secret: {made['webhook_secret']}")
        say("Have the provider send the secret along, in the header x-webhook-token.")
    say("This is shown this once: enter it at the provider now.")


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


@commands.command()
def show(connection: Id, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show a connection: its settings, what may be known of its secrets, and how calls of its provider went."""
    from cli.connections import get_connection
    from cli.operator import run

    found = run(get_connection(suite_folder(data), tenant, connection))
    if as_json:
        print_json({"connection": found})
        return
    print_lines(f"{found['provider']} {found['id']} {found['display_name']}".rstrip())
    print_lines(*(f"  {name}: {value}" for name, value in sorted(found["config"].items())))
    print_lines(*(_secret(one) for one in found["secrets"]))
    if end := found.get("predecessor_expire_time"):
        print_lines(f"  Predecessor mode: on until {end}")
    if health := found.get("health"):
        print_lines(_health(health))


@commands.command()
def update(
    connection: Id,
    *,
    tenant: Tenant,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    config: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A setting; nothing after = removes it.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A credential of the provider's API; others see it in the process list."
        ),
    ] = None,
    secret_file: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="A credential that stands in a file.")
    ] = None,
    secret_stdin: Annotated[
        str | None, typer.Option(metavar="NAME", help="A credential that is read from standard input.")
    ] = None,
    remove_secret: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Remove a credential.")] = None,
    etag: Annotated[str, typer.Option(help="Change it only in the state with this etag.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change a connection's name, settings and credentials; the rest stays. `rotate` changes the webhook secret."""
    from cli.connections import update_connection
    from cli.operator import run

    secrets = collect_secrets(secret or [], secret_file or [], secret_stdin) | dict.fromkeys(remove_secret or [], "")
    settings = _pairs("--config", config or [])
    if name is None and not settings and not secrets:
        raise CommandError("Nothing to change: give --name, --config or a secret.", reason="USAGE")
    work = update_connection(
        suite_folder(data), tenant, connection, name=name, config=settings, secrets=secrets, etag=etag
    )
    found = run(work)
    if as_json:
        print_json({"connection": found})
        return
    print_lines(f"Changed {connection}.")
    if secrets or settings:
        say(f"Try it: rapport connection test {connection} --tenant {tenant}")


@commands.command("test")
def try_out(connection: Id, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Call the provider and say what works, what is wrong, and what to do about it; exits with 1 when it fails."""
    from cli.connections import test_connection
    from cli.operator import run

    found = run(test_connection(suite_folder(data), tenant, connection))
    if as_json:
        print_json(found)
    else:
        for one in found["findings"]:
            word = one["outcome"].removeprefix("OUTCOME_").lower()
            print_lines(f"{one['check']}: {word}. {one['detail']}" + (f" [{one['reason']}]" if one["reason"] else ""))
            if one["advice"]:
                print_lines(f"  {one['advice']}")
    if not found["passed"]:
        raise typer.Exit(1)


@commands.command()
def rotate(
    connection: Id,
    *,
    tenant: Tenant,
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
    from cli.connections import rotate_address, rotate_secret
    from cli.operator import run

    overlap, folder = timedelta(hours=overlap_hours), suite_folder(data)
    if [secret_file is not None, secret_stdin, address].count(True) != 1:
        raise CommandError("Give one of --secret-file, --secret-stdin and --address.", reason="USAGE")
    if address:
        url = run(rotate_address(folder, tenant, connection, overlap))
        if as_json:
            print_json({"webhook_url": url})
            return
        print_lines(f"Webhook address: {url}")
        say(f"It is shown this once: enter it at the provider within {overlap_hours:g} hours.")
        return
    files = [f"{_WEBHOOK_SECRET}={secret_file}"] if secret_file else []
    secret = collect_secrets([], files, _WEBHOOK_SECRET if secret_stdin else None)[_WEBHOOK_SECRET]
    found = run(rotate_secret(folder, tenant, connection, secret, overlap))
    if as_json:
        print_json({"connection": found})
        return
    print_lines(f"Rotated the webhook secret of {connection}.")
    say(f"Enter it at the provider within {overlap_hours:g} hours: so long the old one is taken as well.")


@commands.command()
def delete(
    connection: Id,
    *,
    tenant: Tenant,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without being asked again.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Delete a connection with its address and its secrets, at once and for good; what came in is still processed."""
    from cli.connections import delete_connection
    from cli.operator import run

    if not yes:
        raise CommandError(f"Deleting {connection} cannot be undone: say so with --yes.", reason="USAGE")
    run(delete_connection(suite_folder(data), tenant, connection))
    if as_json:
        print_json({"deleted": connection})
        return
    print_lines(f"Deleted {connection}.")


def _secret(secret: dict[str, Any]) -> str:
    """Return in a line what may be known of a secret."""
    end = f", until {secret['expire_time']}" if secret.get("expire_time") else ""
    shown = f", ends in {secret['last_four']}" if secret["last_four"] else ""
    return f"  {secret['name']}: set, version {secret['version']}{shown}, since {secret['create_time']}{end}"


def _health(health: dict[str, Any]) -> str:
    """Return in a line how calls went."""
    state = health["state"].removeprefix("STATE_").lower()
    if state == "failing":
        words = f"{health['failure_reason']}, {health['failure_detail']}"
        return f"  API: failing since {health['failing_since']} ({words})"
    return f"  API: {state}" + (f", last used {health['success_time']}" if health.get("success_time") else "")


def collect_secrets(given: list[str], files: list[str], from_input: str | None) -> dict[str, str]:
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
    """Read `NAME=VALUE` texts of different names."""
    found: dict[str, str] = {}
    for name, value in named_values(option, texts):
        if name in found:
            raise CommandError(f"{option}: '{name}' is given twice.", reason="USAGE")
        found[name] = value
    return found
