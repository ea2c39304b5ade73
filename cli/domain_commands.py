"""`rapport domain …`: a shop's own domains."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Add, prove, list and remove a shop's own domains.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain, e.g. support.example.com.")]


@commands.command()
def add(name: Name, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Add a domain and show what proves that it is the shop's; until then requests on it are refused."""
    from cli.domains import add_domain
    from cli.operator import run

    domain = run(add_domain(suite_folder(data), tenant, name))
    if as_json:
        print_json({"domain": domain})
        return
    print_lines(f"Added {domain['name']} to {tenant} ({_state(domain)}).")
    if _state(domain) == "pending":
        print_lines(
            f"Serve at: http://{domain['name']}{domain['proof_path']} (or https)", f"The text: {domain['proof_text']}"
        )
        say(f"Then run `rapport domain verify {domain['name']} --tenant {tenant}`, by {domain['expire_time']}.")


@commands.command()
def verify(name: Name, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Look for the proof now; within seconds the domain is then served as the shop's."""
    from cli.domains import verify_domain
    from cli.operator import run

    domain = run(verify_domain(suite_folder(data), tenant, name))
    if as_json:
        print_json({"domain": domain})
        return
    print_lines(f"{domain['name']} is {tenant}'s own.")
    say("Tokens name it from now on: calls with an API key on it work within 30 seconds.")


@commands.command("list")
def list_(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """List a shop's domains by their names."""
    from cli.domains import list_domains
    from cli.operator import run

    domains = run(list_domains(suite_folder(data), tenant))
    if as_json:
        print_json({"domains": domains})
        return
    columns = [("domain", "left"), ("state", "left"), ("created", "left"), ("verified", "left")]
    rows = [[one["name"], _state(one), one.get("create_time", ""), one.get("verify_time", "")] for one in domains]
    print_table("", columns, rows)


@commands.command()
def remove(name: Name, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Remove a domain; another shop may prove it then."""
    from cli.domains import remove_domain
    from cli.operator import run

    run(remove_domain(suite_folder(data), tenant, name))
    if as_json:
        print_json({"removed": name})
        return
    print_lines(f"Removed {name} from {tenant}.")


def _state(domain: dict[str, Any]) -> str:
    return str(domain["state"]).removeprefix("STATE_").lower()
