"""Drafts over gRPC: as messages, and told sentence by sentence while they are written."""

from typing import Any

import grpc
import orjson
import pytest
from rapport.recommendations.v1 import draft_service_pb2 as contract
from rapport.recommendations.v1 import draft_service_pb2_grpc, recommendation_pb2

from services.recommendations import draft_servicer
from services.recommendations import drafts as rules
from services.recommendations.knowledge import Content, Edit, Knowledge
from tests.recommendations import test_action_policies as policies
from tests.recommendations.conftest import Caller, reason
from tests.support.events import parsed


@pytest.fixture
def drafts(shop: Caller) -> Any:
    """The stub of a shop."""
    return draft_service_pb2_grpc.DraftServiceStub(shop.running.channel)


async def test_a_draft_says_what_it_rests_on(shop: Caller, drafts: Any) -> None:
    """Source, language, facts and labels are in the message, and the frontend's answer is the same draft."""
    ticket = shop.ticket("c-1", "Where is order 999111?")
    wish = contract.DraftWish(tone="friendly", language="de", include_offer=True)
    made = await drafts.RegenerateDraft(
        contract.RegenerateDraftRequest(ticket=ticket, wish=wish), metadata=shop.metadata
    )
    assert (made.tone, made.length, made.language, made.source) == ("friendly", "medium", "de", "rules")
    assert [fact.id for fact in made.facts_used] == ["order.unknown"]
    assert list(made.labels) == ["no offer: no policy of the shop that fits makes one"]
    read = await drafts.GetDraft(contract.GetDraftRequest(ticket="T-001"), metadata=shop.metadata)
    assert read == made
    shown = await shop.ask("GetDraft", ticket=ticket)
    assert draft_servicer.message(shown) == made
    assert shown["facts_used"] == [{"id": fact.id, "kind": fact.kind, "text": fact.text} for fact in made.facts_used]


async def test_what_was_wished_stays_until_a_message_comes(shop: Caller, drafts: Any) -> None:
    """Language and subject too."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    wish = contract.DraftWish(language="fr", template="refund")
    made = await drafts.RegenerateDraft(
        contract.RegenerateDraftRequest(ticket=ticket, wish=wish), metadata=shop.metadata
    )
    assert "remboursement" in made.draft
    read = contract.GetDraftRequest(ticket=ticket)
    assert (await drafts.GetDraft(read, metadata=shop.metadata)) == made
    shop.say(ticket, "It is really broken.")
    renewed = await drafts.GetDraft(read, metadata=shop.metadata)
    assert (renewed.language, "damaged" in renewed.draft) == ("en", True)


async def test_a_shops_policy_is_quoted_and_a_changed_one_renews_the_draft(shop: Caller, drafts: Any) -> None:
    """With its title, among the facts; and as it stands now, not as it stood when the draft was first read."""
    knowledge = Knowledge(shop.running.database)
    body = "Unused goods can be returned within 30 days. Refunds of returned goods reach you within five days."
    article = await knowledge.create(shop.tenant_id, Content(body, kind="policy", title="Returning goods"))
    ticket = shop.ticket("c-1", "How can I return goods that are unused?")
    read = contract.GetDraftRequest(ticket=ticket)
    draft = await drafts.GetDraft(read, metadata=shop.metadata)
    assert "“Returning goods” says: “Unused goods can be returned within 30 days.”" in draft.draft
    assert [fact.kind for fact in draft.facts_used] == ["policy"]
    await knowledge.change(shop.tenant_id, article.article_id, Edit(body=body.replace("30", "60")))
    renewed = await drafts.GetDraft(read, metadata=shop.metadata)
    assert "within 60 days" in renewed.draft


async def test_an_offer_of_a_policy_is_named_where_it_is_wished_for(shop: Caller, drafts: Any) -> None:
    """Whatever the customer wrote about; an article that is no policy makes none."""
    knowledge = Knowledge(shop.running.database)
    ticket = shop.ticket("c-1", "My mug is broken!")
    wish = contract.DraftWish(include_offer=True)
    request = contract.RegenerateDraftRequest(ticket=ticket, wish=wish)
    blog = "Some shops give a discount of 50 % with the code BLOG50 to all who ask."
    await knowledge.create(shop.tenant_id, Content(blog, title="Reading matter"))
    without = await drafts.RegenerateDraft(request, metadata=shop.metadata)
    assert list(without.labels) == ["no offer: no policy of the shop that fits makes one"]
    spring = "In the spring weeks the code SPRING10 gives a discount of 10 % on the next order."
    await knowledge.create(shop.tenant_id, Content(spring, kind="policy", title="Spring weeks"))
    made = await drafts.RegenerateDraft(request, metadata=shop.metadata)
    assert ("SPRING10" in made.draft, "BLOG50" in made.draft, list(made.labels)) == (True, False, [])


async def test_an_action_that_is_wished_for_is_never_another_one(shop: Caller, drafts: Any) -> None:
    """When the policy takes it away, the draft promises nothing in its place and says that it is left out."""
    ticket = await policies.broken_lantern(shop)
    place = policies.codes(await policies.recommended(shop, ticket)).index("send_replacement")
    wish = contract.DraftWish(include_actions=[place])
    request = contract.RegenerateDraftRequest(ticket=ticket, wish=wish)
    made = await drafts.RegenerateDraft(request, metadata=shop.metadata)
    assert ("replacement shipment" in made.draft, list(made.labels)) == (True, [])
    await policies.ask(shop, "SetActionPolicy", document=policies.NO_REPLACEMENT, reason="The stock is gone")
    renewed = await drafts.GetDraft(contract.GetDraftRequest(ticket=ticket), metadata=shop.metadata)
    assert list(renewed.labels) == [rules.NO_ACTION]
    assert not any(word in renewed.draft for word in ("replacement", "refund"))
    # Nobody has read the new recommendation: the place still means what stood there when it was read.
    assert (await drafts.RegenerateDraft(request, metadata=shop.metadata)).draft == renewed.draft
    after = policies.codes(await policies.recommended(shop, ticket))
    wish = contract.DraftWish(include_actions=[after.index("refund")])
    request = contract.RegenerateDraftRequest(ticket=ticket, wish=wish)
    chosen = await drafts.RegenerateDraft(request, metadata=shop.metadata)
    assert ("refund" in chosen.draft, list(chosen.labels)) == (True, [])


async def test_articles_are_looked_for_in_the_language_that_is_wished_for(shop: Caller, drafts: Any) -> None:
    """A draft in German quotes the German article, also to a customer who writes in English."""
    knowledge = Knowledge(shop.running.database)
    english = "The shades of a lantern are brushed, never washed."
    for number in range(6):
        await knowledge.create(shop.tenant_id, Content(english, title=f"Lantern shades {number}"))
    german = "Die Shades der Lantern bitte nur bürsten und nicht waschen."
    await knowledge.create(shop.tenant_id, Content(german, title="Lantern Shades"))
    ticket = shop.ticket("c-1", "How do I clean the shades of my lantern?", subject="Lantern shades")
    for language, told, untold in (("en", english, german), ("de", german, english)):
        wish = contract.DraftWish(language=language)
        request = contract.RegenerateDraftRequest(ticket=ticket, wish=wish)
        made = await drafts.RegenerateDraft(request, metadata=shop.metadata)
        assert (told in made.draft, untold in made.draft) == (True, False)


async def test_a_stream_tells_the_text_and_ends_with_the_draft(shop: Caller, drafts: Any) -> None:
    """The pieces are the text, and the draft at the end is the current one."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    request = contract.StreamDraftRequest(ticket=ticket, wish=contract.DraftWish(tone="apologetic", length="long"))
    told = [event async for event in drafts.StreamDraft(request, metadata=shop.metadata)]
    *pieces, last = told
    assert len(pieces) > 3
    assert {event.WhichOneof("event") for event in pieces} == {"text"}
    assert "".join(event.text for event in pieces) == last.draft.draft
    assert last.draft == await drafts.GetDraft(contract.GetDraftRequest(ticket=ticket), metadata=shop.metadata)


