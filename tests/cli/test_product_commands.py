"""`rapport product …` on a suite that runs: a catalogue comes in, a model is fitted, and suggestions say why."""

from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.product_file import ProductFindings, read_products
from tests.support.suite import Ran, rapport
from tests.support.world import Shop, SuiteUnderTest, call, key_token, new_shop

CATALOGUE = """product_id,title,category,price,currency,stock,url
lamp,Lamp,Light,30.00,EUR,4,https://shop.example.com/lamp
bulb,Warm bulb,Light,4.50,EUR,0,
soap,Soap,Bath,,,,
,Nameless,,,,,
rug,Rug,,12.00,,,
mat,Mat,,,,many,
"""


def run(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command about the shop's products."""
    return rapport("product", *arguments, "--tenant", shop.slug, "--json", "--data", suite.data)


def told(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Any:
    """Run a command that must succeed and return its value."""
    ran = run(suite, shop, *arguments)
    assert ran.code == 0, ran.messages
    return ran.value


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop whose customers have bought lamps and bulbs."""
    shop = await new_shop(suite, "products")
    lines = [
        {
            "order_id": f"o-{number}-{item}",
            "customer_id": f"kim-{number}",
            "order_time": "2026-01-01T00:00:00Z",
            "product_id": item,
            "product_name": item.title(),
            "quantity": 1,
            "unit_price": "3.00",
            "currency_code": "EUR",
        }
        for number in range(12)
        for item in ("lamp", "bulb")
    ]
    token = await key_token(suite, shop.api_key)
    service = "rapport.recommendations.v1.OrderService/ImportOrders"
    await call(suite.grpc["recommendations"], service, {"lines": lines}, token)
    return shop


async def test_products_are_imported_suggested_and_steered(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """From the file to the suggestion: wrong lines are named, the rest is there, and the model has a version."""
    file = tmp_path / "products.csv"
    file.write_text(CATALOGUE)
    imported = told(suite, shop, "import", str(file))
    assert (imported["products"], imported["new"], imported["changed"]) == (3, 3, 0)
    assert [(each["line"], each["problem"]) for each in imported["left_out"]] == [
        (5, "product_id is empty"),
        (6, "price and currency come together"),
        (7, "stock is not a whole number from 0"),
    ]
    assert told(suite, shop, "import", str(file))["changed"] == 0
    listed = told(suite, shop, "list", "--category", "Light")["products"]
    assert [each["product_id"] for each in listed] == ["bulb", "lamp"]
    assert told(suite, shop, "show", "lamp")["price"] == "30.00"

    fitted = told(suite, shop, "fit")
    assert (fitted["in_service"], fitted["recipe"]) == (True, "RECIPE_POPULARITY")
    suggested = told(suite, shop, "recommend", "kim-1")["suggestions"]
    assert [each["product"]["product_id"] for each in suggested] == ["lamp"]
    assert suggested[0]["reason"]["sentence"] == "Bought before."
    both = told(suite, shop, "recommend", "kim-1", "--out-of-stock", "--category", "Light")["suggestions"]
    assert {each["product"]["product_id"] for each in both} == {"lamp", "bulb"}
    assert told(suite, shop, "similar", "lamp")["model_version"] == fitted["version"]

    changed = told(suite, shop, "settings", "--diversity", "0.25")
    assert (changed["diversity"], changed["exploration"]) == (0.25, 0.0)
    again = told(suite, shop, "fit")
    back = told(suite, shop, "rollback", str(fitted["version"]))
    assert (back["version"], back["fixed"]) == (fitted["version"], True)
    versions = told(suite, shop, "models")["product_models"]
    # The background may have fitted one of its own as well.
    assert {again["version"], fitted["version"]} <= {each["version"] for each in versions}
    told(suite, shop, "delete", "soap")
    assert run(suite, shop, "show", "soap").value["error"]["reason"] == "PRODUCT_NOT_FOUND"


async def test_people_read_tables(suite: SuiteUnderTest, shop: Shop) -> None:
    """Without --json suggestions and versions come as tables."""
    told(suite, shop, "fit")
    shown = rapport("product", "recommend", "kim-1", "--tenant", shop.slug, "--data", suite.data)
    assert "Bought before." in shown.output
    assert (
        "popularity and buying again"
        in rapport("product", "models", "--tenant", shop.slug, "--data", suite.data).output
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"id,name\n1,Lamp\n", "lacks the column product_id"),
        (b"product_id,title,title\n1,Lamp,Lamp\n", "has the column title twice"),
        (b"product_id,title\n1,L\xffmp\n", "is not in UTF-8"),
        (b"", "lacks the column product_id"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    """Missing and repeated columns and other encodings are named before anything is sent."""
    file = tmp_path / "products.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError, match=problem):
        list(read_products(file, ProductFindings()))
