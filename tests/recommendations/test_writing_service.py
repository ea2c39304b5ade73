"""What a shop lets language models do, by RPC; and a model's draft by the frontend's own call."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from rapport.frontend.v1 import assistant_pb2_grpc
from rapport.recommendations.v1 import action_policy_service_pb2, writing_service_pb2, writing_service_pb2_grpc

from servicekit.channel import open_channel
from servicekit.server import start_server
from services.recommendations.__main__ import registrations
from services.recommendations.writers.connecting import connect
from services.recommendations.writers.models import ModelsUnusableError, load
from services.recommendations.writers.writing import Writing
from tests.recommendations.conftest import NOW, Caller, Running, line, reason
from tests.recommendations.writing import models
from tests.support.model_server import ModelServer, Reply, lines, model_server
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

SCOPES = ("policies.write", "recommendations.read", "recommendations.write", "tickets.read", "customers.read")


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A server of models."""
    async with model_server() as running:
        yield running


@pytest.fixture
async def with_models(running: Running, issuer: Issuer, server: ModelServer, tmp_path: Path) -> AsyncIterator[Any]:
    """A channel to a server of ours that has models configured, on the same database."""
    writing = Writing(running.database, models(tmp_path, server.url), connect, clock=running.clock)
    async with open_channel(running.tickets_server.address) as to_tickets:
        served = registrations(running.database, running.customers, to_tickets, running.clock, writing)
        ours = await start_server(served, trust=issuer.trust, audit=kept_trail()[0])
        async with open_channel(ours.address) as channel:
            yield channel
        await ours.stop()
    await writing.close()


async def call(channel: Any, shop: Caller, method: str, **fields: Any) -> Any:
    """Call a method of WritingService."""
    stub = writing_service_pb2_grpc.WritingServiceStub(channel)
    request = getattr(writing_service_pb2, f"{method}Request")(**fields)
    metadata = shop.issuer.metadata(*SCOPES, tenant_id=shop.tenant_id)
    return await getattr(stub, method)(request, metadata=metadata)


