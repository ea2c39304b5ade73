"""The frontend's knowledge-base page, as it asks: with an API key and nothing else, through the gateway."""

from typing import Any

import httpx
import pytest

from tests.support.world import Shop, SuiteUnderTest, new_shop

QUESTIONS = ("How do I clean the lamp shade?", "how to clean a lamp shade", "Cleaning my lamp shade, order 4711")


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop of its own for each test."""
    return await new_shop(suite, "library")


@pytest.fixture
def page(suite: SuiteUnderTest, shop: Shop) -> httpx.AsyncClient:
    """A client that sends what the page sends."""
    return suite.client(**{"x-api-key": shop.api_key})


async def asked(page: httpx.AsyncClient, path: str, **body: Any) -> Any:
    """Post to the knowledge base."""
    answer = await page.post(f"/api/knowledge-base/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_missing_articles_are_suggested_and_outlined(page: httpx.AsyncClient) -> None:
    """What three customers asked and no article answers: counted, named, and put into an outline with the answer."""
    async with page:
        for number, subject in enumerate(QUESTIONS):
            body = {
                "customer_id": f"customer-{number}",
                "subject": subject,
                "channel": "email",
                "priority": "normal",
                "initial_message": "I do not want to damage it.",
                "author_name": "Kim Doe",
                "author_email": "kim@example.com",
            }
            ticket = (await page.post("/api/tickets", json=body)).json()["ticket"]["id"]
            reply = {
                "from_agent": True,
                "send_to_customer": True,
                "author_name": "Agent",
                "content": "Hello Kim! Please wipe the lamp shade with a dry cloth. Order 4711 is on its way.",
            }
            assert (await page.post(f"/api/tickets/{ticket}/messages", json=reply)).status_code < 300
        found = await asked(page, "article-suggestions", limit=10)
        (suggestion,) = found["suggestions"]
        assert found["data"]["suggestions"] == [suggestion]
        assert suggestion["priority"] in {"Critical", "High", "Medium"}
        assert suggestion["impact_estimate"] == {
            "tickets_to_deflect": 3,
            "customers_affected": 3,
            "avg_resolution_hours_saved": 0.0,
        }
        assert set(suggestion["source_data"]["sample_subjects"]) == set(QUESTIONS)
        made = await asked(page, "generate-article", topic=suggestion["article_title"])
        assert "Please wipe the lamp shade with a dry cloth." in made["article"]
        assert "Kim" not in made["article"]
        assert "4711" not in made["article"]
        issues = await asked(page, "top-deflectable-issues", limit=5, min_tickets=2)
        assert [issue["ticket_count"] for issue in issues["data"]["issues"]] == [3]


async def test_articles_are_listed_read_changed_and_deleted(page: httpx.AsyncClient) -> None:
    """The calls of the page's library; a draft of a ticket's answer may cite what stands there."""
    async with page:
        article = {"title": "Returns", "body": "You can send anything back within 30 days.", "kind": "policy"}
        made = (await page.post("/v1/articles", json={"article": article})).json()
        listed = (await page.get("/api/knowledge-base/articles?limit=10&offset=0&status=published")).json()["data"]
        assert [one["id"] for one in listed["articles"]] == [made["id"]]
        path = f"/api/knowledge-base/articles/{made['id']}"
        changed = await page.put(path, json={"title": "Sending back", "content": "Within **40** days."})
        assert (changed.status_code, changed.json()["data"]["content"]) == (200, "Within 40 days.")
        assert (await page.get(path)).json()["data"]["title"] == "Sending back"
        search = (await page.get("/v1/articles:search", params={"query": "send back"})).json()
        assert [one["text"] for one in search["passages"]] == ["Within 40 days."]
        assert (await page.delete(path)).json()["data"] == {"id": made["id"], "deleted": True}
        gone = await page.get(path)
        assert (gone.status_code, gone.json()["reason"]) == (404, "ARTICLE_NOT_FOUND")
        assert gone.json()["detail"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", "generate-article", {"topic": ""}, 400),
        ("POST", "generate-article", {}, 400),
        ("POST", "generate-article", {"topic": "x" * 501}, 400),
        ("POST", "article-suggestions", {"limit": -1}, 400),
        ("POST", "article-suggestions", {"limit": "many"}, 400),
        ("GET", "articles/not-an-id", None, 400),
        ("GET", "articles?offset=-1", None, 400),
        ("PUT", "articles/01890000-0000-7000-8000-0000000000dd", {"title": "X"}, 404),
        ("DELETE", "articles/01890000-0000-7000-8000-0000000000dd", None, 404),
    ],
)
async def test_bad_requests_are_refused_with_a_detail(
    page: httpx.AsyncClient, verb: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    """Nothing that the page may send ends in a failure of ours."""
    async with page:
        answer = await page.request(verb, f"/api/knowledge-base/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
