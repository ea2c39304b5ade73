"""Articles and policies over the wire, on a real Postgres: kept, imported, found, and which are missing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
import orjson
import pytest
from rapport.recommendations.v1 import knowledge_service_pb2

from servicekit.ids import uuid7
from services.recommendations import knowledge
from services.recommendations.knowledge import Edit
from tests.recommendations.conftest import reason
from tests.recommendations.knowing import Librarian, library
from tests.support.servers import ServiceDatabase
from tests.support.tokens import Issuer

RETURNS = (
    "You can send anything back within 30 days. The parcel back is free.\n\n## Refunds\n\nWe refund within 5 days."
)
CONFIGS = "SELECT configs FROM recommendations.knowledge"
EPOCHS = "SELECT epoch FROM recommendations.advice_epochs"
SHIPPING = "Parcels leave our house the same day. Delivery takes three working days within the country."


@pytest.fixture
async def shop(recommendations_database: ServiceDatabase, issuer: Issuer) -> AsyncIterator[Librarian]:
    """Somebody of a new tenant."""
    async with library(recommendations_database.app_url, issuer) as librarian:
        yield librarian


async def rows(shop: Librarian, query: str) -> list[tuple[Any, ...]]:
    """Return what the shop's tables hold."""
    async with shop.database.driver_tenant(shop.tenant_id) as driver:
        return [tuple(row) for row in await driver.fetch(query)]


