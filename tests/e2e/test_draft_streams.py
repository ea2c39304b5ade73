"""Drafts through the real gateway: read, written anew, and told as events and as lines of JSON."""

import json

import pytest

from tests.support.events import parsed
from tests.support.world import Shop, SuiteUnderTest, new_shop

NEW = {"customer_id": "c-1", "channel": "email", "initial_message": "My mug is broken!"}


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop of its own for each test."""
    return await new_shop(suite, "drafts")


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
async def test_a_draft_is_told_as_events_and_then_is_the_current_one(
    suite: SuiteUnderTest, shop: Shop, http2: bool
) -> None:
    """Not buffered into one JSON answer, nor compressed, and the frontend reads the same draft."""
    async with suite.client(http2=http2, **{"x-api-key": shop.api_key}) as client:
        number = (await client.post("/v1/tickets", json=NEW)).json()["number"]
        wish = {"wish": {"tone": "apologetic", "length": "long", "language": "fr"}}
        answer = await client.post(f"/v1/tickets/{number}/draft:stream", json=wish)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        *pieces, last = parsed(answer.text)
        made = json.loads(last["data"])
        assert last["event"] == "draft"
        assert "".join(json.loads(piece["data"])["text"] for piece in pieces) == made["draft"]
        assert (made["tone"], made["length"], made["language"]) == ("apologetic", "long", "fr")
        assert (await client.get(f"/v1/tickets/{number}/draft")).json() == made
        assert (await client.get(f"/api/ai/tickets/{number}/draft-response?_t=1")).json() == made
        lines = (await client.post(f"/v1/tickets/{number}/draft:streamLines", json={})).text.splitlines()
        told = [json.loads(line) for line in lines]
        assert "".join(one["text"] for one in told[:-1]) == told[-1]["draft"]["draft"]
        again = await client.post(f"/v1/tickets/{number}/draft:regenerate", json=wish)
        assert again.json()["draft"] == made["draft"]


async def test_a_stream_of_no_ticket_is_refused_before_it_begins(suite: SuiteUnderTest, shop: Shop) -> None:
    """With an ordinary problem, so that a page can tell what is wrong; a wrong wish as well."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        missing = await client.post("/v1/tickets/T-404/draft:stream", json={})
        wrong = await client.post("/v1/tickets/T-404/draft:stream", json={"wish": {"tone": "sarcastic"}})
    assert (missing.status_code, missing.json()["reason"]) == (404, "TICKET_NOT_FOUND")
    assert missing.headers["content-type"] == "application/problem+json"
    assert wrong.status_code == 400
    assert wrong.json()["violations"][0]["field"] == "wish.tone"
