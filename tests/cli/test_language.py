"""`rapport language …`: anybody's labels measured without a suite, and a shop's rules on one that runs."""

import json
import uuid
from pathlib import Path

import pytest

from tests.support.suite import rapport
from tests.support.world import SuiteUnderTest

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


def test_a_shops_rules_are_shown_changed_and_tried(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """What `show` prints can be edited and given back; a text is read by it at once, and a stale etag is refused."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    rapport("tenant", "create", "--slug", slug, "--name", "A shop", "--json", "--data", suite.data)
    where = ("--tenant", slug, "--data", suite.data)
    shown = rapport("language", "rules", "show", *where, "--json").value
    assert shown["is_default"]
    shown["rules"].append({"name": "gift", "phrases": ["birthday _ saturday"], "level": "urgent"})
    (tmp_path / "rules.json").write_text(json.dumps(shown))
    changed = rapport("language", "rules", "set", str(tmp_path / "rules.json"), *where, "--json").value
    assert (changed["is_default"], changed["rules"][-1]["name"]) == (False, "gift")
    told = rapport("language", "analyze", "the birthday is on Saturday", *where, "--json").value
    assert told["keyword_rules"] == ["gift"]
    assert "Keyword rules: gift" in rapport("language", "analyze", "the birthday is on Saturday", *where).output
    assert "birthday _ saturday" in rapport("language", "rules", "show", *where).output
    refused = rapport("language", "rules", "set", str(tmp_path / "rules.json"), *where, "--json")
    assert refused.value["error"]["reason"] == "ETAG_MISMATCH"


@pytest.mark.parametrize("text", ["{", "[]", '{"rules": 3}', '{"rules": [{"names": "x"}]}'])
def test_a_file_without_rules_is_wrong_usage(tmp_path: Path, text: str) -> None:
    """It is refused before anybody is asked."""
    (tmp_path / "rules.json").write_text(text)
    ran = rapport("language", "rules", "set", str(tmp_path / "rules.json"), "--tenant", "shop", "--json")
    assert (ran.code, ran.value["error"]["reason"]) == (2, "USAGE")
