"""Searching: what is found, in which order, by whom, and what is shown of it."""

from typing import Any

import asyncpg
import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import search_service_pb2, ticket_service_pb2, ticket_work_pb2

from servicekit import migrate
from servicekit.database import Database
from servicekit.ids import uuid7
from services.tickets import search_store
from services.tickets.alerts import searchable
from services.tickets.cards import Filters
from services.tickets.counting import Counting
from services.tickets.errors import SearchQueryInvalidError
from services.tickets.search_store import SearchStore
from services.tickets.searching import SNIPPET_LENGTH, Query, Term, parse_query, snippet
from tests.support.servers import DatabaseFor
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent, Running


async def search(agent: Agent, query: str, **fields: Any) -> Any:
    """Search as an agent."""
    request = search_service_pb2.SearchTicketsRequest(query=query, **fields)
    return await agent.running.search.SearchTickets(request, metadata=agent.metadata)


async def numbers(agent: Agent, query: str, **fields: Any) -> list[str]:
    """Return the numbers of the tickets that are found, the best first."""
    return [result.ticket.number for result in (await search(agent, query, **fields)).results]


async def test_a_word_is_found_in_the_subject_and_in_messages_of_both_sides(agent: Agent) -> None:
    """The subject counts most, then what the customer wrote, then what the shop wrote."""
    said = await agent.open("Hello", "Good morning")
    await agent.ask("AddMessage", ticket=said["id"], from_agent=True, content="Your voucher", author_name="Kim")
    asked = await agent.open("Hello", "I want my voucher")
    subject = await agent.open("The voucher", "Good evening")
    found = await search(agent, "VOUCHER")
    assert [one.ticket.number for one in found.results] == [
        subject["ticket_number"],
        asked["ticket_number"],
        said["ticket_number"],
    ]
    assert found.matches.text == "3"


async def test_all_words_must_be_there_and_those_with_a_minus_must_not(agent: Agent) -> None:
    """Words are looked for in the whole ticket, whoever wrote them and wherever."""
    first = await agent.open("Broken lamp", "It came today")
    second = await agent.open("Lamp", "It is broken and I am angry")
    await agent.open("Lamp", "It shines")
    assert set(await numbers(agent, "lamp broken")) == {first["ticket_number"], second["ticket_number"]}
    assert await numbers(agent, "lamp broken -angry") == [first["ticket_number"]]


async def test_a_phrase_is_found_in_a_row_only(agent: Agent) -> None:
    """Words in double quotes stand next to each other; one text's end and another's beginning do not."""
    found = await agent.open("Question", "Where is my late parcel?")
    await agent.open("My parcel", "came late. The parcel is here.")
    await agent.open("too late", "parcel")
    assert await numbers(agent, '"late parcel"') == [found["ticket_number"]]
    assert found["ticket_number"] not in await numbers(agent, 'parcel -"late parcel"')


async def test_the_beginning_of_a_word_finds_its_forms(agent: Agent) -> None:
    """Words are not reduced to stems: who wants all forms says so."""
    first = await agent.open("Refunds", "please")
    await agent.open("Fund", "please")
    assert await numbers(agent, "refund") == []
    assert await numbers(agent, "refund*") == [first["ticket_number"]]


async def test_no_tenant_finds_what_another_one_wrote(running: Running, agent: Agent) -> None:
    """The index is bound to the tenant twice; neither word nor count comes through."""
    other = Agent(running, agent.issuer, uuid7())
    await agent.open("Unmistakable", "zebra")
    found = await search(other, "zebra")
    assert (list(found.results), found.matches.value) == ([], 0)


async def test_what_is_hidden_is_not_found_until_it_is_restored(agent: Agent) -> None:
    """Hidden messages of both sides are out of the index, and come back."""
    ticket = await agent.open("Hello", "First")
    await agent.ask("AddMessage", ticket=ticket["id"], from_agent=False, content="xylophone", author_name="Ann")
    await agent.ask("AddMessage", ticket=ticket["id"], from_agent=True, content="metronome", author_name="Kim")
    assert await numbers(agent, "xylophone metronome") == [ticket["ticket_number"]]
    await agent.ask("ResetConversation", ticket=ticket["id"])
    assert await numbers(agent, "xylophone") == await numbers(agent, "metronome") == []
    request = ticket_service_pb2.RestoreConversationRequest(ticket=ticket["id"])
    await agent.running.tickets.RestoreConversation(request, metadata=agent.metadata)
    assert await numbers(agent, "xylophone metronome") == [ticket["ticket_number"]]


