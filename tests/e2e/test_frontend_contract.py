"""The existing frontend's calls, as it sends them: from another origin, with an API key and nothing else."""

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event

ORIGIN = "http://localhost:5173"
CREATE = {
    "customer_id": "never-seen-before",
    "subject": "Where is my parcel?",
    "channel": "email",
    "priority": "normal",
    "initial_message": "I ordered two weeks ago and nothing came.",
    "author_name": "Kim Doe",
    "author_email": "kim@example.com",
}
CARD = {
    "id": str,
    "ticket_number": str,
    "customer_id": str,
    "subject": str,
    "channel": str,
    "status": str,
    "priority": str,
    "tags": list,
    "created_at": str,
    "updated_at": str,
    "message_count": int,
    "last_message_preview": str,
    "last_message_from_agent": bool,
    "smart_score": float,
    "matches_topic_alert": bool,
}
PAGINATION = {"page": int, "limit": int, "total": int, "total_pages": int, "has_next": bool, "has_prev": bool}
METRICS = {"lifetime_value": float, "avg_order_value": float, "total_orders": int, "customer_tenure_days": int}
DRAFT = {
    "ticket_id": str,
    "draft": str,
    "tone": str,
    "length": str,
    "personalization_applied": list,
    "generated_at": str,
    "source": str,
    "facts_used": list,
    "labels": list,
}
RECOMMENDATION = {
    "id": str,
    "ticket_id": str,
    "priority": str,
    "actions": list,
    "talking_points": list,
    "warnings": list,
    "estimated_impact": dict,
    "generated_at": str,
    "source": str,
}


def check_types(value: dict[str, Any], shape: dict[str, type]) -> None:
    """Assert that each field is there with its type; a JSON number without a fraction may stand for a float."""
    for name, kind in shape.items():
        found = value[name]
        allowed = (float, int) if kind is float else (kind,)
        assert isinstance(found, allowed), f"{name} is {found!r}"
        assert kind is bool or not isinstance(found, bool), f"{name} is {found!r}"


def zoned(text: str) -> datetime:
    """Parse a timestamp that must carry its zone."""
    parsed = datetime.fromisoformat(text)
    assert parsed.tzinfo is not None, text
    return parsed


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop of its own for each test."""
    return await new_shop(suite, "desk")


@pytest.fixture
def desk(suite: SuiteUnderTest, shop: Shop) -> httpx.AsyncClient:
    """A client that sends what the frontend sends."""
    return suite.client(**{"x-api-key": shop.api_key, "origin": ORIGIN})


async def created(desk: httpx.AsyncClient, **changed: str) -> dict[str, Any]:
    """Create a ticket as the demo page does."""
    answer = await desk.post("/api/tickets", json={**CREATE, **changed})
    assert 200 <= answer.status_code < 300, answer.text
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    body: dict[str, Any] = answer.json()
    return body


async def test_preflights_are_answered(suite: SuiteUnderTest) -> None:
    """The custom header makes the browser ask first; the answer allows origin, methods and headers."""
    async with suite.client(origin=ORIGIN) as client:
        for method in ("GET", "POST", "PATCH"):
            answer = await client.options(
                "/api/tickets",
                headers={
                    "access-control-request-method": method,
                    "access-control-request-headers": "content-type,x-api-key",
                },
            )
            assert answer.status_code in {200, 204}
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert method in answer.headers["access-control-allow-methods"]
            assert "x-api-key" in answer.headers["access-control-allow-headers"].lower()


async def test_a_foreign_origin_is_not_allowed(suite: SuiteUnderTest) -> None:
    """An origin that is not the deployment's gets no permission."""
    async with suite.client(origin="https://elsewhere.example") as client:
        answer = await client.get("/api/tickets")
    assert "access-control-allow-origin" not in answer.headers


