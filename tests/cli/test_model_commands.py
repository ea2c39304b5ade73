"""`rapport model …` on a suite that runs: a fit in the background, its verdict, and the way back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tests.support.suite import rapport
from tests.support.world import Shop, SuiteUnderTest, call, key_token, new_shop


def told(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Any:
    """Run a command about the shop's models that must succeed, and return its value."""
    ran = rapport("model", *arguments, "--tenant", shop.slug, "--json", "--data", suite.data)
    assert ran.code == 0, ran.messages
    return ran.value


def orders(customers: int) -> list[dict[str, object]]:
    """Return the orders of a shop whose customers buy every few weeks."""
    draw, today, lines = np.random.default_rng(1), datetime.now(UTC), []
    for customer in range(customers):
        when = today - timedelta(days=int(draw.integers(200, 300)))
        while when < today:
            lines.append(
                {
                    "order_id": f"o-{customer}-{when:%y%m%d}",
                    "customer_id": f"c-{customer}",
                    "order_time": when.isoformat(),
                    "product_id": "lamp",
                    "product_name": "Lamp",
                    "quantity": 1,
                    "unit_price": f"{draw.uniform(5, 90):.2f}",
                    "currency_code": "EUR",
                }
            )
            when += timedelta(days=float(draw.exponential(30)) + 1)
    return lines


async def test_a_model_is_fitted_shown_and_gone_back_from(suite: SuiteUnderTest) -> None:
    """The first fit is better than a music shop's parameters and serves; a rollback stays until a fit is asked for."""
    shop = await new_shop(suite, "models")
    token = await key_token(suite, shop.api_key)
    lines = orders(130)
    for start in range(0, len(lines), 500):
        service = "rapport.recommendations.v1.OrderService/ImportOrders"
        await call(suite.grpc["recommendations"], service, {"lines": lines[start : start + 500]}, token)
    done = told(suite, shop, "fit", "--wait", "120")
    assert done["serving_version"] >= 1, done
    listed = told(suite, shop, "list")
    assert listed["fitting"]["serving_version"] == done["serving_version"]
    shown = told(suite, shop, "show")
    assert shown["verdict"].startswith("better on held-back time")
    assert shown["trials"][0]["bgnbd"]["brier"] < shown["served_brier"]
    back = told(suite, shop, "rollback")
    assert (back["serving_version"], back["held"]) == (0, True)
    missing = rapport("model", "show", "99", "--tenant", shop.slug, "--json", "--data", suite.data)
    assert missing.code == 1