async def test_words_and_tags_are_indexed_whatever_a_ticket_begins_with(agent: Agent) -> None:
    """Tags without a word of text, what is added later by both sides, and tags that change."""
    ticket = await agent.open("?", "!", tags=["vip"])
    counting = Counting(agent.running.database)
    assert (await counting.count(agent.tenant_id, Filters(), "vip", "")).total.value == 1
    for from_agent, content in ((True, "a krummhorn"), (False, "a shawm"), (False, "a rackett")):
        await agent.ask("AddMessage", ticket=ticket["id"], from_agent=from_agent, content=content, author_name="A")
    await agent.ask("UpdateTicket", ticket=ticket["id"], tags=["gold"])
    await agent.ask("AddMessage", ticket=ticket["id"], from_agent=False, content="a cornett", author_name="A")
    assert await numbers(agent, "krummhorn shawm rackett cornett") == [ticket["ticket_number"]]
    counts = [(await counting.count(agent.tenant_id, Filters(), tag, "")).total.value for tag in ("vip", "gold")]
    assert counts == [0, 1]


async def test_a_closed_ticket_is_found_by_its_status(agent: Agent) -> None:
    """Closing moves a ticket's words to those of closed tickets, opening again moves them back."""
    ticket = await agent.open("Ocarina", "Where is it?")
    await agent.ask("UpdateTicket", ticket=ticket["id"], status="closed")
    assert await numbers(agent, "ocarina", status="open") == []
    assert await numbers(agent, "ocarina", status="closed") == await numbers(agent, "ocarina")
    await agent.ask("UpdateTicket", ticket=ticket["id"], status="pending")
    assert await numbers(agent, "ocarina", status="closed") == []
    assert await numbers(agent, "ocarina", status="pending") == [ticket["ticket_number"]]


async def test_pages_hold_every_match_once_and_none_that_came_later(agent: Agent) -> None:
    """A search is paged in the ranking of its first page."""
    opened = [(await agent.open("Harp", f"number {number}"))["ticket_number"] for number in range(7)]
    first = await search(agent, "harp", page_size=3)
    await agent.open("Harp", "a late one")
    found, token = [one.ticket.number for one in first.results], first.next_page_token
    while token:
        page = await search(agent, "harp", page_size=3, page_token=token)
        found, token = found + [one.ticket.number for one in page.results], page.next_page_token
    assert found == opened[::-1]