async def refused(call: object) -> str:
    """Return the reason of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return reason(caught.value)


async def test_an_article_is_kept_changed_and_deleted(shop: Librarian) -> None:
    """What was written is read, a change by an old etag is refused, and what is deleted is gone from the search too."""
    made = await shop.write("Returns", RETURNS, url="https://shop.example/returns")
    assert (made.kind, made.language, made.status) == ("article", "en", "published")
    assert await shop.call("GetArticle", article=made.id) == made

    changed = await shop.call("UpdateArticle", article=made.id, body="Forty days.", etag=made.etag)
    assert (changed.title, changed.body, changed.url) == ("Returns", "Forty days.", made.url)
    assert changed.etag != made.etag
    assert await refused(shop.call("UpdateArticle", article=made.id, title="X", etag=made.etag)) == "ETAG_MISMATCH"
    assert await refused(shop.call("DeleteArticle", article=made.id, etag=made.etag)) == "ETAG_MISMATCH"

    assert (await shop.call("SearchArticles", query="returns")).passages
    await shop.call("DeleteArticle", article=made.id, etag=changed.etag)
    assert await refused(shop.call("GetArticle", article=made.id)) == "ARTICLE_NOT_FOUND"
    assert not (await shop.call("SearchArticles", query="returns")).passages


async def test_a_change_that_changes_nothing_leaves_the_etag(shop: Librarian) -> None:
    """The same words once more are no change."""
    made = await shop.write("Returns", RETURNS)
    again = await shop.call("UpdateArticle", article=made.id, body=made.body, title=made.title)
    assert again == made


async def test_articles_are_listed_in_pages_without_their_bodies(shop: Librarian) -> None:
    """Newest first, each once, and by kind or status if asked for."""
    names = [f"Article {number}" for number in range(5)]
    for name in names:
        await shop.write(name, "Text.", kind="policy" if name.endswith("0") else "article")
    first = await shop.call("ListArticles", page_size=3)
    second = await shop.call("ListArticles", page_size=3, page_token=first.next_page_token)
    assert [article.title for article in [*first.articles, *second.articles]] == names[::-1]
    assert not second.next_page_token
    assert not any(article.body for article in first.articles)
    assert [article.title for article in (await shop.call("ListArticles", kind="policy")).articles] == ["Article 0"]
    assert await refused(shop.call("ListArticles", kind="policy", page_token=first.next_page_token)) == (
        "PAGE_TOKEN_INVALID"
    )


async def test_an_import_may_be_repeated(shop: Librarian) -> None:
    """New pages are created, changed ones changed, the same ones left; a page that cannot be taken stops no other."""
    pages = {"returns.md": f"# Returns\n\n{RETURNS}", "shipping.md": f"# Shipping\n\n{SHIPPING}"}
    first = await shop.bring(**pages, **{"empty.md": "<!-- nothing -->", "untitled.md": "Text without a heading."})
    assert (first.created_count, first.changed_count, first.unchanged_count) == (2, 0, 0)
    assert {one.source: one.reason for one in first.refused} == {
        "empty.md": "ARTICLE_INVALID",
        "untitled.md": "ARTICLE_INVALID",
    }
    pages["shipping.md"] += " Abroad it takes a week."
    second = await shop.bring(**pages)
    assert (second.created_count, second.changed_count, second.unchanged_count) == (0, 1, 1)
    listed = (await shop.call("ListArticles")).articles
    assert sorted(article.source for article in listed) == ["returns.md", "shipping.md"]
    taken = knowledge_service_pb2.ArticleContent(title="X", body="Y", source="returns.md")
    assert await refused(shop.call("CreateArticle", article=taken)) == "ARTICLE_EXISTS"


async def test_an_import_leaves_what_was_unpublished_or_edited_until_its_page_changes(shop: Librarian) -> None:
    """The same pages again publish nothing and undo no edit; a page that changed wins, and keeps the status."""
    page = {"returns.md": f"# Returns\n\n{RETURNS}"}
    await shop.bring(**page)
    (made,) = (await shop.call("ListArticles")).articles
    await shop.call("UpdateArticle", article=made.id, body="Forty days.", status="draft")
    assert (await shop.bring(**page)).unchanged_count == 1
    kept = await shop.call("GetArticle", article=made.id)
    assert (kept.body, kept.status) == ("Forty days.", "draft")
    page["returns.md"] = "# Returns\n\nFifty days."
    assert (await shop.bring(**page)).changed_count == 1
    changed = await shop.call("GetArticle", article=made.id)
    assert (changed.body, changed.status, changed.id) == ("Fifty days.", "draft", made.id)
    assert not (await shop.call("SearchArticles", query="fifty days")).passages
    content = knowledge_service_pb2.ArticleContent(
        source="returns.md", title="Returns", body="Fifty days.", status="published"
    )
    await shop.call("ImportArticles", articles=[content])
    assert (await shop.call("SearchArticles", query="fifty days")).passages


async def test_a_source_may_have_as_many_bytes_as_the_contract_says(shop: Librarian) -> None:
    """The longest one is kept, in letters of several bytes and random ones too."""
    source = "".join(chr(0x4E00 + (place * 7919) % 20_000) for place in range(333))
    assert (await shop.bring(**{source: "# T\n\nText"})).created_count == 1
    assert (await shop.bring(**{source: "# T\n\nText"})).unchanged_count == 1


async def test_edits_of_an_article_at_the_same_time_are_all_kept(shop: Librarian) -> None:
    """None undoes another one, and none is refused that names no etag."""
    made = await shop.write("Returns", RETURNS)
    edits = [
        Edit(title="Sending back"),
        Edit(body="Forty days."),
        Edit(url="https://shop.example/r"),
        Edit(kind="policy"),
    ]
    await asyncio.gather(*(shop.knowledge.change(shop.tenant_id, UUID(made.id), edit) for edit in edits))
    kept = await shop.call("GetArticle", article=made.id)
    assert (kept.title, kept.body, kept.url, kept.kind) == (
        "Sending back",
        "Forty days.",
        "https://shop.example/r",
        "policy",
    )


async def test_languages_that_no_article_has_any_more_are_not_compared(shop: Librarian) -> None:
    """Deleting the only German article ends comparing words as in German."""
    german = await shop.write("Versand", "Wir verschicken alle Lampen am selben Tag.", language="de")
    await shop.write("Shipping", SHIPPING, language="en")
    assert await rows(shop, CONFIGS) == [(["english", "german"],)]
    await shop.call("DeleteArticle", article=german.id)
    assert await rows(shop, CONFIGS) == [(["english"],)]


async def test_only_a_change_of_what_is_cited_makes_advice_out_of_date(shop: Librarian) -> None:
    """Drafts are written, edited and deleted without a word to the advice; publishing and unpublishing count."""
    draft = await shop.write("Secret", RETURNS, status="draft")
    await shop.call("UpdateArticle", article=draft.id, body="Forty days.")
    assert await rows(shop, EPOCHS) == []
    await shop.call("UpdateArticle", article=draft.id, status="published")
    assert await rows(shop, EPOCHS) == [(1,)]
    await shop.call("UpdateArticle", article=draft.id, status="draft", title="Open")
    assert await rows(shop, EPOCHS) == [(2,)]
    await shop.call("DeleteArticle", article=draft.id)
    await shop.bring(**{"empty.md": "<!-- nothing -->"})
    assert await rows(shop, EPOCHS) == [(2,)]


async def test_html_is_kept_as_what_a_reader_sees_of_it(shop: Librarian) -> None:
    """Scripts, styles and tags are gone, also those that were written as entities."""
    page = (
        "<html><head><title>Returns \u2013 Shop</title><style>p{}</style></head><body><nav>Home</nav><main>"
        "<h1>Returns</h1><p onclick='x()'>Send it <a href='javascript:x()'>back</a>. <script>alert(1)</script>"
        "&lt;script&gt;alert(2)&lt;/script&gt;</p></main></body></html>"
    )
    made = await shop.write("", page, format=knowledge_service_pb2.ArticleContent.FORMAT_HTML)
    assert made.title == "Returns"
    assert made.body == "Send it back. \u2039script>alert(2)\u2039/script>"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"body": "x " * 150_000}, "ARTICLE_TOO_LONG"),
        ({"body": "x" * 1_000_001}, "REQUEST_INVALID"),
        ({"body": "a\x00b"}, "REQUEST_INVALID"),
        ({"body": "\u200b\u202e"}, "ARTICLE_INVALID"),
        ({"body": "x", "url": "javascript:alert(1)"}, "REQUEST_INVALID"),
        ({"body": "x", "kind": "advice"}, "REQUEST_INVALID"),
        ({"body": "x", "language": "english"}, "REQUEST_INVALID"),
        ({"body": "x", "title": ""}, "ARTICLE_INVALID"),
        ({"body": "x", "source": "\u4e2d" * 334}, "REQUEST_INVALID"),
    ],
)
async def test_what_is_no_article_is_refused(shop: Librarian, fields: dict[str, str], expected: str) -> None:
    """Each with its own reason, and nothing of it is kept."""
    content = knowledge_service_pb2.ArticleContent(**{"title": "T", **fields})
    assert await refused(shop.call("CreateArticle", article=content)) == expected
    assert not (await shop.call("ListArticles")).articles


async def test_an_unknown_article_is_not_found(shop: Librarian) -> None:
    """By each method that names one."""
    unknown = str(uuid7())
    for call in (
        shop.call("GetArticle", article=unknown),
        shop.call("UpdateArticle", article=unknown, title="X"),
        shop.call("DeleteArticle", article=unknown),
        shop.ask("GetBaseArticle", article=unknown),
        shop.ask("UpdateBaseArticle", article=unknown, title="X"),
        shop.ask("DeleteBaseArticle", article=unknown),
    ):
        assert await refused(call) == "ARTICLE_NOT_FOUND"


async def test_a_shop_cannot_keep_more_than_its_limit(shop: Librarian, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would go beyond is refused as a whole; what is there may still be changed."""
    monkeypatch.setattr(knowledge, "MAX_ARTICLES", 2)
    made = await shop.write("One", SHIPPING)
    await shop.write("Two", SHIPPING)
    assert await refused(shop.bring(**{"a.md": "# Three\n\nText", "b.md": "# Four\n\nText"})) == "KNOWLEDGE_FULL"
    assert len((await shop.call("ListArticles")).articles) == 2
    assert (await shop.call("UpdateArticle", article=made.id, title="Uno")).title == "Uno"


