"""The letters written for the project, and the script that compares their readings."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import letters

Reading = Sequence[tuple[str, str, str]]
CALM: Reading = [("a", "cancel", "high"), ("b", "refund", "normal"), ("c", "other", "low"), ("d", "cancel", "normal")]


def folder_with(folder: Path, **readings: Reading) -> Path:
    """Write four letters and what the readers say of them."""
    texts = [{"id": name, "text": f"letter {name}"} for name in "abcd"]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    for name, rows in readings.items():
        lines = [json.dumps({"id": key, "intent": intent, "urgency": urgency}) for key, intent, urgency in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def changed(*rows: tuple[str, str, str]) -> Reading:
    """Make a reading that differs from the calm one in these letters."""
    other = {row[0]: row for row in rows}
    return [other.get(row[0], row) for row in CALM]


def test_letters_are_many_and_all_different() -> None:
    """There are at least 720 letters of at most 150 words, with ids that differ and texts that differ."""
    texts = letters.read_texts(letters.FOLDER)
    assert len(texts) >= 720
    assert len({" ".join(text.lower().split()) for text in texts.values()}) == len(texts)
    assert max(len(text.split()) for text in texts.values()) <= 150
    assert all(text == text.strip() and text for text in texts.values())


def test_guide_names_every_label() -> None:
    """A labeller finds each intent and each urgency that the script accepts in the guide."""
    guide = (letters.FOLDER / "guide.md").read_text()
    for name in (*letters.INTENTS, *letters.URGENCIES):
        assert f"| `{name}` |" in guide


def test_kappa_of_a_known_table() -> None:
    """Two readers with the counts 20, 5, 10 and 15 agree on 0.7, of which chance gives 0.5: kappa is 0.4."""
    assert letters.kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_linear_kappa_forgives_a_near_miss() -> None:
    """Being one step off costs less than being three steps off, and plain kappa sees no difference."""
    near = letters.matrix(["low", "high", "urgent"], ["low", "high", "high"], letters.URGENCIES)
    far = letters.matrix(["low", "high", "urgent"], ["low", "high", "low"], letters.URGENCIES)
    assert letters.kappa(near, ordered=True) > letters.kappa(far, ordered=True)
    assert letters.kappa(near) == pytest.approx(letters.kappa(far))


def test_kappa_without_any_choice_is_no_number() -> None:
    """Two readers who only ever say one thing agree by chance alone: there is no kappa, and no warning."""
    assert np.isnan(letters.kappa(np.array([[7, 0], [0, 0]])))
    assert letters.with_interval(np.array([[7, 0], [0, 0]])) is None


@given(st.lists(st.tuples(st.sampled_from(letters.URGENCIES), st.sampled_from(letters.URGENCIES)), min_size=2))
def test_kappa_is_symmetric_and_at_most_one(said: list[tuple[str, str]]) -> None:
    """Whoever reads first makes no difference, and nobody agrees more than fully."""
    first, second = [one for one, _ in said], [other for _, other in said]
    there = letters.kappa(letters.matrix(first, second, letters.URGENCIES))
    back = letters.kappa(letters.matrix(second, first, letters.URGENCIES))
    assert there == pytest.approx(back, nan_ok=True)
    assert np.isnan(there) or there <= 1


def test_interval_encloses_kappa_and_narrows() -> None:
    """The interval holds the figure itself and is narrower with a hundred times as many letters."""
    counts = np.array([[20, 5], [10, 15]])
    few, many = letters.with_interval(counts), letters.with_interval(counts * 100)
    assert few is not None
    assert many is not None
    assert few["low"] < few["value"] < few["high"]
    assert many["high"] - many["low"] < (few["high"] - few["low"]) / 5


def test_majority_decides_the_intent_and_the_middle_the_urgency(tmp_path: Path) -> None:
    """Two of three win; three different intents give none; three different urgencies give the middle one."""
    folder = folder_with(
        tmp_path,
        intended=CALM,
        pass1=changed(("a", "refund", "urgent"), ("b", "return", "low")),
        pass2=changed(("a", "refund", "normal"), ("b", "payment", "normal")),
    )
    texts = letters.read_texts(folder)
    readings = {name: letters.read_labels(folder / f"{name}.jsonl", texts) for name in letters.READINGS}
    final = {row["id"]: row for row in letters.final_labels(readings)}
    assert final["a"] == {"id": "a", "intent": "refund", "urgency": "high", "intent_votes": 2, "urgency_votes": 1}
    assert final["b"] == {"id": "b", "intent": None, "urgency": "normal", "intent_votes": 1, "urgency_votes": 2}
    assert final["c"]["intent_votes"] == final["c"]["urgency_votes"] == 3


def test_agreement_is_told_per_pair_and_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`agree --json` gives raw share, kappa and each class; without it the same figures stand in tables."""
    folder = folder_with(tmp_path, intended=CALM, pass1=CALM, pass2=changed(("a", "refund", "high")))
    assert letters.main(["--folder", str(folder), "agree", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    pair = told["pairs"]["intended x pass2"]["intent"]
    assert told["pairs"]["intended x pass1"]["intent"]["kappa"]["value"] == 1
    assert pair["raw"] == 0.75
    assert pair["classes"]["cancel"] == {"first": 2, "second": 1, "both": 1, "agreement": pytest.approx(2 / 3)}
    assert pair["mixed"] == [{"first": "cancel", "second": "refund", "letters": 1}]
    assert told["intent_votes"] == {"3": 3, "2": 1}
    assert letters.main(["--folder", str(folder), "agree"]) == 0
    tables = capsys.readouterr().out
    assert "| intended x pass2 | intent | 4 | 0.750 |" in tables
    assert "cancel/refund 1" in tables


def test_every_fault_of_a_reading_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt label, a foreign id, a second label and a missing one each have their line, and the exit is 1."""
    rows = [("a", "cancle", "high"), ("b", "refund", "soon"), ("b", "refund", "low"), ("x", "other", "low")]
    folder = folder_with(tmp_path, pass1=rows)
    assert letters.main(["--folder", str(folder), "check", str(folder / "pass1.jsonl")]) == 1
    told = capsys.readouterr().err
    assert "pass1.jsonl:1: a: no intent of the guide: 'cancle'" in told
    assert "pass1.jsonl:2: b: no urgency of the guide: 'soon'" in told
    assert "pass1.jsonl:3: b: labelled twice" in told
    assert "pass1.jsonl:4: x: there is no such letter" in told
    assert "pass1.jsonl: c: not labelled" in told


@pytest.mark.parametrize("line", ["{", '"a"', '{"id": 7}', '{"intent": "other"}'])
def test_line_that_is_no_label_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    """What is not a JSON object with an id is told with file and line."""
    folder = folder_with(tmp_path)
    (folder / "pass1.jsonl").write_text("\n" + line)
    assert letters.main(["--folder", str(folder), "check", str(folder / "pass1.jsonl")]) == 1
    assert "pass1.jsonl:2: not" in capsys.readouterr().err


def test_missing_reading_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without all three readings there is no comparison, and the missing file is named."""
    assert letters.main(["--folder", str(folder_with(tmp_path, intended=CALM)), "agree"]) == 1
    assert "pass1.jsonl" in capsys.readouterr().err


@pytest.mark.skipif(not (letters.FOLDER / "labels.jsonl").exists(), reason="the letters are not labelled to the end")
def test_final_labels_follow_from_the_readings(capsys: pytest.CaptureFixture[str]) -> None:
    """The final labels that stand beside the letters are those that the rule makes of the three readings."""
    assert letters.main(["labels"]) == 0
    assert (letters.FOLDER / "labels.jsonl").read_text() == capsys.readouterr().out
