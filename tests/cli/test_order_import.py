"""Imports of order files into a running suite: killed on the way, gone on with, and told of by the other commands."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.suite import Ran, rapport
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, call, new_shop, operator_token

HEADER = "order_id,customer_id,ordered_at,product_id,product_name,quantity,unit_price,currency"
SERVICE = "rapport.recommendations.v1"


async def run(suite: SuiteUnderTest, *arguments: str) -> Ran:
    """Run a command on the shared suite."""
    return await asyncio.to_thread(rapport, *arguments, "--json", "--data", suite.data)


def memories(suite: SuiteUnderTest) -> set[Path]:
    """Return what the command remembers of imports that are under way."""
    return set(Path(suite.data).glob("imports/*.json"))


async def test_an_import_that_was_killed_is_gone_on_with(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """After a kill -9 in the middle the same command sends what is missing; every good order is there once."""
    shop = await new_shop(suite, "killed")
    token = await operator_token(suite, shop.slug)
    path = tmp_path / "orders.csv"
    lines = [f"o{n // 3},c{n // 9},2026-01-{n % 9 // 3 + 1:02},p{n % 7},Wool,1,2.50,EUR" for n in range(60_000)]
    lines[30_000] = lines[30_000].replace("2.50", "much")
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    command = ["orders", "import", "--tenant", shop.slug, str(path)]
    before = memories(suite)
    first = subprocess.Popen(  # noqa: ASYNC220 - it is there to be killed
        [sys.executable, "-m", "cli.main", *command, "--json", "--data", suite.data],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun: dict[str, Any] = {}

    async def under_way() -> bool:
        for memory in memories(suite) - before:
            begun.update(json.loads(memory.read_text(encoding="utf-8") or "{}"))
        if "import_id" not in begun:
            return False
        found: Any = await call(suite.grpc["recommendations"], f"{SERVICE}.OrderService/GetOrderImport", begun, token)
        return bool(found.next_batch_number > 3)

    try:
        await eventually(under_way, within=60)
    finally:
        first.kill()
        first.wait()
    second = await run(suite, *command)
    assert second.code == 0, second.messages
    done = second.value["import"]
    assert done["import_id"] == begun["import_id"]
    assert (done["line_count"], done["new_order_count"]) == (59_997, 19_999)
    assert (second.value["rejected"]["bad_row_count"], second.value["rejected"]["held_back"]) == (1, 2)
    assert not memories(suite) - before
    third = (await run(suite, *command)).value["import"]
    assert (third["new_order_count"], third["changed_order_count"]) == (0, 0)


async def test_an_operator_merges_exports_and_unmerges_customers(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """Each command says what became of the two, and rates what an amount is worth."""
    shop = await new_shop(suite, "who-is-who")
    path = tmp_path / "orders.csv"
    path.write_text(
        f"{HEADER}\na,anna,2026-01-01,p,Wool,1,10,EUR\nb,anna,2026-01-02,p,Wool,1,10,EUR\nc,ben,2026-01-02,p,Tea,1,10,USD\n"
    )
    of = ("--tenant", shop.slug)
    assert (await run(suite, "orders", "import", str(path), *of)).code == 0
    shown = (await run(suite, "currency", "show", *of)).value
    assert {one["currency_code"]: one["uncounted_order_count"] for one in shown["uses"]} == {"EUR": "0", "USD": "1"}
    stated = await run(suite, "currency", "set", "USD", "0.9", "--from", "2026-01-01", *of)
    assert [one["rate"] for one in stated.value["rates"]] == ["0.9"]
    merged = (await run(suite, "customer", "merge", "anna", "ben", *of)).value["merge"]
    assert (merged["survivor_id"], merged["origin"]) == ("anna", "ORIGIN_PERSON")
    who = (await run(suite, "customer", "identities", "ben", *of)).value
    assert who["customer_ids"] == ["anna", "ben"]
    out = tmp_path / "ben.jsonl"
    exported = (await run(suite, "customer", "export", "ben", "--to", str(out), *of)).value
    assert exported["records"] == len(out.read_text(encoding="utf-8").splitlines())
    orders = [one["value"]["order_id"] for one in exported["kept"] if one["kind"] == "order"]
    assert sorted(orders) == ["a", "b", "c"]
    undone = (await run(suite, "customer", "unmerge", merged["merge_id"], *of)).value["merge"]
    assert undone["undo_reason"] == "a person undid it"
    assert (await run(suite, "customer", "identities", "ben", *of)).value["customer_ids"] == ["ben"]
    refused = await run(suite, "customer", "merge", "anna", "nobody", *of)
    assert (refused.code, refused.value["error"]["reason"]) == (1, "CUSTOMER_NOT_FOUND")
