"""Drafts by models on a real database: who may, what is sent, what is believed, and what it costs."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from structlog.testing import capture_logs

from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import drafts, writing_store
from services.recommendations.case import Contact
from services.recommendations.drafts import Draft, Wish
from services.recommendations.writers import composing
from services.recommendations.writers import writing as writers
from services.recommendations.writers.budgets import Budgets
from services.recommendations.writers.calling import Calls
from services.recommendations.writers.connecting import connect
from services.recommendations.writers.exchange import Task
from services.recommendations.writers.prices import Usage, decimal, micros, month_of
from services.recommendations.writers.provider import Limits, Prompt, ProviderError, Turn
from services.recommendations.writers.writing import Writing
from services.recommendations.writing_store import Spend, WritingSettings
from tests.recommendations.writing import RETURNS, ids, models, task
from tests.support.model_server import Asked, ModelServer, Reply, lines, model_server
from tests.support.servers import ServiceDatabase

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MARIA = "Hi, I am Maria Silva (maria.silva@example.com, +49 171 2345678). Where is my order 536365?"

Allow = Callable[..., Awaitable[UUID]]


@pytest.fixture
async def database(recommendations_database: ServiceDatabase) -> AsyncIterator[Database]:
    """The service's database."""
    opened = await Database.connect(recommendations_database.app_url, schema="recommendations", pool_size=8)
    yield opened
    await opened.close()


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A server of models."""
    async with model_server() as running:
        yield running


@pytest.fixture
async def writing(database: Database, server: ModelServer, tmp_path: Path) -> AsyncIterator[Writing]:
    """What writes by the models of that server."""
    made = Writing(database, models(tmp_path, server.url, timeout_seconds=1.0), connect, clock=lambda: NOW)
    yield made
    await made.close()


@pytest.fixture
def allow(database: Database) -> Allow:
    """Make a new tenant that allows a model."""

    async def allowed(model: str = "large", budget: str = "5.00") -> UUID:
        tenant_id = uuid7()
        wanted = WritingSettings(1, True, model, micros(budget), "operator:tests", NOW)
        async with database.tenant(tenant_id) as connection:
            assert await writing_store.put_settings(connection, tenant_id, wanted, seen=1)
        return tenant_id

    return allowed


async def spend(database: Database, tenant_id: UUID) -> Spend:
    """Return what the only month has cost."""
    async with database.tenant(tenant_id) as connection:
        (month,) = await writing_store.spend(connection, tenant_id)
    return month


def good(asked: Asked) -> Reply:
    """Answer as a model that keeps to the rules, with what the question names."""
    known = ids(asked)
    state = next(name for text, name in known.items() if "is on its way; it" in text)
    placed = next(name for text, name in known.items() if "was placed on" in text)
    parcel = re.search(r"\[PARCEL_\d\]", asked.user)
    order = re.search(r"\[ORDER_\d\]", asked.user)
    assert parcel
    assert order
    return Reply(
        lines(
            ("I completely understand how frustrating the wait is, and I am glad to help.", []),
            (f"Your order {order[0]} was placed on 1 December 2010.", [placed]),
            None,
            (f"Your parcel {parcel[0]} is on its way.", [state]),
        )
    )


@pytest.mark.parametrize("model", ["large", "local"])
async def test_a_model_writes_the_draft_where_a_tenant_allows_it(
    writing: Writing, server: ModelServer, allow: Allow, database: Database, model: str
) -> None:
    """The draft is the model's, names its source and its facts, and holds again what was replaced on the way."""
    server.script(good)
    tenant_id = await allow(model)
    draft = await writing.write(tenant_id, task(MARIA))
    assert draft.text == (
        "I completely understand how frustrating the wait is, and I am glad to help. "
        "Your order 536365 was placed on 1 December 2010.\n\n"
        "Your parcel 00340434161094042557 is on its way."
    )
    assert draft.source == {"large": "model:anthropic/vendors-large", "local": "model:openai/local-small"}[model]
    assert {fact.id for fact in draft.facts} == {"order.536365.placed_on", "parcel.00340434161094042557.state"}
    assert draft.labels == ()
    month = await spend(database, tenant_id)
    assert (month.call_count, month.draft_count, month.fallback_count) == (1, 1, 0)
    assert (month.input_tokens, month.output_tokens) == (900, 120)
    assert decimal(month.spent_micros) == "0.0045"
    assert month.reserved_micros == 0


async def test_nobody_is_asked_for_a_tenant_that_has_not_allowed_it(
    writing: Writing, server: ModelServer, allow: Allow
) -> None:
    """Without permission, and for a model that is no longer configured, the rules write and nothing leaves."""
    server.script(good)
    wanted = task(MARIA)
    assert await writing.write(uuid7(), wanted) == wanted.fallback
    assert await writing.write(await allow("gone"), wanted) == wanted.fallback
    assert server.asked == []


