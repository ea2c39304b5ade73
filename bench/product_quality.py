"""What suggested products are worth, asked of the code that serves them: with settings, and for cold products apart.

Learnt from the orders before a day, judged by what the same customers bought in the months after it: NDCG@10, the mean
over customers with its 95 % interval (bootstrap).
`python -m bench.product_quality --orders FILE [--cut 2011-07-01] [--end 2011-10-01] [--json]`
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cli.evaluation import Orders, read_orders
from cli.order_file import OrderFile
from servicekit.embedding import embed
from services.recommendations.evaluation.metrics import Measured, mean_of
from services.recommendations.products.assortment import Assortment, Offer, of_model, packed_vectors
from services.recommendations.products.model import ProductModel, of_weights
from services.recommendations.products.neighbours import neighbours
from services.recommendations.products.purchases import purchases
from services.recommendations.products.quality import BEST
from services.recommendations.products.suggesting import Bought, Wish, suggest

_DAY = 86_400
_MANY = 100
SETTINGS = {
    "plain": Wish(),
    **{f"diversity_{share}": Wish(diversity=share) for share in (0.1, 0.2, 0.3)},
    **{f"exploration_{share}": Wish(exploration=share) for share in (0.1, 0.2)},
}


class Judged:
    """A shop as it stood on a day, and what its customers bought afterwards."""

    def __init__(self, orders: Orders, titles: dict[str, str], cut: int, end: int) -> None:
        lines = [
            (customer, item, int(seconds // _DAY))
            for customer, item, seconds in zip(orders.customers, orders.items, orders.seconds, strict=True)
        ]
        before = [line for line in lines if line[2] < cut]
        days = np.array([line[2] for line in before], dtype=np.float64)
        known = purchases([line[0] for line in before], [line[1] for line in before], days, float(cut))
        self.model: ProductModel = of_weights(known, neighbours(known))
        self.bought: dict[str, list[Bought]] = {}
        own: dict[tuple[str, str], set[int]] = {}
        for customer, item, day in before:
            own.setdefault((customer, item), set()).add(day)
        for (customer, item), on in own.items():
            self.bought.setdefault(customer, []).append(Bought(item, len(on), max(on)))
        self.later: dict[str, set[str]] = {}
        for customer, item, day in lines:
            if cut <= day < end and customer in self.bought:
                self.later.setdefault(customer, set()).add(item)
        items = sorted({line[1] for line in lines if line[2] < end})
        vectors = packed_vectors(embed([titles.get(item, "") for item in items]))
        offers = [Offer(item, True, True, "", True, vector) for item, vector in zip(items, vectors, strict=True)]
        self.assortment: Assortment = of_model(self.model).changed(offers, 1)
        cold = {self.assortment.ids[place] for place in self.assortment.cold}
        only = [replace(offer, listed=offer.product_id in cold) for offer in offers]
        self.cold: Assortment = of_model(self.model).changed(only, 1)

    def worth(self, relevant: Callable[[str], set[str]], answer: Callable[[str], Iterable[str]]) -> Measured:
        """Return NDCG@10 of answers to all customers of whom anything is relevant."""
        asked = [(customer, wanted) for customer in self.later if (wanted := relevant(customer))]
        return mean_of(np.array([_ndcg(list(answer(customer))[:BEST], wanted) for customer, wanted in asked]))

    def ask(self, customer: str, wish: Wish, *, cold: bool = False) -> list[str]:
        """Return what is suggested to a customer, of all products or of the cold ones."""
        among = self.cold if cold else self.assortment
        drawn = replace(wish, seed=customer)
        found = suggest(self.model, among, self.bought[customer], drawn, self.model.until)
        return [one.product_id for one in found]

    def owned(self, customer: str) -> set[str]:
        """Return what a customer bought before."""
        return {one.product_id for one in self.bought[customer]}


def measured(judged: Judged) -> dict[str, Any]:
    """Return all measures, and how many different products were suggested."""
    known = set(judged.model.items)
    cold = {judged.assortment.ids[place] for place in judged.assortment.cold}
    result: dict[str, Any] = {"customers": len(judged.later), "products": len(judged.assortment.ids)}
    for name, wish in SETTINGS.items():
        fresh = replace(wish, owned="excluded")
        result[f"{name}.all"] = judged.worth(lambda one: judged.later[one] & known, partial(judged.ask, wish=wish))
        result[f"{name}.new"] = judged.worth(
            lambda one: (judged.later[one] & known) - judged.owned(one), partial(judged.ask, wish=fresh)
        )
        result[f"{name}.different_products"] = len({item for one in judged.later for item in judged.ask(one, wish)})

    def relevant(customer: str) -> set[str]:
        return (judged.later[customer] & cold) - judged.owned(customer)

    def lately(customer: str) -> Sequence[str]:
        places = [place for place in judged.assortment.cold if place < judged.assortment.known]
        ranked = sorted(places, key=lambda place: -int(judged.model.recent[place]))[:_MANY]
        return [item for place in ranked if (item := judged.assortment.ids[place]) not in judged.owned(customer)]

    result["cold_products"] = len(cold)
    result["cold.ours"] = judged.worth(relevant, partial(judged.ask, wish=Wish(owned="excluded"), cold=True))
    result["cold.last_months_popularity"] = judged.worth(relevant, lately)
    return result


def _ndcg(found: Sequence[str], wanted: set[str]) -> float:
    discount = 1.0 / np.log2(np.arange(2, BEST + 2))
    gained = sum(float(discount[place]) for place, item in enumerate(found) if item in wanted)
    return gained / float(discount[: min(BEST, len(wanted))].sum())


def _unwatched(*, completed: float) -> None:
    """Let nobody know how far the reading has come."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=Path, required=True, help="an order file, see `rapport evaluate`")
    parser.add_argument("--cut", type=date.fromisoformat, default=date(2011, 7, 1))
    parser.add_argument("--end", type=date.fromisoformat, default=date(2011, 10, 1))
    parser.add_argument("--json", action="store_true", help="one JSON value on one line")
    asked = parser.parse_args()
    orders = read_orders(OrderFile(asked.orders), _unwatched)
    first = date(1970, 1, 1)
    result = measured(Judged(orders, orders.titles, (asked.cut - first).days, (asked.end - first).days))
    flat = {
        name: value if isinstance(value, int) else {"value": value.value, "low": value.low, "high": value.high}
        for name, value in result.items()
    }
    if asked.json:
        print(json.dumps(flat))
        return
    for name, value in flat.items():
        shown = value if isinstance(value, int) else f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        print(f"{name:36} {shown}")


if __name__ == "__main__":
    main()