async def test_a_token_of_another_search_or_tenant_is_refused(running: Running, agent: Agent) -> None:
    """A page token belongs to its query, its filter and its tenant."""
    for number in range(3):
        await agent.open("Lute", f"number {number}")
    token = (await search(agent, "lute", page_size=1)).next_page_token
    for asker, query in ((agent, "number"), (Agent(running, agent.issuer, uuid7()), "lute")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await search(asker, query, page_size=1, page_token=token)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_words_that_are_in_too_many_tickets_are_searched_from_the_newest_on(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very common words the newest matches are ranked, and the count says that there are more."""
    opened = [(await agent.open("Drum", f"number {number}"))["ticket_number"] for number in range(6)]
    monkeypatch.setattr(search_store, "LOOKED_UP", 4)
    monkeypatch.setattr(search_store, "RANKED", 3)
    found = await search(agent, "drum")
    assert [one.ticket.number for one in found.results] == opened[:2:-1]
    assert (found.matches.text, found.matches.more) == ("3+", True)


async def test_common_words_are_searched_among_so_many_tickets_only(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds them but is older is not gone through for: the count says that there are more."""
    for number in range(6):
        await agent.open("Drum", f"number {number}")
    newest = [(await agent.open(subject, "?"))["ticket_number"] for subject in ("Drum", "Flute", "Drum", "Flute")]
    monkeypatch.setattr(search_store, "LOOKED_UP", 4)
    monkeypatch.setattr(search_store, "GONE_THROUGH", 4)
    found = await search(agent, "drum")
    assert [one.ticket.number for one in found.results] == [newest[2], newest[0]]
    assert (found.matches.text, found.matches.more) == ("2+", True)


async def test_a_snippet_shows_where_it_matches(agent: Agent) -> None:
    """The parts of a snippet are the text, and say which words were searched for."""
    await agent.open("Hello", "Once upon a time. " * 30 + "I didn\u2019t get my\n\nBanjo yet.")
    (result,) = (await search(agent, "didn't banjo")).results
    assert [part.text for part in result.snippet if part.matched] == ["didn\u2019t", "Banjo"]
    assert "".join(part.text for part in result.snippet).endswith("I didn\u2019t get my Banjo yet.")


@pytest.mark.parametrize("query", ["!!", "-word", '""', "ab*", " ".join(f"w{number}" for number in range(17))])
async def test_a_query_that_names_nothing_or_too_much_is_refused(agent: Agent, query: str) -> None:
    """The refusal says what is wrong with it."""
    assert await refusal(search(agent, query)) == (grpc.StatusCode.INVALID_ARGUMENT, "SEARCH_QUERY_INVALID")


@pytest.mark.parametrize(
    "query", ["'", "a'b & !c", "x | y :*", "\\", "T-001", "\u202eabc", "a\u0301", "100% \ud55c\uad6d"]
)
async def test_signs_that_mean_something_to_the_database_are_only_signs(agent: Agent, query: str) -> None:
    """No query is an error of the database's."""
    try:
        assert await numbers(agent, query) == []
    except grpc.aio.AioRpcError as refused:
        assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017 - either outcome is right


@given(st.text(max_size=200), st.lists(st.text(max_size=400), max_size=4))
def test_a_snippet_is_a_piece_of_a_text(query: str, texts: list[str]) -> None:
    """Whatever is searched for and written, the parts put together stand in one of the texts."""
    try:
        parsed = parse_query(query)
    except SearchQueryInvalidError:
        parsed = Query((Term(("a",)),), ())
    shown = "".join(piece.text for piece in snippet(parsed, texts))
    assert len(shown) <= SNIPPET_LENGTH
    assert not texts or any(
        shown in " ".join(text.split()) or shown.strip() in " ".join(text.split()) for text in texts
    )


async def test_a_merged_tickets_words_find_the_ticket_that_goes_on(agent: Agent) -> None:
    """What was written in the one is found in the other, and on its own again when they part."""
    one, other = await agent.open("Hello", "a theorbo"), await agent.open("Hello", "a rebec")
    await agent.ask("AddMessage", ticket=one["id"], from_agent=True, content="capo", author_name="Kim")
    merge = ticket_work_pb2.MergeTicketRequest(ticket=one["id"], into=other["id"])
    await agent.running.tickets.MergeTicket(merge, metadata=agent.metadata)
    assert await numbers(agent, "theorbo rebec capo", status="open") == [other["ticket_number"]]
    (result,) = (await search(agent, "theorbo", status="open")).results
    assert [part.text for part in result.snippet if part.matched] == ["theorbo"]


async def test_an_erased_customers_words_are_gone(agent: Agent) -> None:
    """Nothing of an erased ticket stays in the index."""
    await agent.open("Hello", "a shawm", customer_id="c-9")
    request = ticket_service_pb2.EraseCustomerTicketsRequest(customer_id="c-9")
    metadata = agent.issuer.metadata("customers.write", tenant_id=agent.tenant_id)
    await agent.running.tickets.EraseCustomerTickets(request, metadata=metadata)
    assert await numbers(agent, "shawm") == []
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM tickets.ticket_words") == 0


async def test_tickets_from_before_the_index_are_found(fresh_database_for: DatabaseFor) -> None:
    """The migration indexes what both sides wrote in every tenant's tickets."""
    made = fresh_database_for("tickets")
    await migrate.downgrade(made.owner_url, "services.tickets", "0008")
    connection = await asyncpg.connect(made.superuser_url)
    tenants = [uuid7(), uuid7()]
    for tenant in tenants:
        ticket = uuid7()
        await connection.execute("INSERT INTO tickets.ticket_numbers VALUES ($1, 1)", tenant)
        await connection.execute(
            "INSERT INTO tickets.tickets (tenant_id, id, number, customer_id, subject, channel, status, priority,"
            " assigned_to, tags, metadata, create_time, update_time, start_time, field_times, entry_count,"
            " conversation_version, revision, signals, rank_key, parts, searchable, card, card_version, message_count)"
            " VALUES ($1, $2, 1, 'c', 'Crumhorn', 'email', 'open', 'low', '', '{vip}', '{}', now(), now(), now(), '{}',"
            " 2, 1, 1, '{}', 0, '[]', $3, '', 1, 2)",
            *(tenant, ticket, searchable(["Crumhorn", "doesn't play"])),
        )
        await connection.execute(
            "INSERT INTO tickets.messages (tenant_id, ticket_id, id, sequence, from_agent, content, author_name,"
            " author_email, author_id, metadata, create_time)"
            " VALUES ($1, $2, $2, 2, true, $3, '', '', '', '{}', now())",
            *(tenant, ticket, "We\u2019ll send REEDS."),
        )
    await migrate.upgrade(made.owner_url, "services.tickets")
    await connection.close()
    database = await Database.connect(made.app_url, schema="tickets", pool_size=2)
    words = SearchStore(database)
    for query, count in (("crumhorn doesn't", 1), ("reeds send", 1), ('"doesn\u2019t play"', 1), ("lute", 0)):
        found, _ = await words.candidates(tenants[0], parse_query(query), "", None)
        assert len(found) == count, query
    counted = await Counting(database).count(tenants[1], Filters(), "vip", "")
    assert counted.total.value == 1
    await database.close()