async def test_passages_are_found_by_words_and_by_meaning(shop: Librarian) -> None:
    """Other words for the same find an article as well as its own; a draft article is not found."""
    returns = await shop.write("Returns", RETURNS, url="https://shop.example/returns")
    shipping = await shop.write("Delivery times", SHIPPING)
    await shop.write("Secret", "We return everything to everybody for a refund.", status="draft")
    for question, expected in (
        ("Can I send back a lamp and get my money?", returns.id),
        ("refunds", returns.id),
        ("How long does shipping take?", shipping.id),
    ):
        found = (await shop.call("SearchArticles", query=question)).passages
        assert found[0].article_id == expected, question
        assert {passage.article_id for passage in found} <= {returns.id, shipping.id}
    best = (await shop.call("SearchArticles", query="When do you refund?", limit=1)).passages
    assert [passage.text for passage in best] == ["We refund within 5 days."]


async def test_words_are_compared_in_the_language_of_the_article(shop: Librarian) -> None:
    """A German article is found by another form of its words, and an article in the asked language comes first."""
    german = await shop.write(
        "R\u00fccksendungen", "Sie k\u00f6nnen die bestellten Lampen zur\u00fccksenden.", language="de"
    )
    english = await shop.write("Returns", "You can send lamps back to us.", language="en")
    found = (await shop.call("SearchArticles", query="bestellte Lampe", language="de")).passages
    assert found[0].article_id == german.id
    found = (await shop.call("SearchArticles", query="lamps", language="en")).passages
    assert found[0].article_id == english.id


