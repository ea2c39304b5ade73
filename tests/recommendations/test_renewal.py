"""What makes advice out of date: all that it rests on, and nothing else."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.recommendations import advice_store, model_store
from services.recommendations.action_desk import ActionDesk
from services.recommendations.conversations import Conversations
from services.recommendations.knowledge import Content, Knowledge
from services.recommendations.people import People
from services.recommendations.situations import Situations
from services.recommendations.writers.models import Model, Models
from services.recommendations.writers.prices import Prices
from services.recommendations.writing_desk import WritingDesk
from services.recommendations.writing_store import WritingSettings
from tests.recommendations.conftest import NOW, Caller, line

_POLICY = """
currency: EUR
actions:
  send_replacement: {enabled: false}
"""


async def set_a_policy(shop: Caller) -> None:
    """Change what the shop allows of actions."""
    running = shop.running
    situations = Situations(running.database, running.customers, Conversations(running.channel))
    desk = ActionDesk(running.database, situations, running.clock)
    await desk.set(shop.tenant_id, "operator:tests", _POLICY, "", "a test")


async def publish_an_article(shop: Caller) -> None:
    """Let the shop say something that it had not said."""
    body = "The lid of the blender can be washed in the dishwasher."
    knowledge = Knowledge(shop.running.database, shop.running.clock)
    await knowledge.create(shop.tenant_id, Content(body, title="Washing the lid of the blender"))


async def change_what_models_may_do(shop: Caller) -> None:
    """Let a model write."""
    model = Model("small", "openai", "small", "http://localhost", None, Prices(1, 1), 5.0, 500)
    models = Models("EUR", {model.name: model})
    wanted = WritingSettings(1, True, model.name, 1_000_000, "operator:tests", NOW)
    await WritingDesk(shop.running.database, models, shop.running.clock).change(shop.tenant_id, wanted)


async def merge_the_customer(shop: Caller) -> None:
    """Make the customer one with another."""
    people = People(shop.running.database, shop.running.customers)
    await people.merge(shop.tenant_id, "c-2", "c-1", "operator:tests")


async def serve_another_model(shop: Caller) -> None:
    """Judge the shop's customers by another model."""
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        await model_store.serve(connection, shop.tenant_id, 0, held=False)


async def take_an_order(shop: Caller) -> None:
    """Take another order of the customer."""
    await shop.buy(line("o-9", "c-1", NOW - timedelta(hours=1)))


async def name_the_customer(shop: Caller) -> None:
    """Learn the customer's name."""
    people = People(shop.running.database, shop.running.customers)
    await people.set_contact(shop.tenant_id, "c-1", "", "Kim Doe")


CHANGES = (
    set_a_policy,
    publish_an_article,
    change_what_models_may_do,
    merge_the_customer,
    serve_another_model,
    take_an_order,
    name_the_customer,
)


async def grounds(shop: Caller, ticket: str) -> dict[str, str]:
    """Read a ticket's advice, and return what each piece of it rests on."""
    for method in ("GetDraft", "GetRecommendation"):
        await shop.ask(method, ticket=ticket)
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        return {one.kind: one.grounds for one in await advice_store.load(connection, shop.tenant_id, [UUID(ticket)])}


@pytest.fixture
async def bought(shop: Caller, other_shop: Caller) -> tuple[str, str]:
    """Two customers who bought in one shop, one in another, and a ticket in each."""
    for caller in (shop, other_shop):
        await caller.buy(line("o-1", "c-1", NOW - timedelta(days=4)), line("o-2", "c-2", NOW - timedelta(days=9)))
    said = "My mug arrived broken!"
    return shop.ticket("c-1", said), other_shop.ticket("c-1", said)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_what_advice_rests_on_renews_it(
    shop: Caller, other_shop: Caller, bought: tuple[str, str], change: Callable[[Caller], Awaitable[Any]]
) -> None:
    """Draft and recommendation rest on what holds now, at the next read; another shop's are left as they are."""
    here, there = bought
    before, elsewhere = await grounds(shop, here), await grounds(other_shop, there)
    assert await grounds(shop, here) == before
    await change(shop)
    after = await grounds(shop, here)
    assert all(after[kind] != before[kind] for kind in before)
    assert await grounds(other_shop, there) == elsewhere


async def test_a_new_article_stands_in_the_next_draft(shop: Caller, bought: tuple[str, str]) -> None:
    """The draft that was current names it as soon as it is published, and without it again when it is gone."""
    del bought
    ticket = shop.ticket("c-1", "Can I wash the lid of the blender in the dishwasher?", number="T-002")
    assert not any(fact["kind"] == "article" for fact in (await shop.ask("GetDraft", ticket=ticket))["facts_used"])
    await publish_an_article(shop)
    knowledge = Knowledge(shop.running.database, shop.running.clock)
    (article,) = await knowledge.listed(shop.tenant_id, before=None, limit=10)
    draft = await shop.ask("RegenerateDraft", ticket=ticket, length="long")
    assert any(str(article.article_id) in fact["id"] for fact in draft["facts_used"])
    await knowledge.delete(shop.tenant_id, article.article_id)
    draft = await shop.ask("GetDraft", ticket=ticket)
    assert not any(str(article.article_id) in fact["id"] for fact in draft["facts_used"])
