"""What crm tells people of: connections that broke, once, and deliveries that died."""

import asyncio
from functools import partial

import asyncpg

from servicekit.database import Database
from servicekit.ids import uuid7
from servicekit.notifier import Channel, News, Notifier
from services.crm.news import Newsroom
from tests.support.servers import DatabaseFor
from tests.support.waiting import eventually


async def test_a_broken_connection_is_news_once_and_again_when_it_breaks_anew(
    fresh_database_for: DatabaseFor,
) -> None:
    """It is named by its ids and its reason, with the command that looks at it; mended, it may be news again."""
    made = fresh_database_for("crm")
    told: list[News] = []

    async def send(news: News) -> None:
        told.append(news)

    async def is_told(number: int) -> bool:
        return len(told) == number

    database = await Database.connect(made.app_url, schema="crm")
    notifier = Notifier([Channel("test", send)])
    sending = asyncio.create_task(notifier.run())
    newsroom = Newsroom(database, notifier)
    tenant, connection = uuid7(), uuid7()
    direct = await asyncpg.connect(made.superuser_url)
    try:
        await direct.execute(
            "INSERT INTO crm.connections (tenant_id, id, provider, display_name, config, create_time, update_time)"
            " VALUES ($1, $2, 'zendesk', '', '{}', now(), now())",
            tenant,
            connection,
        )
        await newsroom.look()
        await direct.execute(
            "INSERT INTO crm.connection_calls (tenant_id, connection_id, failing_since, failure_reason)"
            " VALUES ($1, $2, now() - interval '1 hour', 'CREDENTIALS_REFUSED')",
            tenant,
            connection,
        )
        await newsroom.look()
        await newsroom.look()
        await eventually(partial(is_told, 1))
        assert [news.facts["reason"] for news in told] == ["CREDENTIALS_REFUSED"]
        assert str(connection) in told[0].summary
        await direct.execute("UPDATE crm.connection_calls SET failing_since = NULL")
        await newsroom.look()
        await direct.execute("UPDATE crm.connection_calls SET failing_since = now() - interval '1 hour'")
        await newsroom.look()
        await eventually(partial(is_told, 2))
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await direct.close()
        await database.close()


async def test_deliveries_that_die_while_news_are_throttled_are_told_later(fresh_database_for: DatabaseFor) -> None:
    """What died within the throttle's time is told of at the first look after it; nothing new is no news."""
    made = fresh_database_for("crm")
    now = [0.0]
    told: list[str] = []

    async def send(news: News) -> None:
        told.append(news.facts["dead"])

    async def are_told(*wanted: str) -> bool:
        return told == list(wanted)

    database = await Database.connect(made.app_url, schema="crm")
    notifier = Notifier([Channel("test", send)], throttle=3600, clock=lambda: now[0])
    sending = asyncio.create_task(notifier.run())
    newsroom = Newsroom(database, notifier)
    direct = await asyncpg.connect(made.superuser_url)

    async def dies() -> None:
        await direct.execute(
            "INSERT INTO crm.deliveries (tenant_id, id, connection_id, provider, state, secret_version, dedupe_key,"
            " conversation, key_version, payload, receive_time, state_time)"
            " VALUES ($1, $2, $1, 'zendesk', 'dead', 1, '', 1, 1, '', now(), now())",
            uuid7(),
            uuid7(),
        )

    try:
        await dies()
        await newsroom.look()
        await eventually(partial(are_told, "1"))
        await dies()
        await newsroom.look()
        now[0] = 3600
        await newsroom.look()
        await eventually(partial(are_told, "1", "2"))
        now[0] = 7200
        await newsroom.look()
        assert told == ["1", "2"]
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await direct.close()
        await database.close()
