"""`rapport tenant …`: the registry of shops."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(
    help="Create, change, suspend, delete, bring back, erase and export shops.", no_args_is_help=True
)

Slug = Annotated[str, typer.Argument(help="The shop's slug.")]


@commands.command()
def create(
    *,
    slug: Annotated[str, typer.Option(help="Its short name: lower-case letters, digits, hyphens.")],
    name: Annotated[str, typer.Option(help="Its name for people.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Create a shop and its first API key, which is shown this once."""
    from cli.operator import run
    from cli.tenants import create_tenant

    tenant, api_key = run(create_tenant(suite_folder(data), slug, name))
    if as_json:
        print_json({"tenant": tenant, "api_key": api_key})
        return
    print_lines(f"Created {slug} ({tenant['id']}).", f"API key: {api_key}")
    say("The key is shown this once: keep it now.")


@commands.command("list")
def list_(
    *,
    deleted: Annotated[bool, typer.Option("--deleted", help="Show deleted shops as well.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the shops in the order of their slugs."""
    from cli.operator import run
    from cli.tenants import list_tenants

    tenants = run(list_tenants(suite_folder(data), deleted=deleted))
    if as_json:
        print_json({"tenants": tenants})
        return
    columns = [("slug", "left"), ("name", "left"), ("state", "left"), ("id", "left"), ("created", "left")]
    rows = [[one["slug"], one["name"], _state(one), one["id"], one.get("create_time", "")] for one in tenants]
    print_table("", columns, rows)


@commands.command()
def show(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Show a shop with its features and settings."""
    _call("GetTenant", slug, data, as_json=as_json)


@commands.command()
def suspend(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Refuse a shop's keys and tokens until it is resumed; nothing is lost."""
    _call("SuspendTenant", slug, data, as_json=as_json)


@commands.command()
def resume(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Accept a suspended shop's keys and tokens again."""
    _call("ResumeTenant", slug, data, as_json=as_json)


@commands.command()
def delete(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Delete a shop: its keys and tokens are refused, and after a time of grace everything of it is erased."""
    _call("DeleteTenant", slug, data, as_json=as_json)


@commands.command()
def undelete(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Bring a deleted shop back as it was; possible until its purge time."""
    _call("UndeleteTenant", slug, data, as_json=as_json)


@commands.command()
def update(
    slug: Slug,
    *,
    name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    environment: Annotated[str | None, typer.Option(help="production, staging, development or demo.")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="Switch a feature: NAME=on or NAME=off.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Set a setting: NAME=VALUE; commas part lists.")] = None,
    unset: Annotated[list[str] | None, typer.Option(help="Take a feature or setting back to its default.")] = None,
    etag: Annotated[str, typer.Option(help="Refuse if the shop has changed since this version.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change a shop's name, environment, features and settings; what is not named stays."""
    from cli.operator import run
    from cli.tenants import TenantChange, update_tenant

    change = TenantChange(name, environment, _pairs(feature), _pairs(setting), unset or [], etag)
    _show(run(update_tenant(suite_folder(data), slug, change)), as_json=as_json)


@commands.command()
def erase(
    slug: Slug,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without being asked again.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Erase a deleted shop now: every service forgets it, and nothing brings it back."""
    from cli.operator import run
    from cli.tenants import erase_tenant

    if not yes:
        raise CommandError(f"Erasing {slug} cannot be undone: say so with --yes.", reason="USAGE")
    _show_report(run(erase_tenant(suite_folder(data), slug, lambda text: say(f"  {text}"))), as_json=as_json)


@commands.command()
def report(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Show what was removed when a shop was erased."""
    from cli.operator import run
    from cli.tenants import call_for_tenant

    _show_report(run(call_for_tenant(suite_folder(data), "GetErasure", slug)), as_json=as_json)


@commands.command()
def export(
    slug: Slug,
    *,
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Write everything of a shop into a folder: JSON lines by table, and a manifest. Secrets are left out."""
    from cli.operator import run
    from cli.tenant_export import MANIFEST, export_tenant

    manifest = run(export_tenant(suite_folder(data), slug, to, lambda text: say(f"  {text}")))
    if as_json:
        print_json(manifest)
        return
    rows = sum(table["rows"] for table in manifest["tables"])
    print_lines(f"Exported {slug}: {rows} rows of {len(manifest['tables'])} tables; see {to / MANIFEST}.")
    say("The folder holds personal data: keep it as you would keep the database.")


def _call(method: str, slug: str, data: Path | None, *, as_json: bool) -> None:
    """Call a method of the registry that takes a shop's slug, and show the shop that it answers with."""
    from cli.operator import run
    from cli.tenants import call_for_tenant

    _show(run(call_for_tenant(suite_folder(data), method, slug)), as_json=as_json)


def _show(tenant: dict[str, Any], *, as_json: bool) -> None:
    """Show a shop."""
    if as_json:
        print_json({"tenant": tenant})
        return
    features = ", ".join(sorted(name for name, on in tenant.get("features", {}).items() if on)) or "none"
    settings = ", ".join(f"{name}={value}" for name, value in sorted(tenant.get("settings", {}).items())) or "none"
    print_lines(
        f"{tenant['slug']}: {tenant['name']}",
        f"  state     {_state(tenant)}",
        f"  id        {tenant['id']}",
        f"  features  {features}",
        f"  settings  {settings}",
        *([f"  erased    from {tenant['purge_time']} on"] if "purge_time" in tenant else []),
    )


def _show_report(erasure: dict[str, Any], *, as_json: bool) -> None:
    """Show the report of an erasure."""
    if as_json:
        print_json({"erasure": erasure})
        return
    ended = erasure.get("complete_time", "not yet: it goes on")
    print_lines(
        f"{erasure['slug']} ({erasure['tenant_id']})",
        f"  asked for by  {erasure['requester']}",
        f"  begun         {erasure['start_time']}",
        f"  complete      {ended}",
    )
    rows = [[one["service"], one["table"], str(one["row_count"])] for one in erasure["removed"]]
    print_table("", [("service", "left"), ("table", "left"), ("rows removed", "right")], rows)


def _pairs(given: list[str] | None) -> dict[str, str]:
    """Return NAME=VALUE arguments by name."""
    pairs = {}
    for one in given or []:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise CommandError(f"{one} is not of the form NAME=VALUE.", reason="USAGE")
        pairs[name] = value
    return pairs


def _state(tenant: dict[str, Any]) -> str:
    return str(tenant["state"]).removeprefix("STATE_").lower()
