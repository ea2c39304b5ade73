"""Order files: which lines are taken, left out and refused."""

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.errors import CommandError
from cli.order_file import Findings, OrderFile, OrderRow, Reading
from cli.order_heads import OrderHeads
from cli.order_rejects import Rejects

HEADER = "order_id,customer_id,ordered_at,product_id,product_name,quantity,unit_price,currency\n"
RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def read(path: Path) -> tuple[list[OrderRow], Findings]:
    """Read a whole file."""
    findings = Findings()
    return list(OrderFile(path).rows(findings)), findings


def sift(path: Path, rejects: Path, **options: Any) -> tuple[list[OrderRow], list[dict[str, str]]]:
    """Read a file as an import does; return the good lines and the rejected ones."""
    file, findings, left_out = OrderFile(path, **options), Findings(), Rejects(rejects)
    with OrderHeads() as heads:
        for _ in file.judge(heads, findings):
            pass
        left_out.begin(file.header)
        rows = list(file.good_rows(heads, findings, left_out.add))
    left_out.close()
    if not rejects.exists():
        return rows, []
    with rejects.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        return rows, list(csv.DictReader(text))


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
        pytest.param("o1,c1,01/02/26,p1,Wool,1,2.5,EUR", "has no year of four digits", id="two-digit-year"),
        pytest.param("o1,c1,yesterday,p1,Wool,1,2.5,EUR", "is not a time", id="time"),
        pytest.param("o1,c1,02/03/2026,p1,Wool,1,2.5,EUR", "say how days are written", id="ambiguous-day"),
        pytest.param("o1,c1,31.02.2026,p1,Wool,1,2.5,EUR", "no time of the calendar", id="no-such-day"),
        pytest.param("o1,c1,9999-12-31T23:59:59-12:00,p1,Wool,1,2.5,EUR", "1970 and 2199", id="far-future"),
        pytest.param("o1,c1,1969-12-31T23:59:59Z,p1,Wool,1,2.5,EUR", "1970 and 2199", id="long-past"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,1000000,1000000.01,EUR", "beyond 1000000000000", id="huge-line"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,-1,-2.5,EUR", "both negative", id="twice-negative"),
        pytest.param('o1,c1,2026-01-01,p1,Wool,1,"2,50",EUR', "say --decimal-comma", id="decimal-comma"),
        pytest.param("o1,c1,2026-01-01,p1,Wool,1,1e3,EUR", "is not a decimal number", id="price-exponent"),
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
        pytest.param(HEADER.replace("quantity", "order_id").encode(), "missing: quantity", id="column-gone"),
        pytest.param(HEADER.strip().encode() + b",order_id\n", "order_id more than once", id="column-twice"),
        pytest.param(gzip.compress(HEADER.encode() * 99)[:40], "Cannot read", id="cut-gzip"),
    ],
)
def test_a_file_that_is_no_order_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The message says what is wrong with the file."""
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=message):
        read(path)


GOOD = "o1,c1,2026-01-31 10:00,p1,Wool,1,2.50,EUR"


@pytest.mark.parametrize(
    ("text", "encoding", "option"),
    [
        pytest.param(f"{HEADER}{GOOD}".replace("Wool", "Größe"), "utf-8-sig", "", id="utf-8-mark"),
        pytest.param(f"{HEADER}{GOOD}".replace("Wool", "Größe"), "utf-16", "", id="utf-16-mark"),
        pytest.param(f"{HEADER}{GOOD}".replace("Wool", "Größe"), "cp1252", "cp1252", id="cp1252"),
        pytest.param(f"{HEADER}{GOOD}".replace("Wool", "Größe"), "utf-16-le", "utf-16-le", id="utf-16-said"),
        pytest.param(f"{HEADER}{GOOD}".replace("Wool", "Größe").replace(",", ";"), "utf-8", "", id="semicolons"),
        pytest.param(f"{HEADER}{GOOD}".replace("Wool", "Größe").replace(",", "\t"), "utf-8", "", id="tabs"),
        pytest.param(f"{HEADER.upper()}{GOOD}".replace("Wool", "Größe").replace("\n", "\r\n"), "utf-8", "", id="crlf"),
    ],
)
def test_a_file_is_read_in_its_own_dress(tmp_path: Path, text: str, encoding: str, option: str) -> None:
    """Encodings by their mark or as they are said, three separators, either line end, headings in any case."""
    path = tmp_path / "orders.csv"
    path.write_bytes(text.encode(encoding))
    rows, rejects = sift(path, tmp_path / "rejects.csv", encoding=option)
    assert rejects == []
    assert [(row.order_id, row.product_name, row.unit_price) for row in rows] == [("o1", "Größe", "2.50")]


def test_broken_characters_are_named_by_their_line_and_the_others_go_in(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 come out of the rejects as they went in; nothing is guessed."""
    path, out = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    path.write_bytes(f"{HEADER}{GOOD}\n".encode() + "o2,c2,2026-01-31,p1,Größe,1,2.50,EUR\n".encode("cp1252"))
    rows, rejects = sift(path, out)
    assert [row.order_id for row in rows] == ["o1"]
    assert [(one["rejected_line"], one["order_id"]) for one in rejects] == [("3", "o2")]
    assert "byte 0xF6" in rejects[0]["rejected_because"]
    assert "--encoding" in rejects[0]["rejected_because"]
    assert "Größe".encode("cp1252") in out.read_bytes()