async def test_server_sent_events_tell_the_same(shop: Caller, drafts: Any) -> None:
    """The same pieces and the same draft, in the fields of the message."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    call = drafts.StreamDraftEvents(contract.StreamDraftEventsRequest(ticket=ticket), metadata=shop.metadata)
    bodies = [body async for body in call]
    assert {body.content_type for body in bodies} == {"text/event-stream"}
    assert dict(await call.initial_metadata())["cache-control"] == "no-store"
    *pieces, last = parsed(b"".join(body.data for body in bodies).decode())
    made = orjson.loads(last["data"])
    assert last["event"] == "draft"
    assert "".join(orjson.loads(piece["data"])["text"] for piece in pieces) == made["draft"]
    assert set(made) == {field.name for field in recommendation_pb2.Draft.DESCRIPTOR.fields}


def test_a_stream_that_begins_anew_says_so() -> None:
    """What was told before does not hold."""
    assert draft_servicer.frame(None) == b"event: restart\ndata: {}\n\n"


@pytest.mark.parametrize("method", ["GetDraft", "RegenerateDraft", "StreamDraft", "StreamDraftEvents"])
async def test_foreign_and_missing_tickets_look_the_same(
    shop: Caller, other_shop: Caller, drafts: Any, method: str
) -> None:
    """A refusal comes before a stream begins, with the reason."""
    foreign = other_shop.ticket("c-1", "My mug is broken!")
    for ticket in (foreign, "T-404"):
        request = getattr(contract, f"{method}Request")(ticket=ticket)
        call = getattr(drafts, method)(request, metadata=shop.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await (call.read() if method.startswith("Stream") else call)
        assert reason(refused.value) == "TICKET_NOT_FOUND"


@pytest.mark.parametrize(
    "wish",
    [{"tone": "sarcastic"}, {"length": "endless"}, {"language": "german"}, {"template": "winback"}, {"language": "D1"}],
    ids=["tone", "length", "language", "template", "letters"],
)
async def test_wishes_that_nobody_can_meet_are_refused(shop: Caller, drafts: Any, wish: dict[str, Any]) -> None:
    """With the field's name."""
    request = contract.RegenerateDraftRequest(ticket="T-001", wish=contract.DraftWish(**wish))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await drafts.RegenerateDraft(request, metadata=shop.metadata)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_may_only_read_does_not_write_anew(shop: Caller, drafts: Any) -> None:
    """Reading the current draft needs one scope, having it written anew another."""
    ticket = shop.ticket("c-1", "My mug is broken!")
    metadata = shop.issuer.metadata("recommendations.read", "tickets.read", tenant_id=shop.tenant_id)
    assert (await drafts.GetDraft(contract.GetDraftRequest(ticket=ticket), metadata=metadata)).draft
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await drafts.RegenerateDraft(contract.RegenerateDraftRequest(ticket=ticket), metadata=metadata)
    assert reason(refused.value) == "SCOPE_MISSING"