async def test_settings_are_kept_with_who_and_when(with_models: Any, shop: Caller, other_shop: Caller) -> None:
    """They begin closed, change by revision and etag, and belong to one shop."""
    first = await call(with_models, shop, "GetWritingSettings")
    assert (first.allowed, first.revision, first.currency_code) == (False, 1, "USD")
    assert [(one.name, one.provider, one.input_price) for one in first.models] == [
        ("large", "anthropic", "3.00"),
        ("local", "openai", "3.00"),
    ]
    wanted = {"allowed": True, "model": "large", "monthly_budget": "25.5"}
    changed = await call(with_models, shop, "SetWritingSettings", etag=first.etag, **wanted)
    assert (changed.allowed, changed.model, changed.monthly_budget, changed.revision) == (True, "large", "25.50", 2)
    assert changed.principal
    assert changed.update_time.ToDatetime() == NOW.replace(tzinfo=None)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(with_models, shop, "SetWritingSettings", etag=first.etag, **wanted)
    assert reason(raised.value) == "ETAG_MISMATCH"
    assert not (await call(with_models, other_shop, "GetWritingSettings")).allowed


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"allowed": True, "model": "huge", "monthly_budget": "1"}, "WRITING_MODEL_UNKNOWN"),
        ({"allowed": True, "monthly_budget": "1"}, "WRITING_MODEL_UNKNOWN"),
        ({"allowed": True, "model": "large"}, "WRITING_BUDGET_MISSING"),
        ({"monthly_budget": "-1"}, "INVALID_ARGUMENT"),
        ({"monthly_budget": "1e9"}, "INVALID_ARGUMENT"),
        ({"monthly_budget": "0.0000001"}, "INVALID_ARGUMENT"),
    ],
)
async def test_settings_that_cannot_be_are_refused(
    with_models: Any, shop: Caller, fields: dict[str, Any], expected: str
) -> None:
    """Each with its reason, and nothing is stored."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(with_models, shop, "SetWritingSettings", **fields)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert expected in {reason(raised.value), "INVALID_ARGUMENT"}
    assert (await call(with_models, shop, "GetWritingSettings")).revision == 1


async def test_of_many_who_change_at_once_one_does(with_models: Any, shop: Caller) -> None:
    """Ten changes of the same state: one revision more, and nine who are told to read again."""
    etag = (await call(with_models, shop, "GetWritingSettings")).etag
    changes = [call(with_models, shop, "SetWritingSettings", monthly_budget=str(n), etag=etag) for n in range(10)]
    answers = await asyncio.gather(*changes, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert len(refused) == 9
    assert {reason(one) for one in refused} == {"ETAG_MISMATCH"}
    assert (await call(with_models, shop, "GetWritingSettings")).revision == 2


async def test_the_frontends_draft_is_the_models_where_it_may(
    with_models: Any, shop: Caller, server: ModelServer
) -> None:
    """Allowed, the current draft is written anew by the model; forbidden, by the rules again; the spend is visible."""
    await shop.buy(line("A-1001", "c-1", NOW))
    ticket = shop.ticket("c-1", "I like your shop, thank you!")
    server.script(Reply(lines(("Thank you so much for your kind words.", []), ("I am glad that you told us.", []))))
    before = await _draft(with_models, shop, ticket)
    assert before["source"] == "rules"
    assert server.asked == []
    await call(with_models, shop, "SetWritingSettings", allowed=True, model="local", monthly_budget="1")
    draft = await _draft(with_models, shop, ticket)
    assert draft["source"] == "model:openai/local-small"
    assert draft["draft"] == "Thank you so much for your kind words. I am glad that you told us."
    assert await _draft(with_models, shop, ticket) == draft
    assert len(server.asked) == 1
    spent = await call(with_models, shop, "GetWritingSpend")
    (month,) = spent.months
    assert (month.month, month.call_count, month.draft_count) == ("2026-03", 1, 1)
    assert float(month.spent) > 0
    await call(with_models, shop, "SetWritingSettings")
    assert (await _draft(with_models, shop, ticket))["source"] == "rules"


async def test_a_model_is_asked_again_only_where_what_it_writes_of_changed(
    with_models: Any, shop: Caller, server: ModelServer
) -> None:
    """Neither a larger budget nor a new policy that changes nothing here costs a call; another model does."""
    await shop.buy(line("A-1001", "c-1", NOW))
    ticket = shop.ticket("c-1", "I like your shop, thank you!")
    thanks = Reply(lines(("Thank you so much for your kind words.", []), ("I am glad that you told us.", [])))
    server.script(*[thanks] * 4)
    await call(with_models, shop, "SetWritingSettings", allowed=True, model="local", monthly_budget="1")
    draft = await _draft(with_models, shop, ticket)
    assert len(server.asked) == 1
    await call(with_models, shop, "SetWritingSettings", allowed=True, model="local", monthly_budget="2")
    assert await _draft(with_models, shop, ticket) == draft
    policy = action_policy_service_pb2.SetActionPolicyRequest(document="currency: EUR\nmost_actions: 3\n")
    await shop.running.policies.SetActionPolicy(policy, metadata=shop.metadata)
    for _ in range(2):
        assert await _draft(with_models, shop, ticket) == draft
    assert len(server.asked) == 1
    await call(with_models, shop, "SetWritingSettings", allowed=True, model="large", monthly_budget="2")
    assert (await _draft(with_models, shop, ticket))["source"].startswith("model:anthropic/")
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "minutes"),
    [(Reply(status=400), 2), (Reply(lines(("You get a refund.", []))), 61)],
    ids=["silent", "lying"],
)
async def test_a_draft_that_fell_back_is_not_the_last_word(
    with_models: Any, shop: Caller, server: ModelServer, reply: Reply, minutes: int
) -> None:
    """It stays for a while, so that a lying model costs no money at each look; then the model is asked again."""
    await shop.buy(line("A-1001", "c-1", NOW))
    ticket = shop.ticket("c-1", "I like your shop, thank you!")
    await call(with_models, shop, "SetWritingSettings", allowed=True, model="large", monthly_budget="1")
    server.script(reply)
    fallen = await _draft(with_models, shop, ticket)
    assert (fallen["source"], fallen["labels"][0][:8]) == ("rules", "fallback")
    server.script(Reply(lines(("Thank you so much for your kind words.", []), ("I am glad that you told us.", []))))
    shop.running.clock.advance(seconds=30)
    assert (await _draft(with_models, shop, ticket))["source"] == "rules"
    assert server.asked == []
    shop.running.clock.advance(minutes=minutes)
    assert (await _draft(with_models, shop, ticket))["source"].startswith("model:")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("currency: usd\nmodels: []", ["currency", "models"]),
        ("models: [", ["not YAML"]),
        ("currency: USD\nmodels: [{name: A b, provider: acme, model: '', input_price: -1, output_price: x}]", ["name"]),
        (
            "currency: USD\nmodels:\n- &m {name: a, provider: openai, model: b, input_price: 1, output_price: 1}\n- *m",
            ["twice: a"],
        ),
        (
            "currency: USD\nmodels: [{name: a, provider: openai, model: b, base_url: 'https://me:secret@h/'}]",
            ["key_file"],
        ),
    ],
    ids=["currency", "yaml", "fields", "twice", "credential"],
)
def test_a_file_of_models_that_cannot_be_used_says_where(tmp_path: Path, text: str, names: list[str]) -> None:
    """Every fault by its place, and no secret."""
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(ModelsUnusableError) as raised:
        load(path)
    assert all(name in str(raised.value) for name in names)
    assert "secret" not in str(raised.value)


def test_a_file_of_models_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A process does not start without what it was told to read."""
    with pytest.raises(ModelsUnusableError, match=r"gone\.yaml"):
        load(tmp_path / "gone.yaml")


async def _draft(channel: Any, shop: Caller, ticket: str) -> Any:
    """Return the draft as the frontend asks for it."""
    there = Caller(shop.running, shop.issuer, shop.tenant_id)
    stub, kept = assistant_pb2_grpc.AssistantStub(channel), shop.running.assistant
    shop.running.assistant = stub
    try:
        return await there.ask("GetDraft", ticket=ticket)
    finally:
        shop.running.assistant = kept
