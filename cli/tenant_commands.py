"""`rapport tenant …`: the registry of shops."""

from typing import Annotated, Any

import typer

from cli.operator import as_dict, operator_of, run
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import SuiteFolder, suite_folder

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
    tenants = run(_list(suite_folder(data), deleted=deleted))
    if as_json:
        print_json({"tenants": tenants})
        return
    columns = [("slug", "left"), ("name", "left"), ("state", "left"), ("id", "left"), ("created", "left")]
    rows = [[one["slug"], one["name"], _state(one), one["id"], one.get("create_time", "")] for one in tenants]
    print_table("", columns, rows)


@commands.command()
def show(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Show a shop with its features and settings."""
    _report(run(_change(suite_folder(data), "GetTenant", slug)), as_json=as_json)


@commands.command()
def suspend(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Refuse a shop's keys and tokens until it is resumed; nothing is lost."""
    _report(run(_change(suite_folder(data), "SuspendTenant", slug)), as_json=as_json)


@commands.command()
def resume(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Accept a suspended shop's keys and tokens again."""
    _report(run(_change(suite_folder(data), "ResumeTenant", slug)), as_json=as_json)


@commands.command()
def delete(slug: Slug, *, as_json: Json = False, data: Data = None) -> None:
    """Delete a shop: its keys and tokens are refused for good and its slug stays taken."""
    _report(run(_change(suite_folder(data), "DeleteTenant", slug)), as_json=as_json)


async def create_tenant(folder: SuiteFolder, slug: str, name: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """Create a shop; return it and the text of its first API key. `fields` are further fields of the tenant."""
    from rapport.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc

    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        request = tenant_service_pb2.CreateTenantRequest(tenant=tenant_pb2.Tenant(slug=slug, name=name, **fields))
        answer = await tenants.CreateTenant(request, metadata=await operator.metadata(), timeout=30)
    return as_dict(answer.tenant), answer.api_key


async def _list(folder: SuiteFolder, *, deleted: bool) -> list[dict[str, Any]]:
    from rapport.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        while True:
            request = tenant_service_pb2.ListTenantsRequest(page_size=200, page_token=token, show_deleted=deleted)
            page = await tenants.ListTenants(request, metadata=await operator.metadata(), timeout=30)
            found += [as_dict(tenant) for tenant in page.tenants]
            token = page.next_page_token
            if not token:
                return found


async def _change(folder: SuiteFolder, method: str, slug: str) -> dict[str, Any]:
    """Call a method that takes a tenant's slug and answers with the tenant."""
    from rapport.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        request = getattr(tenant_service_pb2, f"{method}Request")(tenant=slug)
        answer = await getattr(tenants, method)(request, metadata=await operator.metadata(), timeout=30)
    return as_dict(answer)


def _report(tenant: dict[str, Any], *, as_json: bool) -> None:
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