async def test_only_what_is_near_is_cited(shop: Librarian) -> None:
    """A draft is given the passage that answers, and nothing for a question that no article answers."""
    made = await shop.write("Returns", RETURNS, kind="policy", url="https://shop.example/returns")
    cited = await shop.knowledge.passages(shop.tenant_id, "I want to return my order and get a refund", "en")
    assert cited
    assert (cited[0].article_id, cited[0].kind, cited[0].url) == (made.id, "policy", "https://shop.example/returns")
    assert await shop.knowledge.passages(shop.tenant_id, "Do you know a good recipe for soup?", "en") == ()


@pytest.mark.parametrize("question", ["", "   ", "?!", "'", "' | 'x", "a & !b", "\\", "%", "\U0001f621", "x" * 5000])
async def test_no_question_breaks_the_search(shop: Librarian, question: str) -> None:
    """Marks of the query language mean nothing, and what has no words finds nothing."""
    await shop.write("Returns", RETURNS)
    assert isinstance(await shop.knowledge.search(shop.tenant_id, question), list)


async def test_shops_do_not_see_one_anothers_articles(shop: Librarian) -> None:
    """Neither by id, nor in the list, nor by the search, nor by an import of the same source."""
    made = await shop.write("Returns", RETURNS, source="returns.md")
    other = replace(shop, tenant_id=uuid7())
    assert await refused(other.call("GetArticle", article=made.id)) == "ARTICLE_NOT_FOUND"
    assert not (await other.call("ListArticles")).articles
    assert not (await other.call("SearchArticles", query="returns")).passages
    assert await other.knowledge.passages(other.tenant_id, "returns") == ()
    assert (await other.bring(**{"returns.md": "# Ours\n\nText"})).created_count == 1
    assert (await shop.call("GetArticle", article=made.id)).title == "Returns"


async def test_a_key_of_a_page_may_read_and_not_write(shop: Librarian) -> None:
    """What a shop promises is changed with the scope of policies only."""
    made = await shop.write("Returns", RETURNS)
    page = replace(shop, scopes=("recommendations.read", "recommendations.write", "tickets.read"))
    assert (await page.call("GetArticle", article=made.id)).id == made.id
    for call in (
        page.call("DeleteArticle", article=made.id),
        page.write("X", "Y"),
        page.bring(**{"a.md": "# A\n\nB"}),
        page.ask("UpdateBaseArticle", article=made.id, title="X"),
        page.ask("DeleteBaseArticle", article=made.id),
    ):
        assert await refused(call) == "SCOPE_MISSING"


WANTED = [
    "How do I clean the lamp shade?",
    "Re: how to clean my lamp shade",
    "cleaning the lamp shade of order #4711",
    "How can I clean a lamp shade",
]


def asked_by_many(shop: Librarian) -> None:
    """Let many ask one thing that no article answers, and some another one that an article answers."""
    for place, subject in enumerate(WANTED):
        answer = f"Hello Kim,\nplease wipe the lamp shade with a dry cloth. Order #{place} is fine. Kim, thanks!"
        shop.desk.ask(shop.tenant_id, subject, answer, customer=f"c-{place % 3}", hours=2.0 + place, agent="Kim Doe")
    for _ in range(3):
        shop.desk.ask(shop.tenant_id, "How do I return my order?", "Within 30 days.", messages=6)
    shop.desk.ask(shop.tenant_id, "Lost my password")