async def test_a_ticket_of_an_unknown_customer_is_whole(desk: httpx.AsyncClient) -> None:
    """A never seen customer is accepted: nested `ticket.id`, a score, and no profile."""
    async with desk:
        body = await created(desk)
        ticket_id = body["ticket"]["id"]
        assert body["messages"][0]["content"] == CREATE["initial_message"]
        assert body["notes"] == []
        ticket = (await desk.get(f"/api/tickets/{ticket_id}")).json()
        assert ticket["customer_profile"] is None
        assert ticket["assigned_to"] is None
        assert ticket["closed_at"] is None
        listing = (await desk.get("/api/tickets?status=open&smart_order=true")).json()
        assert listing["tickets"][0]["smart_score"] != 0


async def test_the_inbox_has_every_field_in_its_type(desk: httpx.AsyncClient) -> None:
    """Numbers are numbers, times carry a zone, the channel is never null."""
    async with desk:
        await created(desk)
        answer = await desk.get("/api/tickets?status=open&topic_alerts=parcel%2Cchargeback&smart_order=true")
    body = answer.json()
    (card,) = body["tickets"]
    check_types(card, CARD)
    assert card["channel"] == "email"
    assert card["matches_topic_alert"] is True
    check_types(body["pagination"], PAGINATION)
    assert body["matches"] == 1
    assert body["topic_alerts_active"] == ["parcel", "chargeback"]
    assert body["smart_order_enabled"] is True
    assert set(body["filters_applied"]) == {"status", "priority", "channel", "assigned_to", "customer_id"}
    assert abs(zoned(card["created_at"]).timestamp() - time.time()) < 60


async def test_a_note_is_visible_after_saving(desk: httpx.AsyncClient) -> None:
    """A saved note stands in the ticket's `notes` and in the list of notes."""
    async with desk:
        path = f"/api/tickets/{(await created(desk))['ticket']['id']}"
        note = {"content": "Called the carrier.", "author_name": "Agent", "author_id": "agent-1"}
        assert (await desk.post(f"{path}/notes", json=note)).status_code < 300
        (in_ticket,) = (await desk.get(path)).json()["notes"]
        (in_list,) = (await desk.get(f"{path}/notes")).json()["notes"]
    assert in_ticket["content"] == in_list["content"] == note["content"]
    zoned(in_ticket["created_at"])


async def test_closing_and_reopening(desk: httpx.AsyncClient) -> None:
    """A PATCH closes; reopening clears the time of closing."""
    async with desk:
        path = f"/api/tickets/{(await created(desk))['ticket']['id']}"
        assert (await desk.patch(path, json={"status": "closed"})).status_code == 200
        closed = (await desk.get(path)).json()
        assert closed["status"] == "closed"
        zoned(closed["closed_at"])
        assert (await desk.patch(path, json={"status": "open"})).status_code == 200
        assert (await desk.get(path)).json()["closed_at"] is None


async def test_tags_are_replaced_then_added_then_removed(desk: httpx.AsyncClient) -> None:
    """One PATCH may replace, add and remove, and keeps the order."""
    async with desk:
        path = f"/api/tickets/{(await created(desk))['ticket']['id']}"
        change = {"tags": ["b", "a"], "add_tags": ["c"], "remove_tags": ["b"]}
        assert (await desk.patch(path, json=change)).status_code == 200
        assert (await desk.get(path)).json()["tags"] == ["a", "c"]


async def test_ten_messages_of_one_moment_keep_their_order(desk: httpx.AsyncClient) -> None:
    """A long draft arrives in pieces, one after the other, and is read back in that order."""
    async with desk:
        path = f"/api/tickets/{(await created(desk))['ticket']['id']}"
        for number in range(10):
            message = {
                "from_agent": True,
                "send_to_customer": True,
                "author_name": "Agent",
                "content": f"part {number}",
            }
            assert (await desk.post(f"{path}/messages", json=message)).status_code < 300
        messages = (await desk.get(path)).json()["messages"]
    assert [message["content"] for message in messages[1:]] == [f"part {number}" for number in range(10)]
    assert messages[0]["author_name"] == CREATE["author_name"]


