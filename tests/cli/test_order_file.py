"""Order files: which lines are taken, left out and refused."""

import gzip
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.order_file import Findings, OrderFile, OrderRow

HEADER = "order_id,customer_id,ordered_at,product_id,product_name,quantity,unit_price,currency\n"
RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def read(path: Path) -> tuple[list[OrderRow], Findings]:
    """Read a whole file."""
    findings = Findings()
    return list(OrderFile(path).rows(findings)), findings


def test_our_columns_are_read_in_any_order_and_packing(tmp_path: Path) -> None:
    """Columns go by name, gzip by content, and a time without an offset counts as UTC."""
    path = tmp_path / "orders.csv"
    path.write_bytes(
        gzip.compress(
            b"\xef\xbb\xbfcurrency,order_id,customer_id,ordered_at,product_id,product_name,quantity,unit_price,note\n"
            b'EUR,o1,c1,2026-01-31T12:00:00.5+01:00,p1,"Wool, ""soft""",-2,2.55,x\n'
            b"EUR,o2,c1,2026-01-31 11:00:00,p1,,1,3,\n"
        )
    )
    rows, findings = read(path)
    assert findings.bad_rows == []
    assert rows[0] == OrderRow("o1", "c1", 1769857200, 500_000_000, "p1", 'Wool, "soft"', -2, "2.55", "EUR")
    assert rows[1].seconds == rows[0].seconds


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("o1,c1,2026-01-01,p1,Wool,0,2.5,EUR", "quantity 0 is 0 or beyond 1000000", id="quantity-0"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,x,2.5,EUR", "quantity 'x' is not a whole number", id="quantity-text"),
        pytest.param("o1,c1,01/02/26,p1,Wool,1,2.5,EUR", "is not a time", id="time"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,1,-2.5,EUR", "is not a decimal number from 0", id="price-negative"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,1,1e3,EUR", "is not a decimal number from 0", id="price-exponent"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,1,2.5,eur", "is not a code", id="currency"),
        pytest.param("o1,,2026-01-01,p1,Wool,1,2.5,EUR", "customer_id is empty", id="no-customer"),
        pytest.param("o1,c1,2026-01-01,p1", "more or fewer fields", id="short"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,1,2.5,EUR,x", "more or fewer fields", id="long"),
        pytest.param("o0,c9,2026-01-01,p1,Wool,1,2.5,EUR", "another customer in an earlier line", id="two-customers"),
        pytest.param("o0,c1,2026-01-02,p1,Wool,1,2.5,EUR", "another time in an earlier line", id="two-times"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, line: str, problem: str) -> None:
    """Line numbers are those of the file, also behind a quoted field that spans lines."""
    path = tmp_path / "orders.csv"
    path.write_text(f'{HEADER}o0,c1,2026-01-01,p1,"two\nlines",1,2.5,EUR\n{line}\n', encoding="utf-8")
    rows, findings = read(path)
    assert len(rows) == 1
    assert [bad.line for bad in findings.bad_rows] == [4]
    assert problem in findings.bad_rows[0].problem


def test_the_online_retail_log_is_recognised_by_its_header(tmp_path: Path) -> None:
    """Its customers lose their fraction, lines that name nobody are counted, and an invoice keeps its first minute."""
    path = tmp_path / "retail.csv"
    path.write_text(
        RETAIL
        + "536365,85123A,LANTERN,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
        + "536365,71053,,6,2010-12-01 08:27:00,3.39,17850.0,United Kingdom\n"
        + "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n"
        + "536414,22139,,56,2010-12-01 11:52:00,0.0,,United Kingdom\n"
        + "A563185,B,Adjust bad debt,1,2011-08-12 14:50:00,-11062.06,1.0,United Kingdom\n",
        encoding="utf-8",
    )
    rows, findings = read(path)
    assert [(row.order_id, row.customer_id, row.quantity, row.currency) for row in rows] == [
        ("536365", "17850", 6, "GBP"),
        ("536365", "17850", 6, "GBP"),
        ("C536379", "14527", -1, "GBP"),
    ]
    assert rows[0].seconds == rows[1].seconds == 1291191960
    assert findings.bad_rows == []
    assert findings.skipped == {"without customer": 1, "negative price": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"a,b\n1,2\n", "neither our columns", id="columns"),
        pytest.param(b"", "neither our columns", id="empty"),
        pytest.param(HEADER.encode() + b"o\xff,c\n", "not UTF-8", id="encoding"),
        pytest.param(gzip.compress(HEADER.encode() * 99)[:40], "Cannot read", id="cut-gzip"),
    ],
)
def test_a_file_that_is_no_order_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The message says what is wrong with the file."""
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=message):
        read(path)