async def test_what_many_ask_and_no_article_answers_is_suggested(shop: Librarian) -> None:
    """With counts that are counted, the most wanted first; what an article answers is left out."""
    asked_by_many(shop)
    await shop.write("Returns", f"How to return your order. {RETURNS}")
    answer = await shop.ask("SuggestArticles", limit=10)
    assert answer["data"]["suggestions"] == answer["suggestions"]
    assert len(answer["suggestions"]) == 1
    suggestion = answer["suggestions"][0]
    assert "lamp shade" in suggestion["article_title"].lower()
    assert not any(character.isdigit() for character in suggestion["article_title"])
    assert suggestion["priority"] == "High"
    assert suggestion["article_type"] == "Guide"
    assert suggestion["impact_estimate"] == {
        "tickets_to_deflect": 4,
        "customers_affected": 3,
        "avg_resolution_hours_saved": 3.5,
    }
    assert suggestion["deflection_potential"] == 1.0
    assert set(suggestion["source_data"]["sample_subjects"]) == set(WANTED)
    plain = await shop.call("ListArticleSuggestions")
    assert plain.ticket_count == 8
    assert [one.topic for one in plain.suggestions] == [suggestion["article_title"]]


async def test_where_a_subject_says_nothing_the_first_message_counts(shop: Librarian) -> None:
    """Tickets called "Help" are no topic; what their customers write is."""
    for question in ("How do I clean the lamp shade?", "Hello, how can I clean my lamp shade? Order 4711", "Password?"):
        shop.desk.ask(shop.tenant_id, "Help", question=question)
    shop.desk.ask(shop.tenant_id, "", question="Cleaning the lamp shade")
    (suggestion,) = (await shop.call("ListArticleSuggestions")).suggestions
    assert "lamp shade" in suggestion.topic.lower()
    assert suggestion.ticket_count == 3
    assert set(suggestion.sample_subjects) == {"Help", "Cleaning the lamp shade"}


async def test_the_most_frequent_topics_say_whether_an_article_answers_them(shop: Librarian) -> None:
    """All topics of enough tickets, answered ones too."""
    asked_by_many(shop)
    await shop.write("Returns", f"How to return your order. {RETURNS}")
    answer = await shop.ask("ListDeflectableIssues", limit=10, min_tickets=3)
    found = {issue["issue"]: (issue["ticket_count"], issue["has_article"]) for issue in answer["data"]["issues"]}
    assert sorted(found.values()) == [(3, True), (4, False)]
    assert [issue["ticket_count"] for issue in answer["issues"]] == [4, 3]
    assert (await shop.ask("ListDeflectableIssues", min_tickets=4))["issues"][0]["ticket_count"] == 4


async def test_an_outline_is_made_of_what_the_shop_said(shop: Librarian) -> None:
    """It names what was asked, general sentences of answers and known articles; nobody's name and no number."""
    asked_by_many(shop)
    await shop.write("Lamp care", "How to look after your lamp and its shade.", url="https://shop.example/care")
    answer = await shop.ask("GenerateArticle", topic="How do I clean the lamp shade?")
    text = answer["article"]
    assert isinstance(text, str)
    assert "please wipe the lamp shade with a dry cloth." in text
    assert "Lamp care (https://shop.example/care)" in text
    assert "Kim" not in text
    assert not any(character.isdigit() for character in text)
    assert answer["made_of"] == {"tickets": 4, "answers": 1, "articles": ["Lamp care"]}
    assert answer["source"] == "rules"
    assert answer["labels"]
    assert not (await shop.ask("ListBaseArticles"))["data"]["articles"][1:]


async def test_suggestions_and_outlines_name_no_customer_and_hold_no_tag(shop: Librarian) -> None:
    """Names from the shop's own customers, from who takes part, and from who says so; markup is plain text."""
    async with shop.database.driver_tenant(shop.tenant_id) as driver:
        await driver.execute(
            "INSERT INTO recommendations.customers (tenant_id, customer_id, display_name) VALUES ($1, 'c-1', $2)",
            shop.tenant_id,
            "Anna Schmidt",
        )
    for subject in ("Clean the lamp shade for Anna Schmidt", "<script>alert(1)</script> clean the lamp shade"):
        shop.desk.ask(shop.tenant_id, subject, "Anna, wipe the lamp shade with a dry cloth.", customer="c-1")
    shop.desk.ask(shop.tenant_id, "Help", question="Hi, I am Anna Schmidt of Lindenweg. How to clean the lamp shade?")
    answers = [
        await shop.ask("SuggestArticles"),
        await shop.ask("ListDeflectableIssues"),
        await shop.ask("GenerateArticle", topic="<img src=x> Clean the lamp shade"),
    ]
    assert answers[0]["suggestions"][0]["source_data"]["ticket_count"] == 3
    assert answers[2]["made_of"]["tickets"] == 3
    for answer in answers:
        text = orjson.dumps(answer).decode()
        assert "lamp shade" in text
        assert not any(part in text for part in ("<script", "<img", "Anna", "Schmidt", "Lindenweg"))


