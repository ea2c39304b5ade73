"""Advice on tickets through a real server: one current answer, renewed when what it answers moves on."""

import asyncio
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
from rapport.frontend.v1 import assistant_pb2
from rapport.recommendations.v1 import change_service_pb2, order_pb2, order_service_pb2

from servicekit.ids import uuid7
from services.recommendations import drafts
from tests.recommendations.conftest import NOW, Caller, line, reason
from tests.recommendations.shapes import check_action, check_draft, check_recommendation


async def history(shop: Caller, table: str, ticket: str, kind: str) -> int:
    """Return how many rows of a ticket's advice a table holds."""
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        result = await connection.exec_driver_sql(
            f"SELECT count(*) FROM {table} WHERE tenant_id = $1 AND ticket_id = $2 AND kind = $3",  # noqa: S608 - ours
            (shop.tenant_id, UUID(ticket), kind),
        )
        return int(result.scalar_one())


async def test_a_ticket_of_an_unknown_customer_gets_a_draft_and_a_recommendation(shop: Caller) -> None:
    """No profile is needed, and both answers have their shapes."""
    ticket = shop.ticket("nobody", "My mug is broken!")
    draft = await shop.ask("GetDraft", ticket=ticket)
    check_draft(draft)
    assert (draft["ticket_id"], draft["tone"], draft["length"], draft["source"]) == (
        ticket,
        "empathetic",
        "medium",
        "rules",
    )
    recommendation = await shop.ask("GetRecommendation", ticket=ticket)
    check_recommendation(recommendation)
    assert recommendation["draft_response"] == draft["draft"]
    assert recommendation["estimated_impact"]["revenue_at_risk"] == 0.0


async def test_both_forms_of_a_tickets_id_are_taken_everywhere(shop: Caller) -> None:
    """`T-005` and the id name the same ticket, on reads and on writes."""
    ticket = shop.ticket("c-1", "Where is my order?", number="T-005")
    assert await shop.ask("GetDraft", ticket="T-005") == await shop.ask("GetDraft", ticket=ticket)
    assert await shop.ask("GetRecommendation", ticket="T-005") == await shop.ask("GetRecommendation", ticket=ticket)
    await shop.ask("RegenerateDraft", ticket="T-005", tone="friendly")
    assert (await shop.ask("GetDraft", ticket=ticket))["tone"] == "friendly"
    await shop.ask("CompleteAction", ticket="T-005", index=0, completed=True)
    assert (await shop.ask("GetRecommendation", ticket=ticket))["actions"][0]["completed"]


async def test_a_regenerated_tone_and_length_stay_until_a_message_comes(shop: Caller) -> None:
    """The re-read after a regenerate gives the same text; a new message makes it stale."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    await shop.ask("GetDraft", ticket=ticket)
    made = await shop.ask("RegenerateDraft", ticket=ticket, tone="apologetic", length="long")
    assert (made["tone"], made["length"]) == ("apologetic", "long")
    made = await shop.ask("RegenerateDraft", ticket=ticket, tone="apologetic", length="short")
    for _ in range(3):
        assert await shop.ask("GetDraft", ticket=ticket) == made
    shop.say(ticket, "Also, where is my order 777?")
    renewed = await shop.ask("GetDraft", ticket=ticket)
    assert renewed["tone"] == "empathetic"
    assert renewed["draft"] != made["draft"]
    assert "777" in renewed["draft"]


async def test_after_the_agents_own_reply_there_is_a_draft(shop: Caller) -> None:
    """The shop answered last, and the next read still holds a text."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    shop.say(ticket, "A new one is on its way.", from_agent=True)
    check_draft(await shop.ask("GetDraft", ticket=ticket))


async def test_changed_facts_renew_the_draft_in_its_tone(shop: Caller) -> None:
    """A parcel that becomes known stands in the next read, and the tone that was chosen stays."""
    await shop.buy(line("o-1001", "c-1", NOW - timedelta(days=4)))
    ticket = shop.ticket("c-1", "Where is my order?")
    before = await shop.ask("RegenerateDraft", ticket=ticket, tone="friendly")
    assert "do not have a tracking number" in before["draft"]
    parcel = order_pb2.Shipment(order_id="o-1001", tracking_number="TRACK-5", carrier="Post", status="in_transit")
    await shop.orders("RecordShipments", order_service_pb2.RecordShipmentsRequest(shipments=[parcel]))
    after = await shop.ask("GetDraft", ticket=ticket)
    assert "TRACK-5" in after["draft"]
    assert after["tone"] == "friendly"
    assert "Tracking TRACK-5" in after["personalization_applied"]


