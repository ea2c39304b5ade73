"""How long it takes in process to suggest products: by the number of products, with and without settings.

Catalogues and purchases are drawn at random with a fixed seed: as many neighbours as a model keeps, as many purchases
as a loyal customer has. Processor time, so that a busy machine does not count; no database, no gRPC.
`python -m bench.products [--fit PRODUCTS,LINES,CUSTOMERS] [--json]`
"""

import argparse
import json
import resource
import statistics
import time
from typing import Any

import numpy as np

from services.recommendations.products.assortment import COLD, VECTOR, Offer, of_model
from services.recommendations.products.learning import Lines, learn
from services.recommendations.products.model import ProductModel, unpack
from services.recommendations.products.neighbours import KEPT
from services.recommendations.products.suggesting import Bought, Wish, suggest

SIZES = (1_000, 4_000, 8_000, 50_000)
BOUGHT = 50
COLD_PRODUCTS = 2_000
CALLS = 2_000
_UNTIL = 20_000
_WISHES = {
    "plain": Wish(),
    "filtered": Wish(owned="excluded", categories=("c-1", "c-2", "c-3")),
    "diverse": Wish(diversity=0.3, exploration=0.2, seed="kim"),
}


def drawn_model(size: int) -> ProductModel:
    """Return a model of that many products, each with as many neighbours as are kept."""
    draw = np.random.default_rng(size)
    return ProductModel(
        tuple(f"item-{number}" for number in range(size)),
        np.arange(0, (size + 1) * KEPT, KEPT, dtype=np.int32),
        draw.integers(0, size, size * KEPT, dtype=np.int32),
        draw.random(size * KEPT).astype(np.float16),
        draw.integers(COLD, 500, size, dtype=np.int32),
        draw.integers(0, 50, size, dtype=np.int32),
        np.exp(draw.normal(0, 0.3, size)).astype(np.float32),
        _UNTIL,
    )


def measured(size: int) -> dict[str, float]:
    """Return milliseconds of a call (p50 and p99) by the wish, and what the shop takes on disk and in memory."""
    model = drawn_model(size)
    draw = np.random.default_rng(1)
    ids = [*model.items, *(f"new-{number}" for number in range(COLD_PRODUCTS))]
    vectors = draw.integers(-127, 128, (len(ids), VECTOR)).astype(np.int8)
    offers = [
        Offer(item, True, True, f"c-{number % 20}", number % 9 > 0, vectors[number].tobytes())
        for number, item in enumerate(ids)
    ]
    started = time.perf_counter()
    assortment = of_model(model).changed(offers, 1)
    found: dict[str, float] = {"load_offers_ms": (time.perf_counter() - started) * 1000}
    packed = model.pack()
    started = time.perf_counter()
    unpack(packed)
    found["load_model_ms"] = (time.perf_counter() - started) * 1000
    found["packed_megabytes"] = len(packed) / 1e6
    found["held_megabytes"] = (model.size + assortment.size) / 1e6
    customers = [
        [Bought(f"item-{item}", 2, _UNTIL - int(item) % 300) for item in draw.integers(0, size, BOUGHT)]
        for _ in range(100)
    ]
    for name, wish in _WISHES.items():
        times = []
        for call in range(CALLS):
            started = time.thread_time()
            suggest(model, assortment, customers[call % len(customers)], wish, _UNTIL)
            times.append((time.thread_time() - started) * 1000)
        found[f"{name}_p50_ms"] = statistics.median(times)
        found[f"{name}_p99_ms"] = statistics.quantiles(times, n=100)[98]
    return found


def fitted(items: int, lines: int, customers: int) -> dict[str, float]:
    """Return seconds of a fit with its judging, and the megabytes that this process has needed at most so far."""
    draw = np.random.default_rng(1)
    chance = 1 / np.arange(1, items + 1) ** 0.9
    bought = Lines(
        draw.integers(0, customers, lines),
        draw.choice(items, lines, p=chance / chance.sum()).astype(np.int64),
        np.floor(draw.random(lines) * 700),
        np.array([f"item-{number}" for number in range(items)]),
        700,
    )
    started = time.perf_counter()
    learn(bought, None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"fit_seconds": time.perf_counter() - started, "peak_megabytes": peak}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on one line")
    parser.add_argument("--fit", metavar="PRODUCTS,LINES,CUSTOMERS", help="measure a fit of that size instead")
    asked = parser.parse_args()
    as_json = asked.json
    if asked.fit:
        found = {asked.fit.partition(",")[0]: fitted(*(int(number) for number in asked.fit.split(",")))}
    else:
        found = {str(size): measured(size) for size in SIZES}
    results: dict[str, Any] = {
        f"products_{size}.{name}": round(value, 3) for size, values in found.items() for name, value in values.items()
    }
    if as_json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:40} {value:10.3f}")


if __name__ == "__main__":
    main()
