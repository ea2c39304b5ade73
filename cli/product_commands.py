"""`rapport product …`: what a shop sells, what of it is suggested, and by which model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What a shop sells, and what of it is suggested to whom.", no_args_is_help=True)

Product = Annotated[str, typer.Argument(help="The product's id in the shop's own words.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, max=50, help="How many to show at most.")]
Share = Annotated[float | None, typer.Option(min=0, max=1, help="From 0 to 1; without it the shop's settings hold.")]

_OWNED = {"included": 1, "excluded": 2, "only": 3}
_PRODUCTS = [("product", "left"), ("title", "left"), ("category", "left"), ("price", "right"), ("stock", "right")]
_SUGGESTIONS = [("product", "left"), ("title", "left"), ("score", "right"), ("because", "left")]
_MODELS = [
    ("version", "right"),
    ("", "left"),
    ("ranks by", "left"),
    ("purchases until", "left"),
    ("customers", "right"),
    ("products", "right"),
    ("NDCG@10 on held-back days", "left"),
]
_MOST_SHOWN = 20


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file, gzipped or not.", show_default=False)],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Put the products of a file into a shop's catalogue; those that are there already are replaced.

    Columns: product_id and title; category, price, currency, stock and url where they are known. Wrong lines are left
    out and named; all others are taken.
    """
    from cli.operator import run
    from cli.product_file import ProductFindings, read_products
    from cli.products import import_products

    findings = ProductFindings()
    counts = run(import_products(suite_folder(data), tenant, read_products(file, findings)))
    if not counts["products"] and not findings.bad_rows:
        raise CommandError(f"{file} holds no product.", reason="NOTHING_TO_IMPORT")
    if as_json:
        bad = [{"line": line, "problem": problem} for line, problem in findings.bad_rows]
        print_json({**counts, "left_out": bad})
        return
    for line, problem in findings.bad_rows[:_MOST_SHOWN]:
        say(f"  line {line}: {problem}")
    if len(findings.bad_rows) > _MOST_SHOWN:
        say(f"  and {len(findings.bad_rows) - _MOST_SHOWN} more")
    print_lines(
        f"{counts['products']} products: {counts['new']} new, {counts['changed']} changed;"
        f" {len(findings.bad_rows)} lines left out."
    )