async def test_what_is_sent_names_nobody(writing: Writing, server: ModelServer, allow: Allow) -> None:
    """Names, addresses, numbers, links and references are replaced; what the shop thinks of a customer is not sent."""
    server.script(good)
    said = (
        "Hi, this is Maria Silva. Order 536365, parcel 00340434161094042557: still nothing at 12 High Street, "
        "London SW1A 1AA! Call +49 (0)171 2345678 or write to m\u200baria.silva@example.com, card 4111 1111 1111 1111, "
        "IBAN DE89 3704 0044 0532 0130 00. See https://example.com/u/maria?t=1\nBest regards,\nMaria"
    )
    await writing.write(await allow(), task(said))
    (asked,) = server.asked
    for secret in (
        *("Maria", "Silva", "maria", "536365", "00340434161094042557", "High Street", "SW1A", "2345678", "4111"),
        *("3704", "example.com", "carrier.example"),
    ):
        assert secret not in asked.text


@pytest.mark.parametrize(
    "name", ["Silva, Maria", "Maria Silva (VIP)", "maria.silva", "Dr. Maria da Silva Santos e Costa Lima"]
)
async def test_a_customer_is_not_named_however_the_shop_writes_it(
    writing: Writing, server: ModelServer, allow: Allow, name: str
) -> None:
    """Also the known address and number go, in the shapes in which a customer writes them."""
    server.script(good)
    wanted = replace(
        task("Maria Silva here, silva-maria7 as always, line 471-19. Where is order 536365?", name=name),
        contact=Contact(name, "silva-maria7@example.com", "471-19"),
    )
    await writing.write(await allow(), wanted)
    (asked,) = server.asked
    assert not re.search("maria|silva|471", asked.user.lower().replace("03404341", ""))


async def test_an_error_that_may_have_cost_money_is_paid_and_not_repeated(
    writing: Writing, server: ModelServer, allow: Allow, database: Database
) -> None:
    """Behind a gateway's 502 the model may have written; a 503 turns the question away and costs nothing."""
    for status, asked, unsettled in ((502, 1, 1), (500, 1, 1), (503, 3, 0), (529, 3, 0), (400, 1, 0)):
        server.script(Reply(status=status, headers={"retry-after": "0"}))
        tenant_id = await allow()
        await writing.write(tenant_id, task(MARIA))
        month = await spend(database, tenant_id)
        assert (len(server.asked), month.unsettled_count, month.spent_micros > 0) == (asked, unsettled, unsettled > 0)


async def test_time_that_others_took_is_not_the_models_failure(
    database: Database, server: ModelServer, allow: Allow, tmp_path: Path
) -> None:
    """Without time left nothing is asked, nothing is paid, and the model is still asked for the next draft."""
    server.script(good)
    hurried = Writing(database, models(tmp_path, server.url), connect, timeout_seconds=0.0, clock=lambda: NOW)
    calls = Calls(connect(models(tmp_path, server.url).by_name["large"]))
    limits, prompt = Limits(100, 1000, 8.0), Prompt("", (Turn("user", "Hello [ORDER_1]"),))
    server.script(Reply(wait="head"))
    for _ in range(6):
        until = asyncio.get_running_loop().time() + 0.02
        with pytest.raises(ProviderError, match="timeout"):
            _ = [delta async for delta in calls.stream(prompt, limits, until)]
    with pytest.raises(ProviderError, match="timeout") as late:
        _ = [delta async for delta in calls.stream(prompt, limits, 0.0)]
    assert late.value.free
    server.script(Reply("Hello"))
    told = [delta async for delta in calls.stream(prompt, limits, asyncio.get_running_loop().time() + 8)]
    assert "Hello" in "".join(one for one in told if isinstance(one, str))
    tenant_id = await allow()
    server.script(good)
    assert (await hurried.write(tenant_id, task(MARIA))).labels == (writers.SILENT,)
    assert server.asked == []
    await calls.close()
    await hurried.close()


