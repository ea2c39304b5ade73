"""Pages that people read: what they name must exist."""

from pathlib import Path

import pytest

from tools import documents


def test_a_page_that_names_a_test_which_is_not_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threat model rests on such names."""
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    monkeypatch.setattr(documents, "unknown_commands", lambda _text: iter(()))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text("async def test_one() -> None: ...\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("`tests/test_it.py::test_one`, `tests/test_it.py::test_on`, `tests/other.py::test_one`\n", "utf-8")
    assert list(documents.broken(page)) == [
        "page.md: no such test: tests/test_it.py::test_on",
        "page.md: no such test: tests/other.py::test_one",
    ]
