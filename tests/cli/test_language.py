"""`rapport language evaluate`: anybody's labels measured, without anything that runs."""

from pathlib import Path

from tests.support.suite import rapport

ROWS = "text,label\nwhere is my parcel,a\nmy parcel has not come,a\nI want my money back,b\nplease refund me,b\n"


def test_evaluate_prints_accuracy_with_an_interval(tmp_path: Path) -> None:
    """One JSON object for programs, tables for people."""
    (tmp_path / "shop.csv").write_text(ROWS)
    files = ("--train", str(tmp_path / "shop.csv"), "--test", str(tmp_path / "shop.csv"))
    ran = rapport("language", "evaluate", *files, "--json")
    assert ran.code == 0
    assert ran.value["accuracy"] == 1.0
    assert ran.value["interval"][0] < 1.0
    shown = rapport("language", "evaluate", *files, "--baselines")
    assert "words alone" in shown.output


def test_a_wrong_file_is_wrong_usage(tmp_path: Path) -> None:
    """One line says what the file must hold, and the exit code is that of wrong usage."""
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    ran = rapport("language", "evaluate", "--train", str(tmp_path / "bad.csv"), "--json")
    assert (ran.code, ran.value["error"]["reason"]) == (2, "USAGE")
    assert "text and label" in ran.value["error"]["message"]
