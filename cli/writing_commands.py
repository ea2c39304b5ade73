"""`rapport writing …`: whether drafts may be written by a language model, by which, and what that costs."""

from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Language models that write a shop's drafts, and what they cost.", no_args_is_help=True)

_MONTHS = [("month", "left"), ("spent", "right"), ("reserved", "right"), ("calls", "right"), ("unsettled", "right")]
_DRAFTS = [("drafts", "right"), ("fallbacks", "right"), ("tokens read", "right"), ("written", "right")]


@commands.command("show")
def show(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show what models may do for a shop, and which it can choose from."""
    from cli.operator import run
    from cli.writing import show as asked

    _show(run(asked(suite_folder(data), tenant)), as_json=as_json)


@commands.command("set")
def change(
    *,
    tenant: Tenant,
    allow: Annotated[
        bool | None, typer.Option("--allow/--forbid", help="Whether drafts may be written by a model.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="One of the models that `show` lists.")] = None,
    budget: Annotated[
        str | None,
        typer.Option("--monthly-budget", metavar="AMOUNT", help="The most that a month may cost, e.g. 25.00."),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Change what is named; the rest stays."""
    from cli.operator import run
    from cli.writing import change as asked

    if allow is None and model is None and budget is None:
        raise CommandError("Name what to change: --allow or --forbid, --model, --monthly-budget.", reason="USAGE")
    _show(run(asked(suite_folder(data), tenant, allow, model, budget)), as_json=as_json)


@commands.command("spend")
def spend(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show what models have cost a shop, by month."""
    from cli.operator import run
    from cli.writing import spend as asked

    found = run(asked(suite_folder(data), tenant))
    if as_json:
        print_json(found)
        return
    currency = found["currency_code"]
    print_lines(f"budget {found['monthly_budget']} {currency} a month".replace("  ", " "))
    rows = [
        [
            *(one["month"], one["spent"], one["reserved"], one["call_count"], one["unsettled_count"]),
            *(one["draft_count"], one["fallback_count"], one["input_tokens"], one["output_tokens"]),
        ]
        for one in found["months"]
    ]
    print_table("", [*_MONTHS, *_DRAFTS], rows)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    currency = found["currency_code"]
    if found["allowed"]:
        print_lines(f"{found['model']} may write, for {found['monthly_budget']} {currency} a month")
    else:
        print_lines("no model may write: all drafts come from the rules")
    rows = [
        [one["name"], f"{one['provider']}/{one['model']}", one["input_price"], one["output_price"]]
        for one in found["models"]
    ]
    heads = [("model", "left"), ("provider", "left"), ("in / 1M", "right"), ("out / 1M", "right")]
    print_table(f"prices in {currency} for a million tokens" if rows else "no model is configured", heads, rows)
