"""Fitting heads and measuring them: files that people bring, intervals, calibration, and what can be learned."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tickets.language import fitting
from services.tickets.language.evaluating import evaluate
from services.tickets.language.examples import Examples, ExamplesError, read
from services.tickets.language.heads import soft
from services.tickets.language.measures import area, calibration_error, confusion, f1_by_label, interval

PARCEL = ["where is my parcel", "my parcel has not come", "parcel still missing", "when does the parcel arrive"]
MONEY = ["I want my money back", "please refund me", "give me a refund", "when do I get my money"]
SHOP = Examples((*PARCEL, *MONEY), ("parcel",) * 4 + ("money",) * 4)


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the module's command and return its code and answer."""
    command = [sys.executable, "-m", "services.tickets.language", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_a_head_learns_anybodys_labels_and_finds_them_in_other_words() -> None:
    """Eight texts are enough to tell two matters apart in words that none of them has."""
    told = evaluate(
        SHOP, Examples(("has my package been shipped", "I would like to be reimbursed"), ("parcel", "money"))
    )
    assert told["accuracy"] == 1.0
    assert told["interval"][0] < 0.5
    assert told["labels"] == 2


def test_texts_out_of_scope_are_counted_apart() -> None:
    """They do not count as errors; how well sureness tells them from the others does."""
    told = evaluate(SHOP, Examples(("parcel please", "refund please"), ("parcel", "money"), ("la la la",)))
    assert told["test_texts"] == 2
    assert told["out_of_scope"]["texts"] == 1
    assert 0 <= told["out_of_scope"]["auroc"] <= 1


def test_without_test_texts_each_fifth_is_asked_about_in_turn() -> None:
    """All texts are asked about by a head that has not seen them, with the deviation between the folds."""
    told = evaluate(SHOP, None, baselines=True)
    assert told["test_texts"] == 8
    assert told["split"] == "5 folds of the training texts"
    assert told["baselines"]["most_frequent_label"]["accuracy"] <= 0.5
    assert "deviation_between_folds" in told


def test_the_same_texts_give_the_same_figures() -> None:
    """Nothing is left to chance but the clock."""
    first, second = evaluate(SHOP, None), evaluate(SHOP, None)
    for told in (first, second):
        del told["fit_seconds"], told["microseconds_per_text"]
    assert first == second


def test_a_csv_file_and_a_clinc_file_are_read_zipped_or_not(tmp_path: Path) -> None:
    """The label's column may have three names; a CLINC file without `test` is asked for `val`."""
    table = 'text,category\n"where, is it",a\nhello,b\n'
    (tmp_path / "a.csv").write_text(table)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table.encode()))
    assert read(tmp_path / "a.csv", "train") == Examples(("where, is it", "hello"), ("a", "b"))
    assert read(tmp_path / "a.csv.gz", "test") == read(tmp_path / "a.csv", "train")
    lists = {"train": [["x", "a"]], "val": [["y", "a"]], "oos_val": [["z", "oos"]]}
    (tmp_path / "c.json").write_text(json.dumps(lists))
    assert read(tmp_path / "c.json", "train") == Examples(("x",), ("a",))
    assert read(tmp_path / "c.json", "test") == Examples(("y",), ("a",), ("z",))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "needs a header line"),
        (b"text,labels\nx,y\n", "needs a header line"),
        (b"text,label\nsecret text,\n", "line 2"),
        (b"text,label\n", "no labelled text"),
        (b"{", "is not JSON"),
        (b'{"val": []}', "no list 'train'"),
        (b'{"train": 3}', "is no list"),
        (b'{"train": [["x"]]}', "entry 0"),
        (b'{"train": [["secret \\ud800", "a"]]}', "entry 0"),
        (b'{"train": [["x", "\\udfff"]]}', "entry 0"),
        (b'{"train": ' + b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\x1f\x8bbroken", "cannot be read"),
    ],
)
def test_a_file_that_is_none_is_named_with_its_fault(tmp_path: Path, content: bytes, problem: str) -> None:
    """The message says what is wrong where, and holds no text of the file."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ExamplesError, match=problem) as refused:
        read(path, "train")
    assert "secret" not in str(refused.value)


def test_the_command_prints_figures_and_ends_with_two_for_a_wrong_file(tmp_path: Path) -> None:
    """One JSON object either way."""
    rows = "".join(f"{text},{label}\n" for text, label in zip(SHOP.texts, SHOP.labels, strict=True))
    (tmp_path / "shop.csv").write_text(f"text,label\n{rows}")
    code, told = run("evaluate", "--train", str(tmp_path / "shop.csv"), "--test", str(tmp_path / "shop.csv"))
    assert (code, told["accuracy"]) == (0, 1.0)
    code, told = run("evaluate", "--train", str(tmp_path / "none.csv"))
    assert (code, list(told)) == (2, ["error"])
    (tmp_path / "one.csv").write_text("text,label\nx,a\ny,a\n")
    code, told = run("evaluate", "--train", str(tmp_path / "one.csv"))
    assert (code, told["error"]) == (2, "the training texts have one label only; there is nothing to tell apart")


def test_the_speed_that_is_published_can_be_measured_again() -> None:
    """By length, and with an accent."""
    code, told = run("speed")
    assert code == 0
    assert {"as_they_are", "of_a_kilobyte", "of_a_kilobyte_with_an_accent"} == set(told)
    assert told["as_they_are"] > 1000


def test_intervals_are_those_of_the_book() -> None:
    """Wilson's interval: worked values, and sensible ends."""
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert interval(10, 10)[1] == 1.0
    assert interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_a_share_lies_in_its_interval(counted: tuple[int, int]) -> None:
    """Whatever the numbers."""
    low, high = interval(*counted)
    assert 0 <= low <= counted[0] / counted[1] <= high <= 1


def test_measures_on_a_worked_example() -> None:
    """Four texts of two labels, one of them taken for the other."""
    wanted, given_labels = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    assert f1_by_label(wanted, given_labels) == {"a": pytest.approx(2 / 3), "b": pytest.approx(0.8)}
    assert confusion(wanted, given_labels) == {"a": {"a": 1, "b": 1}, "b": {"b": 2}}
    assert area([3.0, 2.0], [1.0, 2.0]) == 0.875
    assert calibration_error(np.full(100, 0.7), np.arange(100) % 10 < 7) == pytest.approx(0.0, abs=1e-9)


def test_a_temperature_makes_sureness_as_high_as_it_is_right() -> None:
    """Sums that are three times too sure are cooled by three."""
    draws = np.random.default_rng(3)
    true = draws.normal(0, 1.5, (4000, 3)).astype(np.float32)
    wanted = np.array([draws.choice(3, p=row / row.sum()) for row in soft(true).astype(np.float64)])
    assert fitting.temperature(3 * true, wanted) == pytest.approx(3, rel=0.1)


@given(st.lists(st.sampled_from("abc"), min_size=5, max_size=60))
def test_folds_spread_each_label_evenly(labels: list[str]) -> None:
    """No fold has two more of a label than another, and the folds are nearly of one size."""
    found = fitting.folds(labels)
    for label in set(labels):
        counts = np.bincount(found[[one == label for one in labels]], minlength=fitting.FOLDS)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(found, minlength=fitting.FOLDS)
    assert sizes.max() - sizes.min() <= 1
