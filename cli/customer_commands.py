"""`rapport customer …`: what a shop keeps of one customer."""

from dataclasses import asdict
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What a shop keeps of one customer.", no_args_is_help=True)


@commands.callback()
def customer() -> None:
    """What a shop keeps of one customer."""


@commands.command()
def erase(
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in the shop's own words.")],
    *,
    tenant: Tenant,
    also: Annotated[
        list[str] | None,
        typer.Option(help="Another id or address by which helpdesks know them; may be repeated.", metavar="TEXT"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without being asked again.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Forget a customer: contact, orders, profile, tickets, advice, every copy, and what helpdesks sent about them.

    The helpdesk and the shop system keep what they have. Run it again after an interruption: it goes on.
    """
    if not yes:
        raise CommandError(f"Erasing {customer_id} cannot be undone: say so with --yes.", reason="USAGE")
    from cli.customers import erase_customer
    from cli.operator import run

    done = run(erase_customer(suite_folder(data), tenant, customer_id, also or []))
    if as_json:
        print_json(asdict(done))
        return
    known = "is forgotten" if done.known else "was not known"
    print_lines(f"{customer_id} {known}: {done.orders} orders, {done.tickets} tickets, {done.deliveries} deliveries.")