def test_an_order_with_a_bad_line_waits_as_a_whole(tmp_path: Path) -> None:
    """Its good lines are held back and say why: an order that is sent again replaces the stored one."""
    path, out = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    path.write_text(
        f"{HEADER}o1,c1,2026-01-31,p1,Wool,1,2.50,EUR\n{GOOD.replace('o1', 'o2')}\n"
        "o1,c1,2026-01-31,p2,Silk,x,2.50,EUR\n"
    )
    rows, rejects = sift(path, out)
    assert [row.order_id for row in rows] == ["o2"]
    assert [(one["rejected_line"], one["rejected_because"]) for one in rejects] == [
        ("2", "line 4 of the same order is wrong"),
        ("4", "quantity 'x' is not a whole number"),
    ]
    assert (out.stat().st_mode & 0o777) == 0o600
    out.write_text(out.read_text().replace(",x,", ",3,"))
    rows, rejects = sift(out, tmp_path / "again.csv")
    assert [(row.order_id, row.quantity) for row in rows] == [("o1", 1), ("o1", 3)]
    assert rejects == []


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("c1,o\u00a01,2026-01-31,p1,Wool,x,2.50,EUR", id="id-not-printable"),
        pytest.param("c1,o\u00a01,2026-01-31", id="another-column-lacking"),
        pytest.param("o\u00a01,2026-01-31,p1,Wool,x,2.50,EUR", id="lacking-before-the-id"),
        pytest.param("c,1,o\u00a01,2026-01-31,p1,Wool,1,2.50,EUR", id="comma-before-the-id"),
        pytest.param('"Berg, ""A"" 1"x,o\u00a01,2026-01-31,p1,Wool,1,2.50,EUR', id="uncuttable-before-the-id"),
        pytest.param('c1,o\u00a01,2026-01-31,p1,"Wool,1,2.50,EUR', id="uncuttable-behind-the-id"),
    ],
)
def test_whatever_is_wrong_in_a_line_its_order_waits(tmp_path: Path, bad: str) -> None:
    """Neither an id that is not printed nor fields that are not in their places let half an order in."""
    header = "customer_id,order_id,ordered_at,product_id,product_name,quantity,unit_price,currency\n"
    good = "c1,o\u00a01,2026-01-31,p2,Silk,1,2.50,EUR\nc1,o2,2026-01-31,p2,Silk,1,2.50,EUR\n"
    path = tmp_path / "orders.csv"
    path.write_text(f"{header}{bad}\n{good}")
    rows, rejects = sift(path, tmp_path / "rejects.csv")
    assert [row.order_id for row in rows] == ["o2"]
    assert [one["rejected_line"] for one in rejects] == ["2", "3"]


