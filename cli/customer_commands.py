"""`rapport customer …`: what a shop keeps of one customer."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines
from cli.suite.folder import suite_folder

if TYPE_CHECKING:
    from cli.customers import Told

Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id in the shop's own words.")]

commands = typer.Typer(help="What a shop keeps of one customer.", no_args_is_help=True)


@commands.callback()
def customer() -> None:
    """What a shop keeps of one customer."""


@commands.command()
def erase(
    customer_id: Customer,
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


@commands.command()
def export(
    customer_id: Customer,
    *,
    tenant: Tenant,
    to: Annotated[Path | None, typer.Option(help="A file to write to, which nobody but you may read.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Export all that is kept of a customer, as lines of JSON: who they are, profile, orders, advice, tickets."""
    from cli.operator import run
    from cli.people import export_customer
    from cli.suite.secret_files import write_private

    records = run(export_customer(suite_folder(data), tenant, customer_id))
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if to is not None:
        write_private(to, lines)
    if as_json:
        print_json({"customer": customer_id, "records": len(records), "to": str(to) if to else None, "kept": records})
    elif to is None:
        print_lines(*lines.splitlines())
    else:
        print_lines(f"{len(records)} records about {customer_id} are in {to}.")


@commands.command()
def identities(customer_id: Customer, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Tell who a customer is: all their ids, by what they are known, what joined whom, and who else they may be."""
    from cli.operator import run
    from cli.people import identities_of

    found = run(identities_of(suite_folder(data), tenant, customer_id))
    if as_json:
        print_json(found)
        return
    print_lines(f"{found['customer_id']}: {', '.join(found['customer_ids'])}")
    for one in found["identities"]:
        print_lines(f"  {one['kind']} {one['value']} ({one['source']}, since {one['create_time']})")
    for merge in found["merges"]:
        print_lines(f"  {_merged(merge)}")
    for one in found["possible_matches"]:
        print_lines(
            f"  maybe {one['customer_id']}: the same {one['kind']} {one['value']}; against it: {one['against']}"
        )


@commands.command()
def merge(
    survivor_id: Annotated[str, typer.Argument(metavar="SURVIVOR", help="The customer who survives.")],
    customer_id: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer who is the same one.")],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a customer one with another one: histories add up, and both ids go on working. It can be undone."""
    from cli.operator import run
    from cli.people import merge_customers

    done = run(merge_customers(suite_folder(data), tenant, survivor_id, customer_id))
    if as_json:
        print_json({"merge": done})
    else:
        print_lines(_merged(done))


@commands.command()
def unmerge(
    merge_id: Annotated[str, typer.Argument(metavar="MERGE", help="The merge, as `customer identities` shows it.")],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Take a merge back: both customers are what they were, and evidence alone does not join them again."""
    from cli.operator import run
    from cli.people import undo_merge

    done = run(undo_merge(suite_folder(data), tenant, merge_id))
    if as_json:
        print_json({"merge": done})
    else:
        print_lines(_merged(done))


def _merged(merge: dict[str, Any]) -> str:
    """Return a merge in one line."""
    who = "a person" if merge["origin"] == "ORIGIN_PERSON" else "evidence"
    why = "; ".join(f"{one['kind']} {one['value']} with {', '.join(one['shared_with'])}" for one in merge["evidence"])
    ended = f", undone {merge['undo_time']}: {merge['undo_reason']}" if merge.get("undo_time") else ""
    joined = f"{merge['customer_id']} is {merge['survivor_id']} by {who} since {merge['create_time']}"
    return f"{merge['merge_id']}  {joined}{f' ({why})' if why else ''}{ended}"


def _tell(told: "Told", *, as_json: bool) -> None:
    """Print what an erasure would remove."""
    if as_json:
        print_json(asdict(told))
        return
    print_lines(f"{len(told.tickets)} tickets and {len(told.deliveries)} deliveries would go.")
    for hit in told.deliveries:
        why = f"mentions {hit.mentioned} at {hit.place or 'no name'}" if hit.mentioned else "belongs to a ticket"
        print_lines(f"{hit.delivery}  {hit.state}  {why}")
