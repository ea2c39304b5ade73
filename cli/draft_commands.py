"""`rapport draft …`: what a ticket is proposed to be answered, and on what that rests."""

import sys
from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What a ticket is proposed to be answered, and on what that rests.", no_args_is_help=True)

Ticket = Annotated[str, typer.Argument(help="The ticket's number (T-001) or its id.", show_default=False)]


@commands.callback()
def draft() -> None:
    """What a ticket is proposed to be answered, and on what that rests."""


@commands.command()
def show(ticket: Ticket, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show a ticket's current draft; it is written if there is none for the conversation as it stands."""
    from cli.drafts import get_draft
    from cli.operator import run

    found = run(get_draft(suite_folder(data), tenant, ticket))
    if as_json:
        print_json(found)
        return
    print_lines(found["draft"])
    _rest(found)


@commands.command()
def write(
    ticket: Ticket,
    *,
    tenant: Tenant,
    tone: Annotated[str, typer.Option(help="friendly, professional, empathetic or apologetic.")] = "",
    length: Annotated[str, typer.Option(help="short, medium or long.")] = "",
    language: Annotated[str, typer.Option(help="Such as de; the customer's own unless it is named.")] = "",
    template: Annotated[str, typer.Option(help="Answer this subject instead, such as refund.")] = "",
    offer: Annotated[bool, typer.Option("--offer", help="Name an offer, if a policy of the shop makes one.")] = False,
    action: Annotated[list[int] | None, typer.Option(help="Name this action (by its place, from 0).")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Write a ticket's draft anew, and show it while it is written."""
    from cli.drafts import write_draft
    from cli.operator import run

    wish = {
        "tone": tone,
        "length": length,
        "language": language,
        "template": template,
        "include_offer": offer,
        "include_actions": action or [],
    }
    made = run(write_draft(suite_folder(data), tenant, ticket, wish, _quiet if as_json else _tell))
    if as_json:
        print_json(made)
        return
    print_lines("")
    _rest(made)


def _tell(text: str) -> None:
    """Print a piece of the text as it comes."""
    sys.stdout.write(text or "\n(What stands above does not hold.)\n")
    sys.stdout.flush()


def _quiet(_: str) -> None:
    """Print nothing: the draft comes as a whole."""


def _rest(found: dict[str, Any]) -> None:
    """Print what a draft rests on."""
    print_lines("", f"{found['tone']}, {found['length']}, {found['language']}; by {found['source']}")
    print_lines(*(f"  {fact['id']}: {fact['text']}" for fact in found["facts_used"]))
    print_lines(*(f"  ! {label}" for label in found["labels"]))
