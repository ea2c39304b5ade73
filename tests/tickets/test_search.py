"""Searching: what is found, in which order, by whom, and what is shown of it."""

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import search_service_pb2, ticket_service_pb2

from servicekit.ids import uuid7
from services.tickets import search_store
from services.tickets.errors import SearchQueryInvalidError
from services.tickets.searching import SNIPPET_LENGTH, Query, Term, parse_query, snippet
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
