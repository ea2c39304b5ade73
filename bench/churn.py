"""What the churn model is worth beside everything it must be compared to, on CDNOW and on Online Retail.

The model is judged with its correction wherever that can be learnt, beside BG/NBD alone: a shop is served the
correction only where it was better on held-back time twice.
`python -m bench.churn [--cdnow CDNOW_master.txt] [--retail online_retail.csv.gz] [--json]`. CDNOW is in the PyPI wheel
`lifetimes` 0.11.3, folder `lifetimes/datasets`; Online Retail is UCI's (doi 10.24432/C5BW33, CC BY 4.0). Neither is in
this repository; a file that is not named is left out.
"""

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from cli.evaluation import read_orders
from cli.order_file import OrderFile
from services.recommendations import bgnbd, model
from services.recommendations.activity import Activity, Log, cut, spent_within
from services.recommendations.bgnbd import Numbers
from services.recommendations.evaluation import metrics
from services.recommendations.evaluation.metrics import measured
from services.recommendations.outlook import taught_days

_DAY = 86_400.0
_EPOCH = date(1970, 1, 1)
CUTS = {"cdnow": (("1997-10-01", 273), ("1997-10-01", 107)), "retail": (("2011-07-01", 92), ("2011-06-01", 90))}


def cdnow(path: Path) -> Log:
    """Return the purchases of CDNOW's master file; what was free is left out."""
    rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    paid = [row for row in rows if len(row) == 4 and row[0].isdigit() and float(row[3]) > 0]  # noqa: PLR2004 - columns
    days = [float((date(int(day[:4]), int(day[4:6]), int(day[6:])) - _EPOCH).days) for _, day, _, _ in paid]
    return Log(np.array([row[0] for row in paid]), np.array(days), np.array([float(row[3]) for row in paid]))


def retail(path: Path) -> Log:
    """Return the purchases of the Online Retail log, cleaned as `rapport evaluate` does."""
    orders = read_orders(OrderFile(path), _unwatched)
    seconds, amounts = (np.array(column, dtype=np.float64) for column in (orders.seconds, orders.amounts))
    return Log(np.array(orders.customers), seconds / _DAY, amounts)


def _unwatched(*, completed: float) -> None:
    """Show nobody how far reading has come."""
    del completed


def predecessor(customers: Activity) -> Numbers:
    """Return the churn of the system that Rapport succeeds: the silence over twice the mean gap, at most 1."""
    gap = np.where(customers.x > 0, customers.tx * 7.0 / np.maximum(customers.x, 1.0), 90.0)
    return np.minimum(1.0, customers.quiet / (2.0 * np.maximum(gap, 1.0)))


def table(log: Log, day: str, horizon: int) -> dict[str, Any]:
    """Return the measures of one cut."""
    until = float((date.fromisoformat(day) - _EPOCH).days)
    now = cut(log, until)
    customers, spent = now.activity, spent_within(now, log, until + horizon)
    plain = model.fit(customers, version=1, horizon_days=horizon)
    days = taught_days(horizon, until - float(np.floor(log.days.min())))
    earlier = cut(log, until - days)
    ours = model.corrected(plain, customers, earlier.activity, spent_within(earlier, log, until), days)
    left = (spent <= 0).astype(np.float64)
    alive = bgnbd.probability_alive(plain.timing, customers.x, customers.tx, customers.age)
    guesses = {
        f"ours ({ours.kind})": 1.0 - ours.purchase_probability(customers),
        "BG/NBD alone": 1.0 - plain.purchase_probability(customers),
        "predecessor's churn": predecessor(customers),
        "base rate": np.full(left.size, left.mean()),
        "1 - P(alive), never shown": 1.0 - alive,
    }
    scores = {"recency": customers.quiet, "frequency": -customers.purchase_days}
    found: dict[str, Any] = {"day": day, "horizon_days": horizon, "customers": left.size, "left": float(left.mean())}
    found["churn"] = {
        name: {each: _interval(getattr(metrics, each), left, guess) for each in ("auc", "brier", "ece")}
        for name, guess in guesses.items()
    } | {name: {"auc": _interval(metrics.auc, left, score)} for name, score in scores.items()}
    worth = {"ours": ours.expected_spending(customers), "past spending": customers.spent, "best possible": spent}
    found["value"] = {name: _interval(metrics.capture, spent, score) for name, score in worth.items()}
    found["spent"] = {"expected": float(ours.expected_spending(customers).sum()), "seen": float(spent.sum())}
    found["dropout_evidence"] = plain.dropout_evidence
    return found


def _interval(measure: Any, truth: Numbers, guess: Numbers) -> list[float | None]:
    found = measured(truth.size, lambda rows: measure(truth[rows], guess[rows]))
    return [found.value, found.low, found.high]


def main() -> None:
    """Measure what there is, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cdnow", type=Path)
    parser.add_argument("--retail", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    logs = {"cdnow": (asked.cdnow, cdnow), "retail": (asked.retail, retail)}
    found = {name: [table(read(path), *at) for at in CUTS[name]] for name, (path, read) in logs.items() if path}
    if not found:
        sys.exit("Name a file: see --help.")
    if asked.json:
        print(json.dumps(found))
        return
    for name, cuts in found.items():
        for one in cuts:
            print(
                f"\n{name}, from {one['day']} for {one['horizon_days']} days: {one['customers']} customers, "
                f"{one['left']:.3f} did not come back; dropout evidence: {one['dropout_evidence']}"
            )
            for guess, values in one["churn"].items():
                print(f"{guess:28}", *(f"{each} {v[0]} ({v[1]} to {v[2]})" for each, v in values.items()), sep="  ")
            print(f"{'top tenth of spending':28}", *(f"{each} {v}" for each, v in one["value"].items()), sep="  ")
            print(f"{'spent':28}", one["spent"])


if __name__ == "__main__":
    main()
