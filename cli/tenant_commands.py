"""`rapport tenant …`: the registry of shops."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Create, list, show, suspend, resume and delete shops.", no_args_is_help=True)

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
    """Delete a shop: its keys and tokens are refused for good and its slug stays taken."""
    _call("DeleteTenant", slug, data, as_json=as_json)


def _call(method: str, slug: str, data: Path | None, *, as_json: bool) -> None:
    """Call a method of the registry that takes a shop's slug, and show the shop that it answers with."""
    from cli.operator import run
    from cli.tenants import call_for_tenant

    tenant = run(call_for_tenant(suite_folder(data), method, slug))
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
    )


def _state(tenant: dict[str, Any]) -> str:
    return str(tenant["state"]).removeprefix("STATE_").lower()