async def test_a_bad_answer_is_mended_once(writing: Writing, server: ModelServer, allow: Allow) -> None:
    """The model is told which sentence broke which rule, and its second answer is taken."""
    server.script(Reply(lines(("You get a full refund of 100 EUR today.", ["F1"]))), good)
    draft = await writing.write(await allow(), task(MARIA))
    assert draft.source.startswith("model:")
    assert "refund" not in draft.text
    first, second = server.asked
    assert (first.turns, second.turns) == (1, 3)
    assert "Sentence 1: it promises" in second.text


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        (Reply(lines(("You get a full refund.", []))), composing.CHECKS),
        (Reply("I am a poem, not an answer."), composing.CHECKS),
        (Reply(""), composing.CHECKS),
        (Reply("No.", stop="refusal"), writers.REFUSED),
        (Reply(status=400), writers.SILENT),
        (Reply(wait="head"), writers.SILENT),
        (Reply("x" * 50_000), writers.SILENT),
        (Reply(body=b"data: {oops\n\n"), writers.SILENT),
        (Reply("half", cut=True), writers.SILENT),
    ],
    ids=["lie", "prose", "nothing", "refusal", "rejected", "hang", "endless", "broken", "cut"],
)
async def test_a_provider_that_fails_leaves_the_rules_draft(
    writing: Writing, server: ModelServer, allow: Allow, database: Database, reply: Reply, label: str
) -> None:
    """Whatever a provider does there is a draft, it is the rules' own, and its label says why."""
    server.script(reply)
    wanted = task(MARIA)
    tenant_id = await allow()
    draft = await writing.write(tenant_id, wanted)
    assert (draft.text, draft.source, draft.facts) == (wanted.fallback.text, drafts.SOURCE, wanted.fallback.facts)
    assert draft.labels == (label,)
    month = await spend(database, tenant_id)
    assert (month.draft_count, month.fallback_count, month.reserved_micros) == (0, 1, 0)


async def test_a_stream_tells_only_sentences_that_passed(writing: Writing, server: ModelServer, allow: Allow) -> None:
    """What was told is taken back when a later sentence fails, and the end of the stream is the draft itself."""
    bad = lines(("Thank you for your patience.", []), ("The lantern is waterproof.", ["F5"]))
    server.script(Reply(bad), good)
    told = [one async for one in writing.stream(await allow(), task(MARIA))]
    assert told[:2] == ["Thank you for your patience.", None]
    *pieces, draft = told[2:]
    assert isinstance(draft, Draft)
    assert "".join(str(piece) for piece in pieces) == draft.text
    assert not any("waterproof" in str(one) for one in told)


async def test_a_stream_that_falls_back_ends_with_the_rules_draft(
    writing: Writing, server: ModelServer, allow: Allow
) -> None:
    """The pieces after the last restart are the draft's text."""
    server.script(Reply(lines(("Thank you for your patience.", []), ("Everything is free for you.", []))))
    wanted = task(MARIA)
    told = [one async for one in writing.stream(await allow(), wanted)]
    last = max(place for place, one in enumerate(told) if one is None)
    *pieces, draft = told[last + 1 :]
    assert "".join(str(piece) for piece in pieces) == wanted.fallback.text
    assert isinstance(draft, Draft)
    assert draft.labels == (composing.CHECKS,)


async def test_a_reader_who_leaves_settles_what_was_begun(
    writing: Writing, server: ModelServer, allow: Allow, database: Database
) -> None:
    """A stream that nobody reads on is settled at the most that it could have cost, and leaves no reservation."""
    server.script(good)
    tenant_id = await allow()
    stream = writing.stream(tenant_id, task(MARIA))
    assert isinstance(await anext(stream), str)
    await stream.aclose()
    month = await spend(database, tenant_id)
    assert (month.reserved_micros, month.unsettled_count) == (0, 1)
    assert month.spent_micros > 0


async def test_a_language_that_cannot_be_checked_is_left_to_the_rules(
    writing: Writing, server: ModelServer, allow: Allow
) -> None:
    """Nothing is sent, and the label says why."""
    server.script(good)
    wanted = task(MARIA)
    other = Task(wanted.case, wanted.facts, wanted.conversation, _in(wanted.fallback, "pl"))
    draft = await writing.write(await allow(), other)
    assert draft.labels == (composing.LANGUAGE,)
    assert server.asked == []


async def test_a_draft_in_german_rests_on_english_facts(writing: Writing, server: ModelServer, allow: Allow) -> None:
    """Dates and amounts are compared by what they mean; the other words are the rules' own."""
    wanted = task("Wo ist meine Bestellung 536365? Ich habe noch nichts.", wish=Wish(language="de"))

    def german(asked: Asked) -> Reply:
        own = [name for name in ids(asked).values() if name.startswith("D")]
        texts = [text for text, name in ids(asked).items() if name.startswith("D")]
        assert texts
        parcel = re.search(r"\[PARCEL_\d\]", asked.user)
        assert parcel
        return Reply(
            lines(
                ("Ich verstehe gut, dass Sie warten, und helfe Ihnen gern.", []),
                (f"Ihre Sendung {parcel[0]} ist unterwegs.", own),
            )
        )

    server.script(german)
    draft = await writing.write(await allow(), wanted)
    assert wanted.fallback.language == "de"
    assert draft.source.startswith("model:")
    assert "ist unterwegs" in draft.text
    server.script(Reply(lines(("Sie erhalten morgen eine Erstattung.", ["D1"]))))
    assert (await writing.write(await allow(), wanted)).source == "rules"