def test_a_quote_that_nothing_closes_takes_only_its_own_line_along(tmp_path: Path) -> None:
    """The lines behind it are read; a quoted field over several lines is none of that kind."""
    path = tmp_path / "orders.csv"
    path.write_text(f'{HEADER}o0,c1,2026-01-31,p1,"Wool,1,2.50,EUR\n{GOOD}\no2,c1,2026-01-31,p1,"a\nb",1,1,EUR\n')
    rows, rejects = sift(path, tmp_path / "rejects.csv")
    assert [(row.order_id, row.product_name) for row in rows] == [("o1", "Wool"), ("o2", "a\nb")]
    assert [(one["rejected_line"], one["rejected_text"]) for one in rejects] == [
        ("2", 'o0,c1,2026-01-31,p1,"Wool,1,2.50,EUR')
    ]


@pytest.mark.parametrize(
    ("text", "order", "day"),
    [
        ("2026-02-03", "", "2026-02-03T00:00"),
        ("2026/02/03 14:05", "", "2026-02-03T14:05"),
        ("31.01.2026 14:05:09", "", "2026-01-31T14:05:09"),
        ("01/31/2026 2:05 PM", "", "2026-01-31T14:05"),
        ("05/05/2026", "", "2026-05-05T00:00"),
        ("02/03/2026", "dmy", "2026-03-02T00:00"),
        ("02/03/2026", "mdy", "2026-02-03T00:00"),
        ("2026-02-03", "dmy", "2026-02-03T00:00"),
        ("03.02.2026 14:05 +01:00", "dmy", "2026-02-03T13:05"),
        ("02/03/2026", "", None),
        ("31/01/2026", "mdy", None),
        ("31/01/2026", "ymd", None),
        ("20260203", "", None),
        ("03.02.26", "dmy", None),
    ],
)
def test_days_are_read_in_three_orders_and_never_guessed(
    tmp_path: Path, text: str, order: Any, day: str | None
) -> None:
    """What can be read in two ways is refused until somebody says how."""
    path = tmp_path / "orders.csv"
    path.write_text(f"{HEADER}{GOOD.replace('2026-01-31 10:00', text)}\n")
    rows, rejects = sift(path, tmp_path / "rejects.csv", reading=Reading(dates=order))
    if day is None:
        assert (rows, len(rejects)) == ([], 1)
    else:
        assert [row.seconds for row in rows] == [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()]


def test_negative_prices_are_returns_and_states_of_orders_are_read(tmp_path: Path) -> None:
    """What was paid back, when it was cancelled and when it changed are columns that a file may have."""
    path = tmp_path / "orders.csv"
    path.write_text(
        f"{HEADER.strip()};refunded_amount;cancelled_at;changed_at\n".replace(",", ";")
        + "o1;c1;2026-01-31;p1;Wool;2;-1,50;EUR;;;\n"
        + "o2;c1;2026-01-31;p1;Wool;2;1,50;EUR;-0,75;2026-02-01;2026-02-02T10:00:00Z\n"
    )
    rows, _ = sift(path, tmp_path / "rejects.csv", reading=Reading(decimal_comma=True))
    assert [(row.quantity, row.unit_price, row.refunded) for row in rows] == [(-2, "1.50", ""), (2, "1.50", "0.75")]
    assert rows[1].cancelled == (1769904000, 0)
    assert rows[1].changed == (1770026400, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=400))
def test_whatever_bytes_follow_the_header_every_line_is_accounted_for(tmp_path: Path, content: bytes) -> None:
    """Reading never fails: a line goes in, or stands among the rejects with a reason."""
    path = tmp_path / "orders.csv"
    path.write_bytes(HEADER.encode() + content + f"\n{GOOD}\n".encode())
    rows, rejects = sift(path, tmp_path / f"rejects-{len(content)}.csv")
    assert all(one["rejected_because"] for one in rejects)
    assert [row.order_id for row in rows] == ["o1"] or any("o1" in str(one) for one in rejects)
    (tmp_path / f"rejects-{len(content)}.csv").unlink(missing_ok=True)
