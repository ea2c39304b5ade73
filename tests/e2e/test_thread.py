"""One ticket all the way through: a signed webhook in, the explained inbox, profile, advice and draft out."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event, zendesk_headers


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop of its own for each test."""
    return await new_shop(suite, "thread")


async def inbox(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Read the inbox as the frontend reads it."""
    answer = await client.get("/api/tickets?status=open&smart_order=true")
    assert answer.status_code == 200, answer.text
    tickets: list[dict[str, Any]] = answer.json()["tickets"]
    return tickets


async def arrived(client: httpx.AsyncClient, count: int = 1) -> list[dict[str, Any]]:
    """Wait, at most two seconds, until so many tickets stand in the inbox."""

    async def enough() -> list[dict[str, Any]] | None:
        tickets = await inbox(client)
        return tickets if len(tickets) >= count else None

    return await eventually(enough, within=2.0)


async def test_a_signed_webhook_becomes_an_explained_ticket(suite: SuiteUnderTest, shop: Shop) -> None:
    """Within two seconds the ticket stands in the inbox with score, profile, notes, messages, draft and advice."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        body = zendesk_event(shop, "9001", subject="My parcel is damaged, I want a refund")
        assert (await send_webhook(client, shop, body)).status_code < 300
        (card,) = await arrived(client)
        assert isinstance(card["smart_score"], float)
        assert card["channel"] == "email"
        assert card["created_at"].endswith("Z")
        path = f"/api/tickets/{card['id']}"
        ticket = (await client.get(path)).json()
        assert ticket["messages"][0]["from_agent"] is False
        assert ticket["notes"] == []
        assert ticket["customer_profile"]["business_metrics"]["total_orders"] == 5
        breakdown = (await client.get(f"{path}/score-breakdown")).json()
        assert sum(breakdown["components"].values()) == pytest.approx(breakdown["total_score"], abs=1e-6)
        draft = (await client.get(f"/api/ai/tickets/{card['id']}/draft-response?_t=1700000000000")).json()
        assert draft["draft"]
        assert draft["tone"]
        advice = (await client.get(f"/api/ai/tickets/{card['id']}/recommendation")).json()
        assert 2 <= len(advice["actions"]) <= 4
        assert isinstance(advice["estimated_impact"]["revenue_at_risk"], int | float)


async def test_a_second_identical_delivery_changes_nothing(suite: SuiteUnderTest, shop: Shop) -> None:
    """A redelivery is answered 2xx and makes neither a ticket nor a message."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        body = zendesk_event(shop, "9002")
        answers = [await send_webhook(client, shop, body) for _ in range(2)]
        assert all(answer.status_code < 300 for answer in answers)
        later = zendesk_event(shop, "9003")
        assert (await send_webhook(client, shop, later)).status_code < 300
        tickets = await arrived(client, 2)
        assert len(tickets) == 2
        for ticket in tickets:
            assert len((await client.get(f"/api/tickets/{ticket['id']}")).json()["messages"]) == 1


async def test_one_flipped_bit_is_refused(suite: SuiteUnderTest, shop: Shop) -> None:
    """A body that differs by one bit from what was signed is 401, with a problem that says so in words."""
    body = zendesk_event(shop, "9004")
    headers = zendesk_headers(shop.webhook_secret, body)
    flipped = bytearray(body)
    flipped[len(body) // 2] ^= 1
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        answer = await client.post(shop.webhook_url, content=bytes(flipped), headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert await inbox(client) == []


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_stale_or_future_signature_is_refused(suite: SuiteUnderTest, shop: Shop, minutes: int) -> None:
    """A signature whose time is more than five minutes off, either way, is 401."""
    body = zendesk_event(shop, "9005")
    headers = zendesk_headers(shop.webhook_secret, body, datetime.now(UTC) + timedelta(minutes=minutes))
    async with suite.client() as client:
        assert (await client.post(shop.webhook_url, content=body, headers=headers)).status_code == 401


async def test_the_vendors_public_test_secret_is_refused(suite: SuiteUnderTest, shop: Shop) -> None:
    """Anybody can sign with the secret that the vendor's documents print, so no connection may use it."""
    connection = {
        "provider": "zendesk",
        "config": {"subdomain": "acme"},
        "secrets": {"webhook_secret": "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="},
    }
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        answer = await client.post("/v1/connections", json=connection)
    assert answer.status_code == 400
    assert "webhook_secret" in json.dumps(answer.json())


async def test_http_answers_308_to_the_same_path_and_query(suite: SuiteUnderTest) -> None:
    """Plain HTTP redirects to HTTPS, with method, path and query kept."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{suite.http_url}/api/tickets?status=open&x=%2F")
    assert answer.status_code == 308
    assert answer.headers["location"] == f"{suite.https_url}/api/tickets?status=open&x=%2F"


async def test_both_slash_forms_are_served_without_redirect(suite: SuiteUnderTest, shop: Shop) -> None:
    """A trailing slash makes no difference."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        for path in ("/api/tickets", "/api/tickets/", "/api/tickets/?status=open", "/v1/tickets/"):
            assert (await client.get(path)).status_code == 200, path


async def test_the_regenerated_tone_stays(suite: SuiteUnderTest, shop: Shop) -> None:
    """After two regenerations every read answers, with the last tone, until a message arrives."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        await send_webhook(client, shop, zendesk_event(shop, "9006"))
        (card,) = await arrived(client)
        path = f"/api/ai/tickets/{card['id']}/draft-response"
        for tone in ("friendly", "apologetic"):
            made = await client.post(f"{path}/regenerate", json={"tone": tone})
            assert made.status_code == 200, made.text
        reads = await asyncio.gather(*(client.get(path) for _ in range(5)))
        assert {read.json()["tone"] for read in reads} == {"apologetic"}
        assert {read.json()["draft"] for read in reads} == {made.json()["draft"]}
        message = {
            "from_agent": False,
            "send_to_customer": True,
            "author_name": "Kim",
            "content": "I want to cancel it.",
        }
        assert (await client.post(f"/api/tickets/{card['id']}/messages", json=message)).status_code < 300
        assert (await client.get(path)).json()["draft"] != made.json()["draft"]
        assert (await client.get(f"/api/ai/tickets/{card['id']}/recommendation")).status_code == 200


async def test_the_ticket_that_can_least_wait_comes_first(suite: SuiteUnderTest, shop: Shop) -> None:
    """An old urgent ticket stands above a fresh question, and the shown score falls in the order sent."""
    old = datetime.now(UTC) - timedelta(hours=30)
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        await send_webhook(client, shop, zendesk_event(shop, "1", subject="Which colours are there", priority="LOW"))
        await send_webhook(
            client, shop, zendesk_event(shop, "2", subject="Broken and urgent", priority="URGENT", created_at=old)
        )
        tickets = await arrived(client, 2)
    assert tickets[0]["subject"].startswith("Broken and urgent")
    scores = [ticket["smart_score"] for ticket in tickets]
    assert scores == sorted(scores, reverse=True)


BAD_REQUESTS = [
    ("malformed json", "POST", "/api/tickets", b'{"customer_id": ', 400),
    ("wrong type", "POST", "/api/tickets", b'{"customer_id": {"a": 1}}', 400),
    ("missing fields", "POST", "/api/tickets", b"{}", 400),
    (
        "unknown channel",
        "POST",
        "/api/tickets",
        b'{"customer_id":"c","channel":"fax","initial_message":"x","author_name":"y"}',
        400,
    ),
    ("unknown status", "GET", "/api/tickets?status=lost", None, 400),
    ("page zero", "GET", "/api/tickets?page=0", None, 400),
    ("limit too large", "GET", "/api/tickets?limit=1000", None, 400),
    ("unknown sort", "GET", "/api/tickets?sort=password", None, 400),
    ("unknown route", "GET", "/api/nothing", None, 404),
    ("unknown ticket", "GET", "/api/tickets/T-99999", None, 404),
    ("impossible number", "GET", "/api/tickets/T-99999999999999999999999", None, 404),
    ("wrong method", "DELETE", "/api/tickets", None, 405),
    ("oversize", "POST", "/api/tickets", b"x" * (2 * 1024 * 1024), 413),
    (
        "NUL",
        "POST",
        "/api/tickets",
        b'{"customer_id":"a\\u0000b","channel":"email","initial_message":"x","author_name":"y"}',
        400,
    ),
]


@pytest.mark.parametrize(
    ("case", "method", "path", "body", "status"), BAD_REQUESTS, ids=[case[0] for case in BAD_REQUESTS]
)
async def test_bad_input_gets_a_precise_problem(
    suite: SuiteUnderTest, shop: Shop, case: str, method: str, path: str, body: bytes | None, status: int
) -> None:
    """Whatever a client sends wrongly is answered with its 4xx and a problem whose `detail` is a sentence."""
    headers = {"x-api-key": shop.api_key, "origin": "http://localhost:5173"}
    async with suite.client(**headers) as client:
        answer = await client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, f"{case}: {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    assert len(problem["detail"]) > 5
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