async def test_a_policy_may_be_quoted_and_not_retold(writing: Writing, server: ModelServer, allow: Allow) -> None:
    """Word for word it stands; in other words it does not."""
    wanted = task("How long can I return order 536365?", passages=(RETURNS,))

    def quoting(text: str) -> Callable[[Asked], Reply]:
        def reply(asked: Asked) -> Reply:
            policy = next(name for known, name in ids(asked).items() if "policy" in known and "Unused" in known)
            return Reply(lines(("I am happy to help you with this.", []), (text, [policy])))

        return reply

    server.script(quoting("Our policy says: “Unused goods can be returned within 30 days”."))
    kept = await writing.write(await allow(), wanted)
    assert kept.source.startswith("model:")
    assert "Unused goods can be returned within 30 days" in kept.text
    server.script(quoting("You can return everything free of charge within 30 days."))
    assert (await writing.write(await allow(), wanted)).source == "rules"


async def test_no_log_holds_a_word_of_what_was_said(writing: Writing, server: ModelServer, allow: Allow) -> None:
    """Logs tell sizes, outcomes and seconds."""
    server.script(good, Reply(status=400))
    tenant_id = await allow()
    structlog.reset_defaults()
    with capture_logs() as logs:
        await writing.write(tenant_id, task(MARIA))
        await writing.write(tenant_id, task(MARIA))
    told = repr(logs)
    assert [entry["outcome"] for entry in logs if entry["event"] == "model_called"] == ["answered", "rejected"]
    for word in ("Maria", "order", "waiting", "parcel", "the-key"):
        assert word not in told


async def test_the_budget_holds_however_many_ask_at_once(
    writing: Writing, server: ModelServer, allow: Allow, database: Database
) -> None:
    """Fourteen drafts at once with money for a few: not one millionth more is spent or reserved than there is."""
    held = models_price(writing)
    server.script(good)
    tenant_id = await allow("large", decimal(held * 3))
    drafted = await asyncio.gather(*(writing.write(tenant_id, task(MARIA)) for _ in range(14)))
    month = await spend(database, tenant_id)
    assert month.reserved_micros == 0
    assert month.spent_micros <= held * 3
    assert {draft.labels for draft in drafted} <= {(), (writers.BUDGET,)}
    assert (writers.BUDGET,) in {draft.labels for draft in drafted}


def models_price(writing: Writing) -> int:
    """Return about the most that one draft can cost."""
    return writing.models.by_name["large"].prices.cost(Usage(4000, 1000))


async def test_reservations_never_add_up_to_more_than_the_budget(database: Database, tmp_path: Path) -> None:
    """Two hundred reservations at once against money for seven: exactly seven are granted."""
    tenant_id, model = uuid7(), models(tmp_path, "http://127.0.0.1:9").by_name["large"]
    budgets, prompt = Budgets(database, lambda: NOW), Prompt("", (Turn("user", "x" * 800),))
    most = model.prices.cost(Usage(1000, model.output_tokens))
    granted = await asyncio.gather(*(budgets.reserve(tenant_id, model, prompt, 7 * most + 5) for _ in range(200)))
    held = [one for one in granted if one is not None]
    assert len(held) == 7
    await asyncio.gather(*(budgets.settle(one, Usage(10, 10), free=False) for one in held[:3]))
    await budgets.settle(held[3], None, free=True)
    await budgets.settle(held[4], None, free=False)
    await budgets.settle(held[4], None, free=False)
    # A provider that counts more than was sent takes nobody else's money.
    await budgets.settle(held[5], Usage(9_000_000, 9_000_000), free=False)
    month = await spend(database, tenant_id)
    assert month.spent_micros == 3 * model.prices.cost(Usage(10, 10)) + 2 * most
    assert month.reserved_micros == most
    assert (month.call_count, month.unsettled_count) == (7, 1)


async def test_a_call_whose_process_died_counts_as_spent(database: Database, tmp_path: Path) -> None:
    """Its reservation is not free again: nobody knows what the provider took."""
    tenant_id, model = uuid7(), models(tmp_path, "http://127.0.0.1:9").by_name["large"]
    prompt = Prompt("", (Turn("user", "x" * 800),))
    most = model.prices.cost(Usage(1000, model.output_tokens))
    await Budgets(database, lambda: NOW).reserve(tenant_id, model, prompt, 2 * most)
    later = Budgets(database, lambda: NOW + timedelta(minutes=11))
    assert await later.reserve(tenant_id, model, prompt, 2 * most) is not None
    assert await later.reserve(tenant_id, model, prompt, 2 * most) is None
    month = await spend(database, tenant_id)
    assert (month.spent_micros, month.reserved_micros, month.unsettled_count) == (most, most, 1)
    assert month.month == month_of(NOW)


def _in(draft: Draft, language: str) -> Draft:
    return Draft(draft.text, draft.tone, draft.length, language, draft.personalization, draft.facts)
