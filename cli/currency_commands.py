"""`rapport currency …`: what other currencies are worth to a shop."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What other currencies are worth to a shop.", no_args_is_help=True)


@commands.callback()
def currency() -> None:
    """What other currencies are worth to a shop."""


@commands.command()
def show(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show the shop's currency, which currencies its orders are in, and the rates that were stated."""
    from cli.currencies import currencies_of
    from cli.operator import run

    _tell(run(currencies_of(suite_folder(data), tenant)), as_json=as_json)


@commands.command("set")
def set_(
    code: Annotated[str, typer.Argument(metavar="CURRENCY", help="The currency, for example USD.")],
    rate: Annotated[str, typer.Argument(help="What one unit is worth in the shop's currency, for example 0.92.")],
    *,
    since: Annotated[
        str, typer.Option("--from", metavar="DAY", help="The first day of orders that it holds for, 2026-01-31.")
    ],
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """State what a currency is worth from a day on, until the next stated day."""
    _change(code, since, rate, tenant, as_json=as_json, data=data)


@commands.command()
def remove(
    code: Annotated[str, typer.Argument(metavar="CURRENCY", help="The currency, for example USD.")],
    *,
    since: Annotated[str, typer.Option("--from", metavar="DAY", help="The day that the rate was stated for.")],
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Take a rate back."""
    _change(code, since, "", tenant, as_json=as_json, data=data)


def _change(code: str, day: str, rate: str, tenant: str, *, as_json: bool, data: Data) -> None:
    from cli.currencies import set_rate
    from cli.operator import run

    _tell(run(set_rate(suite_folder(data), tenant, code, day, rate)), as_json=as_json)


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if not found["currency_code"]:
        print_lines("No order has come in yet.")
        return
    print_table(
        f"Orders; amounts count in {found['currency_code']}",
        [("currency", "left"), ("orders", "right"), ("not counted as money", "right")],
        [[one["currency_code"], one["order_count"], one["uncounted_order_count"]] for one in found["uses"]],
    )
    print_table(
        "Rates",
        [("currency", "left"), ("from", "left"), ("rate", "right")],
        [[one["currency_code"], one["day"], one["rate"]] for one in found["rates"]],
    )
