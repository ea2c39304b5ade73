"""`rapport customer …`: what a shop keeps of one customer."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from cli.customers import Told

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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell which tickets and deliveries would go.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without being asked again.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Forget a customer: contact, orders, profile, tickets, advice, every copy, and what helpdesks sent about them.

    The helpdesk and the shop system keep what they have; for 90 days nothing from before comes in from there again.
    Run it again after an interruption, and when deliveries wait: it goes on.
    """
    from cli.customers import erase_customer, tell_customer
    from cli.operator import run

    if dry_run:
        _tell(run(tell_customer(suite_folder(data), tenant, customer_id, also or [])), as_json=as_json)
        return
    if not yes:
        raise CommandError(f"Erasing {customer_id} cannot be undone: say so with --yes.", reason="USAGE")
    done = run(erase_customer(suite_folder(data), tenant, customer_id, also or []))
    if as_json:
        print_json(asdict(done))
        return
    known = "is forgotten" if done.known else "was not known"
    print_lines(f"{customer_id} {known}: {done.orders} orders, {done.tickets} tickets, {done.deliveries} deliveries.")
    if done.waiting:
        print_lines(f"{done.waiting} more deliveries mention them and are pending: run this again when they are done.")


def _tell(told: "Told", *, as_json: bool) -> None:
    """Print what an erasure would remove."""
    if as_json:
        print_json(asdict(told))
        return
    print_lines(f"{len(told.tickets)} tickets and {len(told.deliveries)} deliveries would go.")
    for hit in told.deliveries:
        why = f"mentions {hit.mentioned} at {hit.place or 'no name'}" if hit.mentioned else "belongs to a ticket"
        print_lines(f"{hit.delivery}  {hit.state}  {why}")
