"""How a process says how it is: what is judged, and that nothing that fails keeps the rest from being told."""

import asyncio
from collections.abc import Sequence

import pytest
from pydantic_settings import SettingsConfigDict

from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.diagnosis import Finding, State, examine, graded, of_every_process
from servicekit.settings import ServiceSettings
from tests.support.servers import DatabaseFor


class SampleSettings(ServiceSettings):
    """Settings under a prefix that nobody else has."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_SAMPLE_")


async def found(database: Database, cache: Cache | None = None) -> dict[str, Finding]:
    """Return what is found of a process, by check."""
    return {one.check: one for one in await examine(of_every_process(SampleSettings(), database, cache))}


async def test_a_setting_that_nobody_reads_is_named_with_the_one_that_is_meant(
    database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in a name would leave the default in force, unseen."""
    database = await Database.connect(database_for("tickets").app_url, schema="tickets")
    try:
        monkeypatch.setenv("RAPPORT_SAMPLE_LOG_LEVEL", "info")
        assert (await found(database))["settings"].state is State.OK
        monkeypatch.setenv("RAPPORT_SAMPLE_LOG_LEVL", "debug")
        slip = (await found(database))["settings"]
        assert slip.state is State.FAILED
        assert "RAPPORT_SAMPLE_LOG_LEVL (is RAPPORT_SAMPLE_LOG_LEVEL meant?)" in slip.summary
    finally:
        await database.close()


async def test_a_database_out_of_reach_is_told_by_each_examination_that_needs_it() -> None:
    """The others are told all the same."""
    database = await Database.connect("postgresql://nobody@127.0.0.1:1/none", schema="tickets")
    try:
        told = await found(database)
    finally:
        await database.close()
    assert told["clock.database"].state is State.FAILED
    assert told["settings"].state is State.OK


async def test_a_cache_out_of_reach_is_red_and_none_is_green(database_for: DatabaseFor) -> None:
    """A suite may run without Valkey, but not with one that is set and away."""
    database = await Database.connect(database_for("tickets").app_url, schema="tickets")
    away = await Cache.connect("redis://127.0.0.1:1", service="tickets")
    none = await Cache.connect(None, service="tickets")
    try:
        assert (await found(database, away))["cache"].state is State.FAILED
        assert (await found(database, none))["cache"].state is State.OK
    finally:
        await away.close()
        await database.close()


async def test_an_examination_that_fails_or_hangs_is_a_finding() -> None:
    """Neither an error nor silence keeps the rest from being told, and no error's text is: it may hold anything."""

    async def fails() -> Sequence[Finding]:
        raise ValueError("a secret text")

    async def hangs() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    async def works() -> Sequence[Finding]:
        return [Finding("works", State.OK, "It works.")]

    told = await examine({"fails": fails, "hangs": hangs, "works": works}, patience=0.05)
    assert [(one.check, one.state) for one in told] == [
        ("fails", State.FAILED),
        ("hangs", State.FAILED),
        ("works", State.OK),
    ]
    assert "secret" not in told[0].summary


@pytest.mark.parametrize(
    ("value", "state"), [(0, State.OK), (1, State.WARNING), (1.9, State.WARNING), (2, State.FAILED)]
)
def test_a_figure_is_graded_by_its_bounds(value: float, state: State) -> None:
    """The bounds belong to the worse side."""
    assert graded(value, warning=1, failed=2) is state
