"""`rapport article …` on a suite that runs: pages of a folder become articles that are found, shown and deleted."""

import json
from pathlib import Path

import pytest

from tests.support.suite import Ran, rapport
from tests.support.world import Shop, SuiteUnderTest, new_shop


def run(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command about the shop's articles."""
    return rapport("article", *arguments, "--tenant", shop.slug, "--json", "--data", suite.data)


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop without articles."""
    return await new_shop(suite, "article")


async def test_pages_are_imported_found_and_deleted(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """The import may be repeated, names what it refuses, and takes the rest."""
    (tmp_path / "returns.md").write_text("# Returns\n\nYou can send anything back within 30 days.")
    (tmp_path / "care.html").write_text("<h1>Lamp care</h1><p>Wipe the lamp with a dry cloth.</p><script>x</script>")
    (tmp_path / "odd.md").write_bytes(b"# Odd\n\n\xff\xfe\xfa")
    (tmp_path / "linked.md").write_text("---\ntitle: L\nurl: javascript:x\n---\nText")
    first = run(suite, shop, "import", str(tmp_path)).value
    assert (first["created"], first["changed"], first["unchanged"]) == (2, 0, 0)
    assert {one["source"]: one["reason"] for one in first["refused"]} == {
        "odd.md": "UNREADABLE",
        "linked.md": "REQUEST_INVALID",
    }
    assert run(suite, shop, "import", str(tmp_path)).value["unchanged"] == 2

    listed = run(suite, shop, "list").value["articles"]
    assert sorted(one["source"] for one in listed) == ["care.html", "returns.md"]
    best = run(suite, shop, "search", "Can I send something back?").value["passages"][0]
    assert best["title"] == "Returns"
    shown = run(suite, shop, "show", best["article_id"]).value
    assert shown["body"] == "You can send anything back within 30 days."
    assert run(suite, shop, "suggest").value == {"suggestions": [], "ticket_count": 0}

    run(suite, shop, "delete", best["article_id"])
    gone = run(suite, shop, "show", best["article_id"])
    assert gone.value["error"]["reason"] == "ARTICLE_NOT_FOUND"


async def test_a_folder_without_pages_is_an_error(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """Nothing is imported by mistake, and the mistake is told."""
    assert run(suite, shop, "import", str(tmp_path)).value["error"]["reason"] == "NOTHING_TO_IMPORT"
    assert run(suite, shop, "import", str(tmp_path / "nowhere")).value["error"]["reason"] == "USAGE"


async def test_what_was_imported_before_a_failure_is_told(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """Batches up to the shop's limit are kept and counted; the command fails with the reason and with the counts."""
    pages = "\n".join(json.dumps({"id": f"p{number}", "markdown": f"# T{number}\n\nText"}) for number in range(2_030))
    (tmp_path / "dump.jsonl").write_text(pages + '\n{"id": "nothing"}')
    done = run(suite, shop, "import", str(tmp_path / "dump.jsonl"), "--kind", "policy")
    assert done.code == 1
    error = done.value["error"]
    assert (error["reason"], error["created"], error["changed"]) == ("KNOWLEDGE_FULL", 2_000, 0)
    assert len(run(suite, shop, "list", "--limit", "2000").value["articles"]) == 2_000