async def test_the_newest_tickets_are_read_once_a_minute_for_each_caller(shop: Librarian) -> None:
    """Another caller with other scopes sees what it may see, not what was kept for somebody else."""
    shop.desk.ask(shop.tenant_id, "How do I clean the lamp shade?")
    for _ in range(3):
        assert (await shop.call("ListArticleSuggestions")).ticket_count == 1
    assert shop.desk.lists == 1
    page = replace(shop, scopes=("recommendations.read",))
    assert await refused(page.call("ListArticleSuggestions")) == "SCOPE_MISSING"
    other = replace(shop, tenant_id=uuid7())
    assert (await other.call("ListArticleSuggestions")).ticket_count == 0


async def test_one_conversation_that_cannot_be_read_ends_the_others_too(shop: Librarian) -> None:
    """The refusal is its own, and the next call asks again."""
    for _ in range(20):
        shop.desk.ask(shop.tenant_id, "Help")
    shop.desk.conversation_status = grpc.StatusCode.UNAVAILABLE
    assert await refused(shop.call("ListArticleSuggestions")) == "CONVERSATION_UNAVAILABLE"
    shop.desk.conversation_status = None
    assert (await shop.call("ListArticleSuggestions")).ticket_count == 20


async def test_a_topic_that_nobody_asked_about_makes_an_honest_outline(shop: Librarian) -> None:
    """It says that no answer was found."""
    answer = await shop.ask("GenerateArticle", topic="Gift wrapping")
    assert "No answer of the shop's was found" in answer["article"]
    assert answer["made_of"]["tickets"] == 0


async def test_a_shop_without_tickets_has_no_suggestions(shop: Librarian) -> None:
    """Empty lists, not errors."""
    assert (await shop.ask("SuggestArticles", limit=10))["suggestions"] == []
    assert (await shop.ask("ListDeflectableIssues"))["data"]["issues"] == []


async def test_without_the_tickets_service_suggestions_are_unavailable(shop: Librarian) -> None:
    """The refusal says so, and is no failure of ours."""
    shop.desk.status = grpc.StatusCode.UNAVAILABLE
    assert await refused(shop.ask("SuggestArticles")) == "CONVERSATION_UNAVAILABLE"


async def test_the_frontends_page_reads_changes_and_deletes_articles(shop: Librarian) -> None:
    """In its shapes: a list, one, a change in Markdown, and gone."""
    made = await shop.write("Returns", RETURNS)
    listed = (await shop.ask("ListBaseArticles", limit=10, offset=0))["data"]
    assert [article["id"] for article in listed["articles"]] == [made.id]
    assert listed["total"] == 1
    assert (await shop.ask("ListBaseArticles", status="draft"))["data"] == {"articles": [], "total": 0}
    one = (await shop.ask("GetBaseArticle", article=made.id))["data"]
    assert (one["title"], one["content"]) == ("Returns", made.body)
    assert one["created_at"].endswith("Z")
    changed = (await shop.ask("UpdateBaseArticle", article=made.id, content="**Forty** days.", status="draft"))["data"]
    assert (changed["content"], changed["status"]) == ("Forty days.", "draft")
    assert (await shop.ask("DeleteBaseArticle", article=made.id))["data"] == {"id": made.id, "deleted": True}
    assert await refused(shop.ask("GetBaseArticle", article=made.id)) == "ARTICLE_NOT_FOUND"


async def test_an_article_that_is_sent_back_as_it_was_read_is_unchanged(shop: Librarian) -> None:
    """The page sends the whole text with a change of the title; what Markdown would eat of it stays."""
    body = "Write * and _ as they are, snake_case_names too.\n\nPress [Enter] \\* twice."
    made = await shop.write("Marks", body)
    read = (await shop.ask("GetBaseArticle", article=made.id))["data"]
    assert read["content"] == made.body
    kept = (await shop.ask("UpdateBaseArticle", article=made.id, title="Signs", content=read["content"]))["data"]
    assert (kept["title"], kept["content"]) == ("Signs", made.body)
    same = (await shop.ask("UpdateBaseArticle", article=made.id, content=read["content"].replace("\n", "\r\n")))["data"]
    assert (same["content"], same["updated_at"]) == (made.body, kept["updated_at"])