async def test_the_order_that_the_customer_names_is_the_one_that_is_answered(shop: Caller) -> None:
    """Not the newest order but the named one gives the facts."""
    await shop.buy(
        line("1001", "c-1", NOW - timedelta(days=40), product_name="Old Lamp"),
        line("1002", "c-1", NOW - timedelta(days=4), product_name="New Lamp"),
    )
    draft = await shop.ask("GetDraft", ticket=shop.ticket("c-1", "The item of order #1001 arrived broken."))
    assert "1001" in draft["draft"]
    assert "Old Lamp" in draft["draft"]
    assert "New Lamp" not in draft["draft"]


async def test_an_order_of_another_customer_is_never_told(shop: Caller) -> None:
    """Naming somebody else's order gives none of its facts."""
    await shop.buy(line("1001", "c-2", NOW - timedelta(days=4), product_name="Secret Lamp"))
    await shop.buy(line("1002", "c-1", NOW - timedelta(days=4), product_name="Mug"))
    draft = await shop.ask("GetDraft", ticket=shop.ticket("c-1", "Where is order 1001?"))
    assert "Secret Lamp" not in draft["draft"]
    assert "could not match 1001" in draft["draft"]


async def test_fifty_regenerates_at_once_leave_one_draft_and_all_of_history(shop: Caller) -> None:
    """Whoever comes first, exactly one is current, none failed, and each is kept."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    tones = ("friendly", "professional", "empathetic", "apologetic")
    made = await asyncio.gather(
        *(shop.ask("RegenerateDraft", ticket=ticket, tone=tones[index % 4]) for index in range(50))
    )
    assert len(made) == 50
    assert await history(shop, "advice", ticket, "draft") == 1
    assert await history(shop, "advice_history", ticket, "draft") == 50
    current = await shop.ask("GetDraft", ticket=ticket)
    assert current in made


async def test_reads_at_once_compute_one_draft(shop: Caller) -> None:
    """Of many first reads one is kept, and all get it."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    drafts = await asyncio.gather(*(shop.ask("GetDraft", ticket=ticket) for _ in range(20)))
    assert all(draft == drafts[0] for draft in drafts)
    assert await history(shop, "advice_history", ticket, "draft") == 1


async def test_ticked_actions_outlive_reads_and_recomputation(shop: Caller) -> None:
    """A tick stays over reads, over a recommendation computed anew, and until it is taken back."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    first = await shop.ask("GetRecommendation", ticket=ticket)
    ticked = (await shop.ask("CompleteAction", ticket=ticket, index=0, completed=True))["action"]
    check_action(ticked)
    assert ticked["completed"]
    shop.running.clock.advance(hours=1)
    again = (await shop.ask("CompleteAction", ticket=ticket, index=0, completed=True))["action"]
    assert again["completed_at"] == ticked["completed_at"]
    shop.say(ticket, "It is still broken.")
    renewed = await shop.ask("GetRecommendation", ticket=ticket)
    assert renewed["id"] != first["id"]
    assert renewed["actions"][0]["action"] == first["actions"][0]["action"]
    assert renewed["actions"][0]["completed_at"] == ticked["completed_at"]
    assert [action["completed"] for action in renewed["actions"][1:]] == [False] * (len(renewed["actions"]) - 1)
    back = (await shop.ask("CompleteAction", ticket=ticket, index=0, completed=False))["action"]
    assert (back["completed"], back["completed_at"]) == (False, None)


async def test_a_days_age_alone_renews_nothing(shop: Caller) -> None:
    """After a day the figures are computed again; as they say the same, it is the same recommendation."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    first = await shop.ask("GetRecommendation", ticket=ticket)
    draft = await shop.ask("GetDraft", ticket=ticket)
    shop.running.clock.advance(days=3)
    again = await shop.ask("GetRecommendation", ticket=ticket)
    assert (again["id"], again["generated_at"]) == (first["id"], first["generated_at"])
    assert again["expires_at"] > first["expires_at"]
    assert await shop.ask("GetDraft", ticket=ticket) == draft
    assert await history(shop, "advice_history", ticket, "recommendation") == 1


