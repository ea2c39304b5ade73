"""A model's draft told while it is written: only what passed the checks, taken back if it comes to nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rapport.recommendations.v1 import draft_service_pb2 as contract
from rapport.recommendations.v1 import draft_service_pb2_grpc

from servicekit.channel import open_channel
from servicekit.server import start_server
from services.recommendations import writing_store
from services.recommendations.__main__ import registrations
from services.recommendations.writers import writing as writers
from services.recommendations.writers.connecting import connect
from services.recommendations.writers.prices import micros
from services.recommendations.writers.writing import Writing
from services.recommendations.writing_store import WritingSettings
from tests.recommendations.conftest import NOW, Caller
from tests.recommendations.writing import models
from tests.support.model_server import ModelServer, Reply, lines, model_server
from tests.support.trail import kept_trail

SAID = lines(
    ("I completely understand how frustrating the wait is, and I am glad to help.", []),
    ("I am sorry for the trouble.", []),
    None,
    ("Please reply here if anything worries you in the meantime.", []),
)


@dataclass
class Desk:
    """A shop that lets a model write, the model's server, and the service in front of it."""

    shop: Caller
    models: ModelServer
    drafts: Any
    ticket: str

    async def stream(self) -> list[contract.StreamDraftResponse]:
        """Have the draft written anew and return what is told."""
        call = self.drafts.StreamDraft(
            contract.StreamDraftRequest(ticket=self.ticket), metadata=self.shop.metadata, timeout=20
        )
        return [event async for event in call]

    async def current(self) -> Any:
        """Return the current draft."""
        request = contract.GetDraftRequest(ticket=self.ticket)
        return await self.drafts.GetDraft(request, metadata=self.shop.metadata)


@pytest.fixture
async def desk(shop: Caller, tmp_path: Path) -> AsyncIterator[Desk]:
    """Somebody of a shop that lets a model write."""
    running = shop.running
    wanted = WritingSettings(1, True, "large", micros("5.00"), "operator:tests", NOW)
    async with running.database.tenant(shop.tenant_id) as connection:
        assert await writing_store.put_settings(connection, shop.tenant_id, wanted, seen=1)
    async with model_server() as server, open_channel(running.tickets_server.address) as tickets:
        known = models(tmp_path, server.url, timeout_seconds=1.0)
        writing = Writing(running.database, known, connect, clock=running.clock)
        served = registrations(running.database, running.customers, tickets, running.clock, writing)
        service = await start_server(served, trust=shop.issuer.trust, audit=kept_trail()[0])
        async with open_channel(service.address) as channel:
            stub = draft_service_pb2_grpc.DraftServiceStub(channel)
            yield Desk(shop, server, stub, shop.ticket("c-1", "My parcel is late!"))
        await service.stop()
        await writing.close()


def texts(events: list[contract.StreamDraftResponse]) -> str:
    """Return the text that events tell, since it last began anew."""
    told = ""
    for event in events:
        told = "" if event.HasField("restart") else told + event.text
    return told


async def test_a_models_sentences_are_told_and_make_the_draft(desk: Desk) -> None:
    """The draft names the model, and reading it gives the same without asking again."""
    desk.models.script(lambda _: Reply(SAID))
    events = await desk.stream()
    made = events[-1].draft
    assert (made.source, list(made.labels)) == ("model:anthropic/vendors-large", [])
    assert texts(events[:-1]) == made.draft
    assert len(events) == 4
    asked = len(desk.models.asked)
    assert await desk.current() == made
    assert len(desk.models.asked) == asked


async def test_what_was_told_is_taken_back_when_the_model_falls_silent(desk: Desk) -> None:
    """The first sentences come while the model still writes; then the rules' draft stands, and says why."""
    desk.models.script(lambda _: Reply(SAID, wait="middle"))
    events = await desk.stream()
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "text"
    assert kinds.count("restart") == 1
    made = events[-1].draft
    assert (made.source, list(made.labels)) == ("rules", [writers.SILENT])
    assert texts(events[:-1]) == made.draft


async def test_a_sentence_that_no_fact_supports_is_never_told(desk: Desk) -> None:
    """Not even for a moment: what is told has passed the checks."""
    desk.models.script(lambda _: Reply(lines(("You get a refund of 50 EUR today with code FREE90.", []))))
    events = await desk.stream()
    assert not any("FREE90" in event.text for event in events)
    assert events[-1].draft.source == "rules"
    assert [label.partition(":")[0] for label in events[-1].draft.labels] == ["fallback"]


async def test_who_breaks_off_leaves_the_draft_that_was_current(desk: Desk) -> None:
    """A draft that nobody saw to its end is not the current one."""
    desk.models.script(lambda _: Reply(SAID))
    before = (await desk.stream())[-1].draft
    desk.models.script(lambda _: Reply(SAID, wait="middle"))
    request = contract.StreamDraftRequest(ticket=desk.ticket, wish=contract.DraftWish(tone="friendly"))
    call = desk.drafts.StreamDraft(request, metadata=desk.shop.metadata)
    assert (await call.read()).text
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert await desk.current() == before


async def test_a_message_that_comes_while_a_draft_is_told_makes_it_begin_anew(desk: Desk) -> None:
    """What answers the conversation of before is taken back, and the draft answers the new message."""
    said = False

    def script(_: object) -> Reply:
        nonlocal said
        if not said:
            said = True
            desk.shop.say(desk.ticket, "Oh, and my mug is broken!")
        return Reply("", status=500)

    desk.models.script(script)
    events = await desk.stream()
    assert any(event.HasField("restart") for event in events)
    made = events[-1].draft
    assert texts(events[:-1]) == made.draft
    assert "damaged" in made.draft


async def test_a_draft_that_only_stands_in_is_never_kept_as_the_real_one(desk: Desk) -> None:
    """While the model fails the same draft stands for a minute; then the model is asked again, and its draft stays."""
    desk.models.script(lambda _: Reply(status=400))
    first = await desk.current()
    assert (first.source, len(first.labels)) == ("rules", 1)
    desk.models.script(lambda _: Reply(SAID))
    assert await desk.current() == first
    assert not desk.models.asked
    desk.shop.running.clock.advance(minutes=2)
    real = await desk.current()
    assert (real.source, list(real.labels)) == ("model:anthropic/vendors-large", [])
    desk.shop.running.clock.advance(days=30)
    assert await desk.current() == real
