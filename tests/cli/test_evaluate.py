"""`rapport evaluate` on files: measures with intervals, lines left out and counted, and clear refusals."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

HEADER = "order_id,customer_id,ordered_at,product_id,product_name,quantity,unit_price,currency\n"
RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def evaluate(train: Path, holdout: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    command = [str(Path(sys.executable).parent / "rapport"), "evaluate", "--json"]
    command += ["--orders", str(train), "--holdout", str(holdout)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def lines(months: range) -> str:
    """Return orders of forty customers: even ones buy each month, odd ones in January only."""
    return "".join(
        f"o{customer}-{month},c{customer},2026-{month:02}-{customer % 27 + 1:02},p{customer % 5},Pot,2,4.50,EUR\n"
        for month in months
        for customer in range(40)
        if customer % 2 == 0 or month == 1
    )


def test_two_files_give_all_measures_and_what_was_left_out(tmp_path: Path) -> None:
    """A gzipped file counts too; returns, free goods, foreign money and broken lines are left out by reason."""
    train, holdout = tmp_path / "train.csv.gz", tmp_path / "holdout.csv"
    odd = "r1,c1,2026-02-01T00:00:00Z,p1,Pot,-1,4.50,EUR\nf1,c1,2026-02-01T00:00:00Z,p1,Pot,1,0,EUR\n"
    odd += "u1,c1,2026-02-01T00:00:00Z,p1,Pot,1,4.50,USD\nb1,c1,yesterday,p1,Pot,1,4.50,EUR\n"
    train.write_bytes(gzip.compress((HEADER + lines(range(1, 5)) + odd).encode()))
    holdout.write_text(HEADER + lines(range(5, 7)), encoding="utf-8")
    done = evaluate(train, holdout)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["left_out"]["train"] == {"returned": 1, "free of charge": 1, "not in EUR": 1, "not readable": 1}
    assert found["left_out"]["holdout"] == {}
    assert (found["customers"], found["active_customers"], found["currency"]) == (40, 20, "EUR")
    assert found["churn"]["auc"]["value"] > 0.95
    assert set(found["churn"]) == {"model", "auc", "brier", "ece", "baseline_recency_auc"}
    assert set(found["clv"]) == {"capture_top10", "baseline_spend_capture_top10"}
    baselines = {f"baseline_{name}_ndcg10" for name in ("popularity", "recent_popularity", "buy_again", "itemknn")}
    assert set(found["products"]) == set(found["products_new_items"]) == {"ndcg10", *baselines}
    assert all(set(found["products"][name]) == {"value", "low", "high"} for name in found["products"])


def test_of_the_retail_log_goods_count(tmp_path: Path) -> None:
    """Postage and cancellations of the Online Retail log are no purchases, and lines without a customer nobody's."""
    train, holdout = tmp_path / "train.csv", tmp_path / "holdout.csv"
    rows = [f"{n},{10000 + n % 3},POT,1,2011-0{n % 4 + 1}-0{n % 9 + 1} 08:00:00,2.5,{n % 6}.0,X" for n in range(1, 60)]
    rows += ["90,POST,POSTAGE,1,2011-01-01 08:00:00,2.5,1.0,X", "C91,10001,POT,-1,2011-01-01 08:00:00,2.5,1.0,X"]
    rows += ["92,10001,POT,1,2011-01-01 08:00:00,2.5,,X"]
    train.write_text(RETAIL + "\n".join(rows) + "\n", encoding="utf-8")
    holdout.write_text(RETAIL + "95,10001,POT,1,2011-06-01 08:00:00,2.5,1.0,X\n", encoding="utf-8")
    done = evaluate(train, holdout)
    assert done.returncode == 0, done.stderr
    left_out = json.loads(done.stdout)["left_out"]["train"]
    assert left_out == {"no goods": 1, "returned": 1, "without customer": 1}


@pytest.mark.parametrize(
    ("train", "holdout", "words"),
    [
        (HEADER, HEADER + lines(range(5, 6)), "holds no purchase"),
        (HEADER + lines(range(1, 3)), HEADER, "without purchases"),
        (HEADER + lines(range(3, 5)), HEADER + lines(range(1, 3)), "must end after"),
        (HEADER + lines(range(1, 2)), HEADER + lines(range(2, 3)), "two days"),
        ("a,b\n1,2\n", HEADER, "neither our columns"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_reason(tmp_path: Path, train: str, holdout: str, words: str) -> None:
    """Empty logs, a wrong order, a shop without a second purchase, foreign files: exit code 1 and a sentence."""
    paths = [tmp_path / "train.csv", tmp_path / "holdout.csv"]
    for path, text in zip(paths, (train, holdout), strict=True):
        path.write_text(text, encoding="utf-8")
    done = evaluate(*paths)
    assert done.returncode == 1
    assert words in json.loads(done.stdout)["error"]["message"]