@pytest.mark.parametrize("index", [-1, 4, 99, 2_147_483_647])
async def test_an_action_outside_the_list_is_not_found(shop: Caller, index: int) -> None:
    """Negative places do not wrap around."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("CompleteAction", ticket=ticket, index=index, completed=True)
    assert reason(refused.value) == "ACTION_NOT_FOUND"


async def test_actions_can_be_included_in_a_draft(shop: Caller) -> None:
    """Places that exist become steps; others are passed over, and the draft says so."""
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4)))
    ticket = shop.ticket("c-1", "An item is missing.")
    offered = (await shop.ask("GetRecommendation", ticket=ticket))["actions"]
    place = next(index for index, action in enumerate(offered) if "packing record" in action["action"])
    plain = await shop.ask("RegenerateDraft", ticket=ticket, length="long")
    fuller = await shop.ask(
        "RegenerateDraft", ticket=ticket, length="long", include_actions=[place, place, 77], include_offer=True
    )
    assert "was packed" not in plain["draft"]
    assert fuller["draft"].count("was packed") == 1
    assert fuller["labels"] == [drafts.NO_ACTION, drafts.NO_OFFER]


@pytest.mark.parametrize("method", ["GetDraft", "RegenerateDraft", "GetRecommendation", "CompleteAction"])
async def test_foreign_and_missing_tickets_look_the_same(shop: Caller, other_shop: Caller, method: str) -> None:
    """Another shop's ticket is as unknown as one that never was."""
    foreign = other_shop.ticket("c-1", "My mug is broken!")
    for ticket in (foreign, str(uuid7()), "T-404"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await shop.ask(method, ticket=ticket)
        assert reason(refused.value) == "TICKET_NOT_FOUND"
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_may_not_read_tickets_is_told_so(shop: Caller) -> None:
    """A token for advice alone is refused with the scope that it lacks, not with an error of ours."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    metadata = shop.issuer.metadata("recommendations.read", tenant_id=shop.tenant_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.running.assistant.GetDraft(assistant_pb2.GetDraftRequest(ticket=ticket), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason(refused.value) == "SCOPE_MISSING"


async def test_a_credential_that_the_tickets_service_refuses_is_not_valid_here_either(
    shop: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that ran out on the way is the caller's to renew."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    monkeypatch.setattr("services.recommendations.conversations.forwarded_metadata", lambda: ())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("GetDraft", ticket=ticket)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason(refused.value) == "CREDENTIAL_INVALID"


async def test_without_the_conversation_nothing_is_guessed(shop: Caller) -> None:
    """With the tickets service away the answer is 503, also for a draft that was written before."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    await shop.ask("GetDraft", ticket=ticket)
    await shop.running.tickets_server.stop()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("GetDraft", ticket=ticket)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(refused.value) == "CONVERSATION_UNAVAILABLE"


async def test_advice_is_told_to_other_services_as_it_is_shown(shop: Caller) -> None:
    """The log names the ticket, and the batch holds the very answers of the frontend's routes."""
    import orjson

    ticket = shop.ticket("c-1", "My mug is broken!")
    draft = await shop.ask("GetDraft", ticket=ticket)
    recommendation = await shop.ask("GetRecommendation", ticket=ticket)
    request = change_service_pb2.BatchGetAdviceRequest(ticket_ids=[ticket, str(uuid7())])
    answer = await shop.running.changes.BatchGetAdvice(request, metadata=shop.metadata)
    (advice,) = answer.advice
    assert advice.ticket_id == ticket
    assert orjson.loads(advice.draft_json) == draft
    assert orjson.loads(advice.recommendation_json) == recommendation


async def test_advice_of_another_tenant_is_not_in_the_batch(shop: Caller, other_shop: Caller) -> None:
    """Another shop's advice does not exist here."""
    ticket = other_shop.ticket("c-1", "My mug is broken!")
    await other_shop.ask("GetDraft", ticket=ticket)
    request = change_service_pb2.BatchGetAdviceRequest(ticket_ids=[ticket])
    assert not (await shop.running.changes.BatchGetAdvice(request, metadata=shop.metadata)).advice


@pytest.mark.parametrize("fields", [{"tone": "sarcastic"}, {"length": "endless"}], ids=["tone", "length"])
async def test_unknown_tones_and_lengths_are_refused(shop: Caller, fields: dict[str, str]) -> None:
    """Only the four tones and three lengths exist."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("RegenerateDraft", ticket=ticket, **fields)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
