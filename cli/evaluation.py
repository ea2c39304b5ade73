"""`rapport evaluate`: what the models of customers and products are worth, on anybody's order files."""

import json
import subprocess
from collections import Counter
from typing import Any, Protocol

from cli.errors import CommandError
from cli.order_file import Findings, OrderFile, OrderRow
from cli.suite.plans import module_command

_DIGITS = 5
_NANOS = 1_000_000_000


class Orders:
    """The purchases of an order file as columns, and what was left out of it, by reason."""

    def __init__(self) -> None:
        self.customers: list[str] = []
        self.items: list[str] = []
        self.titles: dict[str, str] = {}
        self.seconds: list[float] = []
        self.amounts: list[float] = []
        self.currencies: list[str] = []
        self.left_out: Counter[str] = Counter()

    def columns(self, currency: str) -> dict[str, list[Any]]:
        """Return what was bought for a currency, as the evaluation reads it."""
        places = [place for place, own in enumerate(self.currencies) if own == currency]
        if others := len(self.currencies) - len(places):
            self.left_out[f"not in {currency}"] = others
        return {
            "customers": [self.customers[place] for place in places],
            "items": [self.items[place] for place in places],
            "seconds": [self.seconds[place] for place in places],
            "amounts": [self.amounts[place] for place in places],
        }


class _Watch(Protocol):
    def __call__(self, *, completed: float) -> None: ...


def read_orders(file: OrderFile, watch: _Watch) -> Orders:
    """Read an order file; lines that are wrong, returns and what is free are left out and counted.

    Of the Online Retail log only goods count, whose codes begin with five digits: the others are postage and the like.

    Raises:
        CommandError: the file cannot be read, or has the columns of neither form.
    """
    findings, orders = Findings(), Orders()
    for number, row in enumerate(file.rows(findings)):
        if number % 1000 == 0:
            watch(completed=file.position)
        if reason := _no_purchase(row, retail=file.retail):
            orders.left_out[reason] += 1
            continue
        orders.customers.append(row.customer_id)
        orders.items.append(row.product_id)
        orders.titles[row.product_id] = row.product_name
        orders.seconds.append(row.seconds + row.nanos / _NANOS)
        orders.amounts.append(row.quantity * float(row.unit_price))
        orders.currencies.append(row.currency)
    watch(completed=file.size)
    orders.left_out.update(findings.skipped)
    if findings.bad_rows:
        orders.left_out["not readable"] = findings.bad_row_count
    return orders


def _no_purchase(row: OrderRow, *, retail: bool) -> str:
    if row.quantity < 0:
        return "returned"
    if float(row.unit_price) == 0:
        return "free of charge"
    if retail and not (row.product_id[:_DIGITS].isdigit() and len(row.product_id) >= _DIGITS):
        return "no goods"
    return ""


def evaluated(train: Orders, holdout: Orders) -> dict[str, Any]:
    """Return the measures of the models, learnt from one log and judged by the other.

    Raises:
        CommandError: the logs cannot be judged; the text says why.
    """
    currencies = Counter(train.currencies)
    if not currencies:
        raise CommandError("The training log holds no purchase.", reason="LOGS_UNFIT")
    currency = currencies.most_common(1)[0][0]
    question = {"train": train.columns(currency), "holdout": holdout.columns(currency)}
    done = subprocess.run(
        module_command("services.recommendations.evaluation"),
        input=json.dumps(question).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        raise CommandError(text.splitlines()[-1] if text else "The evaluation failed.", reason="LOGS_UNFIT")
    return {
        "currency": currency,
        "left_out": {"train": dict(train.left_out), "holdout": dict(holdout.left_out)},
        **json.loads(done.stdout),
    }
