"""Attempts to trick drafts: nothing of them stands in a draft by the rules, nor by a model that obeys them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import drafts, writing_store
from services.recommendations.drafts import Wish
from services.recommendations.grounds import facts_of
from services.recommendations.writers.connecting import connect
from services.recommendations.writers.exchange import Task
from services.recommendations.writers.prices import micros
from services.recommendations.writers.vocabulary import LANGUAGES
from services.recommendations.writers.writing import Writing
from services.recommendations.writing_store import WritingSettings
from tests.recommendations.writing import models
from tests.support.model_server import Asked, ModelServer, Reply, lines, model_server
from tests.support.servers import ServiceDatabase
from tools import adversarial
from tools.adversarial import Attempt

CASES = adversarial.attempts()
LEAST = 60


def test_there_are_enough_cases_and_no_name_stands_twice() -> None:
    """The suite does not shrink unseen."""
    assert len(CASES) >= LEAST
    assert len({one.name for one in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_the_rules_never_say_it(case: Attempt) -> None:
    """In no tone, length or language; and the actions stay what they are."""
    written = adversarial.by_rules(case)
    assert not [draft.text for draft in written if case.broken_by(draft.text)]
    assert adversarial.advised(case)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
async def test_a_model_that_obeys_never_gets_it_through(case: Attempt) -> None:
    """Bare, with every citation, among good sentences and inside of one: not even for a moment in a stream."""
    for language in LANGUAGES:
        for name, said in adversarial.scripts(case):
            told = await adversarial.by_hostile_model(case, said, language)
            assert adversarial.held(case, told), (language, name)


KEPT, REFUSED = adversarial.statements()


@pytest.mark.parametrize(("text", "kept"), KEPT, ids=[text[:40] for text, _ in KEPT])
def test_what_rests_on_its_facts_may_stand(text: str, *, kept: bool) -> None:
    """The checks are no use if they refuse everything."""
    assert kept, text


@pytest.mark.parametrize(("text", "kept"), REFUSED, ids=[str(place) for place in range(len(REFUSED))])
def test_what_rests_on_nothing_may_not(text: str, *, kept: bool) -> None:
    """Wrong numbers, dates, amounts, states, promises, links, products, swaps and denials are refused."""
    assert not kept, text


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A server of models."""
    async with model_server() as running:
        yield running


@pytest.mark.parametrize("model", ["large", "local"])
async def test_hostile_models_over_the_real_protocols(
    recommendations_database: ServiceDatabase, server: ModelServer, tmp_path: Path, model: str
) -> None:
    """The same through both SDKs, budget and all: each draft is the rules' own, and nothing was offered as a tool."""
    database = await Database.connect(recommendations_database.app_url, schema="recommendations", pool_size=4)
    writing = Writing(database, models(tmp_path, server.url), connect)
    tenant_id, now = uuid7(), datetime.now(UTC)
    wanted = WritingSettings(1, True, model, micros("100"), "operator:tests", now)
    async with database.tenant(tenant_id) as connection:
        await writing_store.put_settings(connection, tenant_id, wanted, seen=1)
    for case in CASES:
        talk, made = case.trick()
        task = Task(made, facts_of(made), talk, drafts.write(made, Wish(language="en")))

        def obey(asked: Asked, case: Attempt = case) -> Reply:
            assert "tools" not in asked.body
            return Reply(lines(*((one, ["F1", "F2", "F3", "F4", "F5", "D1", "D2"]) for one in case.obeys)))

        server.script(obey)
        draft = await writing.write(tenant_id, task)
        assert draft.text == task.fallback.text, case.name
        assert draft.labels[-1].startswith("fallback"), case.name
    await writing.close()
    await database.close()