@commands.command("list")
def list_(
    *,
    tenant: Tenant,
    category: Annotated[str, typer.Option(help="Only products of this category.")] = "",
    unlisted: Annotated[bool, typer.Option("--unlisted", help="Also what is known from orders only.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show at most.")] = 50,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the products of a shop's catalogue."""
    from cli.operator import run
    from cli.products import list_products

    found = run(list_products(suite_folder(data), tenant, category, limit, with_unlisted=unlisted))
    if as_json:
        print_json({"products": found})
        return
    print_table("", _PRODUCTS, [_row(one) for one in found])


@commands.command()
def show(product: Product, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show a product."""
    from cli.operator import run
    from cli.products import get_product

    found = run(get_product(suite_folder(data), tenant, product))
    if as_json:
        print_json(found)
        return
    print_table("", _PRODUCTS, [_row(found)])


@commands.command()
def delete(product: Product, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Take a product out of a shop's catalogue; orders keep it."""
    from cli.operator import run
    from cli.products import delete_product

    run(delete_product(suite_folder(data), tenant, product))
    if as_json:
        print_json({"product_id": product})
        return
    print_lines(f"{product} is out of the catalogue.")


@commands.command()
def recommend(
    customer: Annotated[str, typer.Argument(help="The customer's id in the shop's own words.", show_default=False)],
    *,
    tenant: Tenant,
    category: Annotated[list[str] | None, typer.Option(help="Only products of this category; may be repeated.")] = None,
    owned: Annotated[str, typer.Option(help="What was bought before: included, excluded or only.")] = "included",
    out_of_stock: Annotated[bool, typer.Option("--out-of-stock", help="Also what is not in stock.")] = False,
    diversity: Share = None,
    exploration: Share = None,
    limit: Limit = 10,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what a customer may buy next, and why."""
    from rapport.recommendations.v1 import product_service_pb2

    from cli.operator import run
    from cli.products import recommend as asked

    if owned not in _OWNED:
        raise CommandError("--owned is included, excluded or only.", reason="USAGE")
    request = product_service_pb2.RecommendProductsRequest(
        customer_id=customer,
        limit=limit,
        categories=category or (),
        with_out_of_stock=out_of_stock,
        owned=_OWNED[owned],  # type: ignore[arg-type]
        diversity=diversity,
        exploration=exploration,
    )
    _suggested(run(asked(suite_folder(data), tenant, request)), as_json=as_json)


@commands.command()
def similar(product: Product, *, tenant: Tenant, limit: Limit = 10, as_json: Json = False, data: Data = None) -> None:
    """Show what goes with a product."""
    from cli.operator import run
    from cli.products import similar as asked

    _suggested(run(asked(suite_folder(data), tenant, product, limit)), as_json=as_json)


@commands.command()
def models(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """List the versions of a shop's product model, with what they were worth on days held back."""
    from cli.operator import run
    from cli.products import list_models

    found = run(list_models(suite_folder(data), tenant))
    if as_json:
        print_json({"product_models": found})
        return
    print_table("", _MODELS, [_model(one) for one in found])


@commands.command()
def fit(
    *,
    tenant: Tenant,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="How many seconds to wait for it.")] = 300,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Fit a shop's product model anew; it serves unless it is worse than the present one on held-back days."""
    from cli.operator import run
    from cli.products import fit as asked

    found = run(asked(suite_folder(data), tenant, wait))
    if as_json:
        print_json(found)
        return
    print_table("", _MODELS, [_model(found)])


@commands.command()
def rollback(
    version: Annotated[int, typer.Argument(min=1, help="The version to go back to.", show_default=False)],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Put an earlier version in service; it stays until `rapport product fit`."""
    from cli.operator import run
    from cli.products import roll_back

    found = run(roll_back(suite_folder(data), tenant, version))
    if as_json:
        print_json(found)
        return
    print_table("", _MODELS, [_model(found)])


@commands.command()
def settings(
    *, tenant: Tenant, diversity: Share = None, exploration: Share = None, as_json: Json = False, data: Data = None
) -> None:
    """Show or change how far alike products are kept apart, and the part of places for what few have bought yet."""
    from cli.operator import run
    from cli.products import settings as asked

    found = run(asked(suite_folder(data), tenant, diversity, exploration))
    if as_json:
        print_json(found)
        return
    print_lines(f"diversity {found['diversity']:g}, exploration {found['exploration']:g}")


def _row(one: dict[str, Any]) -> list[str]:
    price = f"{one['price']} {one['currency_code']}" if one["price"] else ""
    return [one["product_id"], one["title"], one["category"], price, str(one.get("stock", ""))]


def _suggested(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    rows = [
        [
            one["product"]["product_id"],
            one["product"]["title"],
            f"{one['score']:.4f}",
            one["reason"]["sentence"],
        ]
        for one in answer["suggestions"]
    ]
    print_table("", _SUGGESTIONS, rows)
    print_lines(f"by version {answer['model_version']}" if answer["model_version"] else "no model has been fitted yet")


def _model(one: dict[str, Any]) -> list[str]:
    state = ("in service, fixed" if one["fixed"] else "in service") if one["in_service"] else ""
    worth = ", ".join(f"{each['name'].replace('_', ' ')} {each['ndcg10']:.3f}" for each in one["qualities"])
    return [
        str(one["version"]),
        state,
        "neighbours" if one["recipe"] == "RECIPE_NEIGHBOURS" else "popularity and buying again",
        one["until"][:10],
        str(one["customer_count"]),
        str(one["item_count"]),
        worth or "too few customers to tell",
    ]
