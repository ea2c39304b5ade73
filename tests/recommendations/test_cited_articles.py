"""Articles in drafts: what the shop says is used, and no longer when it is gone; imports at the same time."""

import asyncio

from services.recommendations.knowledge import Content, Knowledge
from tests.recommendations.conftest import Caller

QUESTION = "How do I clean the fabric shade of my lamp?"
CARE = Content("Fabric shades are brushed or vacuumed, never washed.", title="Cleaning lamp shades")


async def facts(shop: Caller, ticket: str) -> dict[str, str]:
    """Return the facts that the current draft rests on: kind by text."""
    return {fact["text"]: fact["kind"] for fact in (await shop.ask("GetDraft", ticket=ticket))["facts_used"]}


async def test_a_draft_rests_on_the_article_that_answers_until_it_is_gone(shop: Caller) -> None:
    """A new article makes the draft anew, and so does its end."""
    knowledge = Knowledge(shop.running.database, shop.running.clock)
    ticket = shop.ticket("c-1", QUESTION, subject="Lamp")
    before = await shop.ask("GetDraft", ticket=ticket)
    assert "vacuumed" not in before["draft"]
    article = await knowledge.create(shop.tenant_id, CARE)
    cited = [text for text, kind in (await facts(shop, ticket)).items() if kind == "article"]
    assert len(cited) == 1
    assert "vacuumed" in cited[0]
    assert "vacuumed" in (await shop.ask("GetDraft", ticket=ticket))["draft"]
    await knowledge.delete(shop.tenant_id, article.article_id)
    assert "article" not in (await facts(shop, ticket)).values()


async def test_imports_at_the_same_time_make_each_article_once(shop: Caller) -> None:
    """Whoever comes first creates it, and nobody fails."""
    knowledge = Knowledge(shop.running.database, shop.running.clock)
    pages = [Content(f"Text {number}", title=f"T{number}", source=f"p{number}.md") for number in range(10)]
    done = await asyncio.gather(*(knowledge.bring_in(shop.tenant_id, pages) for _ in range(6)))
    assert sum(one.created for one in done) == 10
    assert sum(one.unchanged for one in done) == 50
    assert await knowledge.count(shop.tenant_id) == 10


async def test_another_shops_articles_are_never_cited(shop: Caller, other_shop: Caller) -> None:
    """The same question to two shops, of which one has the article."""
    await Knowledge(shop.running.database, shop.running.clock).create(shop.tenant_id, CARE)
    ticket = other_shop.ticket("c-1", QUESTION, subject="Lamp")
    assert "article" not in (await facts(other_shop, ticket)).values()