async def test_the_number_works_wherever_the_id_does(desk: httpx.AsyncClient) -> None:
    """`T-001` reads, changes, takes notes and messages, and gets advice, as the UUID does."""
    async with desk:
        number = (await created(desk))["ticket"]["ticket_number"]
        assert number == "T-001"
        path = f"/api/tickets/{number}"
        note = {"content": "A note", "author_name": "Agent", "author_id": "agent-1"}
        message = {"from_agent": False, "send_to_customer": True, "author_name": "Kim", "content": "Hello?"}
        answers = [
            await desk.get(path),
            await desk.patch(path, json={"priority": "high"}),
            await desk.post(f"{path}/notes", json=note),
            await desk.post(f"{path}/messages", json=message),
            await desk.get(f"{path}/notes"),
            await desk.get(f"{path}/score-breakdown"),
            await desk.get(f"/api/ai/tickets/{number}/draft-response"),
            await desk.get(f"/api/ai/tickets/{number}/recommendation"),
            await desk.post(f"/api/ai/tickets/{number}/draft-response/regenerate", json={"tone": "friendly"}),
            await desk.patch(f"/api/ai/tickets/{number}/recommendation/actions/0", json={"completed": True}),
            await desk.post(f"{path}/reset-conversation"),
        ]
    assert [answer.status_code // 100 for answer in answers] == [2] * len(answers), [a.text for a in answers]


@pytest.mark.parametrize("channel", ["email", "chat", "sms"])
async def test_the_demo_page_from_end_to_end(desk: httpx.AsyncClient, channel: str) -> None:
    """Create, draft, send in pieces, customer answers, draft answers that, close; `_t` is tolerated."""
    async with desk:
        ticket_id = (await created(desk, channel=channel))["ticket"]["id"]
        path, draft_path = f"/api/tickets/{ticket_id}", f"/api/ai/tickets/{ticket_id}/draft-response?_t=1732300000000"
        first = (await desk.get(draft_path)).json()
        assert isinstance(first["personalization_applied"], list)
        for piece in (first["draft"][:80], first["draft"][80:160] or "."):
            sent = {"from_agent": True, "send_to_customer": True, "author_name": "Agent", "content": piece}
            assert (await desk.post(f"{path}/messages", json=sent)).status_code < 300
        assert (await desk.get(draft_path)).json()["draft"]
        reply = {
            "from_agent": False,
            "send_to_customer": True,
            "author_name": "Kim",
            "content": "I want to cancel my order",
        }
        assert (await desk.post(f"{path}/messages", json=reply)).status_code < 300
        second = (await desk.get(draft_path)).json()
        assert second["draft"] != first["draft"]
        assert "cancel" in second["draft"].lower()
        assert (await desk.patch(path, json={"status": "closed"})).status_code == 200
        assert (await desk.get(path)).json()["status"] == "closed"


async def test_reset_leaves_the_first_message_and_loses_none(desk: httpx.AsyncClient) -> None:
    """A POST without body hides all but the first message, and says so; a second one has nothing to do."""
    async with desk:
        path = f"/api/tickets/{(await created(desk, channel='chat'))['ticket']['id']}"
        message = {"from_agent": False, "send_to_customer": True, "author_name": "Kim", "content": "Hello?"}
        await desk.post(f"{path}/messages", json=message)
        first = (await desk.post(f"{path}/reset-conversation")).json()
        assert (first["status"], first["messages_deleted"]) == ("reset", 1)
        assert len((await desk.get(path)).json()["messages"]) == 1
        again = (await desk.post(f"{path}/reset-conversation")).json()
        assert (again["status"], again["messages_deleted"]) == ("already_reset", 0)


async def test_the_profile_is_one_shape_everywhere(suite: SuiteUnderTest, shop: Shop, desk: httpx.AsyncClient) -> None:
    """The ticket's profile, the alias and the older path answer the same body; an unknown customer is 404."""
    customer = shop.ids["customer"]
    async with desk:
        await send_webhook(desk, shop, zendesk_event(shop, "77"))

        async def profiled() -> dict[str, Any] | None:
            tickets = (await desk.get("/api/tickets?status=open&smart_order=true")).json()["tickets"]
            if not tickets:
                return None
            ticket: dict[str, Any] = (await desk.get(f"/api/tickets/{tickets[0]['id']}")).json()
            return ticket["customer_profile"]

        in_ticket = await eventually(profiled)
        alias = await desk.get(f"/api/customers/{customer}")
        older = await desk.get(f"/api/mcp/customer/{customer}")
        public = await desk.get(f"/v1/customers/{customer}")
        assert alias.content == older.content == public.content
        assert in_ticket == alias.json()
        (card,) = (await desk.get("/api/tickets?status=open&smart_order=true")).json()["tickets"]
        assert f'"customer_profile":{alias.text}' in (await desk.get(f"/api/tickets/{card['id']}")).text
        check_types(in_ticket["business_metrics"], METRICS)
        assert 0 <= in_ticket["churn_risk"]["churn_risk_score"] <= 1
        assert isinstance(in_ticket["last_purchase"]["total"], str)
        for path in ("/api/customers/nobody", "/api/mcp/customer/nobody"):
            missing = await desk.get(path)
            assert missing.status_code == 404
            assert missing.json()["detail"]
        for path in ("churn-risk", "next-purchase", "ltv-forecast", "orders"):
            assert (await desk.get(f"/api/mcp/customer/{customer}/{path}")).status_code == 200, path
    del suite


async def test_actions_stay_ticked(desk: httpx.AsyncClient) -> None:
    """A completed action is completed on the next read; an index outside the list is 404."""
    async with desk:
        ticket_id = (await created(desk))["ticket"]["id"]
        path = f"/api/ai/tickets/{ticket_id}/recommendation"
        recommendation = (await desk.get(path)).json()
        check_types(recommendation, RECOMMENDATION)
        assert recommendation["priority"] in {"urgent", "high", "normal"}
        ticked = (await desk.patch(f"{path}/actions/0", json={"completed": True})).json()["action"]
        assert ticked["completed"] is True
        zoned(ticked["completed_at"])
        assert (await desk.get(path)).json()["actions"][0]["completed"] is True
        for index in (99, -1):
            outside = await desk.patch(f"{path}/actions/{index}", json={"completed": True})
            assert outside.status_code == 404, index


@pytest.mark.parametrize("tone", ["friendly", "professional", "empathetic", "apologetic"])
async def test_a_regenerated_draft_stays_with_its_tone(desk: httpx.AsyncClient, tone: str) -> None:
    """The re-read at once after a regenerate gives the same text and tone, and so do later ones until a message."""
    async with desk:
        ticket_id = (await created(desk, initial_message="My mug arrived broken, order 4711."))["ticket"]["id"]
        path = f"/api/ai/tickets/{ticket_id}/draft-response"
        check_types((await desk.get(f"{path}?_t=1732300000000")).json(), DRAFT)
        made = (await desk.post(f"{path}/regenerate", json={"tone": tone})).json()
        check_types(made, DRAFT)
        assert made["tone"] == tone
        for stamp in range(3):
            assert (await desk.get(f"{path}?_t={stamp}")).json() == made
        alias = await desk.post(f"/api/ai/tickets/{ticket_id}/regenerate-draft", json={"tone": tone, "length": "short"})
        assert (alias.json()["tone"], alias.json()["length"]) == (tone, "short")
        more = {
            "tone": tone,
            "length": "long",
            "include_offer": True,
            "template": "refund",
            "include_actions": [0, 1, 99],
        }
        longer = (await desk.post(f"{path}/regenerate", json=more)).json()
        assert (await desk.get(f"{path}?_t=4")).json() == longer
        zoned(longer["generated_at"])
        sent = {"from_agent": True, "send_to_customer": True, "author_name": "Agent", "content": longer["draft"]}
        assert (await desk.post(f"/api/tickets/{ticket_id}/messages", json=sent)).status_code < 300
        assert (await desk.get(path)).json()["draft"].strip()
        wrong = await desk.post(f"{path}/regenerate", json={"tone": "sarcastic"})
        assert wrong.status_code == 400
        assert isinstance(wrong.json()["detail"], str)


async def test_the_next_best_action_panel_has_all_that_it_reads(desk: httpx.AsyncClient) -> None:
    """Sorted actions, points, warnings, numbers in the impact, and the draft of the same conversation."""
    async with desk:
        ticket_id = (await created(desk, initial_message="My mug arrived broken!"))["ticket"]["id"]
        draft = (await desk.get(f"/api/ai/tickets/{ticket_id}/draft-response")).json()
        found = (await desk.get(f"/api/ai/tickets/{ticket_id}/recommendation")).json()
        check_types(found, RECOMMENDATION)
        assert 2 <= len(found["actions"]) <= 4
        assert [action["priority"] for action in found["actions"]] == list(range(1, len(found["actions"]) + 1))
        for action in found["actions"]:
            check_types(action, {"action": str, "reasoning": str, "completed": bool})
            assert action["completed_at"] is None
        assert all(isinstance(text, str) for text in (*found["talking_points"], *found["warnings"]))
        check_types(found["estimated_impact"], {"retention_probability": float, "revenue_at_risk": float})
        assert found["draft_response"] == draft["draft"]
        zoned(found["generated_at"])
        zoned(found["expires_at"])

        async def in_the_ticket() -> bool:
            ticket = (await desk.get(f"/api/tickets/{ticket_id}")).json()
            advice, text = ticket["ai_recommendation"], ticket["ai_draft_response"]
            return bool(advice and text) and (advice["id"], text["draft"]) == (found["id"], draft["draft"])

        await eventually(in_the_ticket)
        reply = {"from_agent": False, "send_to_customer": True, "author_name": "Kim", "content": "Hello?"}
        assert (await desk.post(f"/api/tickets/{ticket_id}/messages", json=reply)).status_code < 300
        moved_on = (await desk.get(f"/api/tickets/{ticket_id}")).json()
        assert (moved_on["ai_recommendation"], moved_on["ai_draft_response"]) == (None, None)


async def test_the_pages_about_a_customer_get_what_they_read(shop: Shop, desk: httpx.AsyncClient) -> None:
    """Churn, next purchase, forecast, orders, archetype and search in their shapes; unknown ones are 404."""
    customer = shop.ids["customer"]
    path = f"/api/mcp/customer/{customer}"
    async with desk:
        churn = (await desk.get(f"{path}/churn-risk")).json()
        check_types(churn, {"customer_id": str, "churn_risk_score": float, "risk_level": str, "risk_factors": list})
        assert churn["churn_probability"] == churn["churn_risk_score"]
        check_types(churn, {"recommendation": str, "model_version": str})
        assert (await desk.get(f"{path}/next-purchase")).json()["customer_id"] == customer
        forecast = (await desk.get(f"{path}/ltv-forecast?months=6")).json()
        check_types(forecast, {"current_ltv": float, "predicted_ltv": float, "forecast_months": int})
        assert len(forecast["monthly_forecast"]) == 6
        orders = (await desk.get(f"{path}/orders?search_terms=a%2Cb&start_date=2020-01-01&end_date=2030-01-01")).json()
        check_types(orders, {"customer_id": str, "orders": list, "total_orders": int})
        whole = (await desk.get(f"{path}/orders")).json()
        check_types(whole["orders"][0], {"order_id": str, "order_number": str, "created_at": str, "total_price": str})
        check_types(whole["orders"][0]["line_items"][0], {"title": str, "quantity": int, "price": str})
        archetype = (await desk.get(path)).json()["archetype"]
        if archetype is not None:
            found = await desk.get(f"/api/mcp/archetype/{archetype['id']}")
            check_types(found.json(), {"archetype_id": str, "member_count": int, "population_percentage": float})
        missing = ["/api/mcp/archetype/nobody", "/api/mcp/customer/search?email=nobody%40example.com"]
        missing += [
            f"/api/mcp/customer/nobody/{part}" for part in ("churn-risk", "next-purchase", "ltv-forecast", "orders")
        ]
        for route in (*missing, "/api/mcp/customer/random"):
            answer = await desk.get(route)
            assert answer.status_code == 404, route
            assert isinstance(answer.json()["detail"], str), route


async def test_the_knowledge_base_page_works(suite: SuiteUnderTest, desk: httpx.AsyncClient) -> None:
    """What many ask becomes suggestions, an outline and topics; articles are listed, changed and deleted."""
    base = "/api/knowledge-base"
    async with desk, suite.client(origin=ORIGIN) as anybody:
        for number in range(4):
            asked = {"subject": "Is the blue lamp dimmable?", "initial_message": "Can I dim the blue lamp?"}
            await created(desk, customer_id=f"curious-{number}", **asked)
        found = (await desk.post(f"{base}/article-suggestions", json={"limit": 10})).json()["data"]["suggestions"]
        assert found
        for suggestion in found:
            check_types(
                suggestion, {"article_title": str, "priority": str, "article_type": str, "deflection_potential": float}
            )
            assert suggestion["priority"] in {"Critical", "High", "Medium"}
            impact = suggestion["impact_estimate"]
            check_types(
                impact, {"tickets_to_deflect": int, "customers_affected": int, "avg_resolution_hours_saved": float}
            )
            assert all(isinstance(subject, str) for subject in suggestion["source_data"]["sample_subjects"])
        written = (await desk.post(f"{base}/generate-article", json={"topic": found[0]["article_title"]})).json()
        assert isinstance(written["article"], str)
        assert written["article"].strip()
        issues = (await desk.post(f"{base}/top-deflectable-issues", json={"limit": 5, "min_tickets": 2})).json()
        assert isinstance(issues["data"]["issues"], list)
        article = {"article": {"title": "Lamps", "body": "The blue lamp can be dimmed."}}
        made = (await desk.post("/v1/articles", json=article)).json()
        listed = (await desk.get(f"{base}/articles?limit=10&offset=0&status=published")).json()["data"]["articles"]
        assert [one["id"] for one in listed] == [made["id"]]
        one = f"{base}/articles/{made['id']}"
        assert (await desk.get(one)).json()["data"]["title"] == "Lamps"
        changed = (await desk.put(one, json={"title": "Our lamps"})).json()["data"]
        assert changed["title"] == "Our lamps"
        assert (await desk.delete(one)).status_code == 200
        gone = await desk.get(one)
        assert gone.status_code == 404
        assert isinstance(gone.json()["detail"], str)
        for method in ("POST", "PUT", "DELETE"):
            ask = {"access-control-request-method": method, "access-control-request-headers": "content-type,x-api-key"}
            preflight = await anybody.options(one, headers=ask)
            assert method in preflight.headers["access-control-allow-methods"]


async def test_each_refusal_shows_its_detail(suite: SuiteUnderTest, desk: httpx.AsyncClient) -> None:
    """401 and 404 carry a sentence in `detail` and the CORS header, or the user sees a network error."""
    async with desk, suite.client(origin=ORIGIN) as stranger:
        for answer in (
            await stranger.get("/api/tickets"),
            await stranger.get("/api/tickets", headers={"x-api-key": "rpk_wrong"}),
            await desk.get("/api/tickets/T-404"),
            await desk.post("/api/tickets", json={**CREATE, "channel": "pigeon"}),
        ):
            assert answer.status_code in {400, 401, 404}
            assert isinstance(answer.json()["detail"], str)
            assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_the_configuration_speaks_the_clients_words(desk: httpx.AsyncClient) -> None:
    """The axes and segments are those that light up the client's advice."""
    async with desk:
        body = (await desk.get("/api/system/configuration")).json()
    axes = {axis["name"]: {segment["name"] for segment in axis["segments"]} for axis in body["axes"]}
    assert axes["purchase_value"] >= {"whale", "premium", "mid_tier"}
    assert axes["shopping_cadence"] >= {"weekend_crafter", "seasonal", "weekday"}
    assert body["axis_count"] == len(body["axes"])


async def test_health_pages_are_public(suite: SuiteUnderTest) -> None:
    """The predecessor's and the usual health paths answer without a key, and so do the documents."""
    async with suite.client() as client:
        paths = ("/healthz", "/readyz", "/health", "/health/ready", "/health/live", "/openapi.json", "/docs")
        answers = await asyncio.gather(*(client.get(path) for path in paths))
    assert {answer.status_code for answer in answers} == {200}
