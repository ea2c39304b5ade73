"""Freshdesk: what its webhooks name, and what its API is asked and told."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from services.crm.events import Event, TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Pace, Reply, SendReply, SetPriority
from services.crm.providers.freshdesk import FRESHDESK
from services.crm.providers.freshdesk_api import FRESHDESK_API, PAGE
from services.crm.providers.provider import NotUnderstoodError, Request
from tests.crm.walking import CrashError, Walk, of_tickets
from tests.support.vendors.freshdesk import FreshdeskSimulator

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CONFIG = {"domain": "acme"}


@pytest.fixture
def vendor() -> FreshdeskSimulator:
    """An account with one ticket."""
    made = FreshdeskSimulator()
    made.open_ticket("701", "The zip is broken", "It came like that.")
    return made


@pytest.fixture
def walk(vendor: FreshdeskSimulator) -> Walk:
    """A connection that logs in."""
    return Walk(FRESHDESK_API, vendor, CONFIG, {"api_key": vendor.api_key})


def request(body: bytes) -> Request:
    """Return a webhook."""
    return Request("POST", "https://rapport.example/webhooks/freshdesk/token", (), body)


def only(events: Sequence[Event]) -> TicketEvent:
    """Return the one event of a ticket."""
    (event,) = of_tickets(events)
    return event


def test_webhook_names_its_account_by_the_host_of_the_tickets_address(vendor: FreshdeskSimulator) -> None:
    """There is no other trace of the account in a rule's body."""
    (part,) = FRESHDESK.parts(request(vendor.webhook("701")))
    assert (part.accounts, part.conversation) == (("acme",), "701")
    (bare,) = FRESHDESK.parts(request(b'{"ticket_id":"701"}'))
    assert bare.accounts == ()


@pytest.mark.parametrize(
    ("address", "account"),
    [
        pytest.param("https://ACME.freshdesk.com/a/tickets/1", "acme", id="upper case"),
        pytest.param("acme.freshdesk.com/a/tickets/1", "acme", id="no scheme"),
        pytest.param("https://help.acme.example/a/tickets/1", "help.acme.example", id="own domain"),
        pytest.param("https://acme.freshdesk.com.evil/a", "acme.freshdesk.com.evil", id="prefix"),
        pytest.param("https://acme.freshdesk.com@evil/a", "evil", id="user information"),
        pytest.param("https://[acme", "https://[acme", id="malformed"),
    ],
)
def test_account_is_the_whole_host_unless_it_is_the_vendors(address: str, account: str) -> None:
    """Nothing that only looks like the account's host is taken for it."""
    (part,) = FRESHDESK.parts(request(orjson.dumps({"ticket_id": "1", "ticket_url": address})))
    assert part.accounts == (account,)


def test_webhook_is_not_believed_but_its_ticket_is_named(vendor: FreshdeskSimulator) -> None:
    """An unsigned body makes no events, only a hint at what to fetch; older rules write a prefix before the number."""
    assert FRESHDESK.events(request(vendor.webhook("701")), LONG_AGO) == ()
    assert FRESHDESK.hint(request(vendor.webhook("701"))) == "701"
    assert FRESHDESK.hint(request(b'{"ticket_id":"INC-701"}')) == "701"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"\xff", "BODY_NOT_A_JSON_OBJECT", id="not UTF-8"),
        pytest.param(b"{}", "TICKET_ID_MISSING", id="no ticket"),
        pytest.param(b'{"ticket_id":"1/../2"}', "TICKET_ID_MISSING", id="path"),
        pytest.param(b'{"freshdesk_webhook":{"ticket_id":null}}', "TICKET_ID_MISSING", id="null"),
    ],
)
def test_body_that_names_no_ticket_says_why(body: bytes, reason: str) -> None:
    """Nothing but digits is ever made a part of an address."""
    with pytest.raises(NotUnderstoodError) as raised:
        FRESHDESK.hint(request(body))
    assert raised.value.reason == reason


def test_account_is_the_one_that_lets_us_in(walk: Walk) -> None:
    """Every account has a host of its own, where only its own agents are let in."""
    assert walk.run(FRESHDESK_API.account(CONFIG)) == "acme"
    stranger = Walk(FRESHDESK_API, walk.vendor, CONFIG, {"api_key": "another-key"})
    with pytest.raises(ApiError, match="401"):
        stranger.run(FRESHDESK_API.account(CONFIG))


def test_ticket_is_fetched_with_its_conversations(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """The description is the first message; a private one is a note."""
    vendor.change("701", priority=4, status=3, tags=["vip"])
    vendor.receive("701", "Any news?")
    walk.run(FRESHDESK_API.write(CONFIG, "701", AddNote("Look at the receipt.", "[rapport 1]")))
    event = only(walk.run(FRESHDESK_API.ticket(CONFIG, "701")))
    assert (event.fields.customer_id, event.fields.subject) == ("1001", "The zip is broken")
    assert (event.fields.channel, event.fields.status, event.fields.priority) == ("email", "pending", "urgent")
    assert event.fields.tags == ("vip",)
    assert [(message.from_agent, message.internal) for message in event.messages] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    assert [message.content for message in event.messages[:2]] == ["It came like that.", "Any news?"]


def test_two_states_within_one_second_are_two_events(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """The vendor's clock has whole seconds: what came in the same one as the last look is not taken for a copy."""
    first = only(walk.run(FRESHDESK_API.ticket(CONFIG, "701")))
    vendor.now -= timedelta(seconds=1)
    vendor.receive("701", "One more thing")
    second = only(walk.run(FRESHDESK_API.ticket(CONFIG, "701")))
    again = only(walk.run(FRESHDESK_API.ticket(CONFIG, "701")))
    assert first.occurred == second.occurred
    assert first.key != second.key == again.key


def test_all_pages_of_conversations_are_read(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """No message is left out, however many there are."""
    for number in range(201):
        vendor.receive("701", f"message {number}")
    events = walk.run(FRESHDESK_API.ticket(CONFIG, "701"))
    assert sum(len(event.messages) for event in events if isinstance(event, TicketEvent)) == 202


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"status": 4}, "closed", id="resolved"),
        pytest.param({"status": 6}, "pending", id="waiting on customer"),
        pytest.param({"status": 42}, None, id="the shop's own"),
        pytest.param({"deleted": True}, "closed", id="deleted"),
        pytest.param({"spam": True}, "closed", id="spam"),
    ],
)
def test_status_is_a_number(
    walk: Walk, vendor: FreshdeskSimulator, fields: dict[str, object], status: str | None
) -> None:
    """A number of the shop's own says nothing to us and changes nothing."""
    vendor.change("701", **fields)
    assert only(walk.run(FRESHDESK_API.ticket(CONFIG, "701"))).fields.status == status


@pytest.mark.parametrize("ticket", ["702", "../agents/me", "", "701/x"])
def test_ticket_that_is_not_there_is_told_so(walk: Walk, ticket: str) -> None:
    """An id that is none of Freshdesk's is not even asked for."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        walk.run(FRESHDESK_API.ticket(CONFIG, ticket))


def test_walk_misses_no_ticket_that_changes_meanwhile(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """While pages are read, tickets move to the end; none of those that moved up is passed over."""
    for number in range(702, 702 + 3 * PAGE):
        vendor.open_ticket(str(number), "Another", "Text")
    found: list[str] = []
    cursor: str | None = None
    for turn in range(20):
        page = walk.run(FRESHDESK_API.changes(CONFIG, LONG_AGO, cursor))
        found += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        cursor = page.cursor
        if cursor is None:
            break
        vendor.change(str(702 + turn), status=3)
    assert cursor is None
    assert set(found) == set(vendor.tickets)


def test_walk_gets_over_a_page_whose_tickets_changed_in_one_second(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """Where the time does not go on, the page does."""
    for number in range(702, 702 + 2 * PAGE):
        vendor.open_ticket(str(number), "Another", "Text")
        vendor.tickets[str(number)]["updated_at"] = "2026-11-20T10:00:00Z"
    cursor: str | None = None
    found: set[str] = set()
    for _ in range(10):
        page = walk.run(FRESHDESK_API.changes(CONFIG, LONG_AGO, cursor))
        found |= {event.ticket for event in page.events if isinstance(event, TicketEvent)}
        cursor = page.cursor
        if cursor is None:
            break
    assert found == set(vendor.tickets)


def test_walk_begins_at_the_time_asked_for(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """What did not change since is not read."""
    vendor.open_ticket("702", "Another", "Text")
    page = walk.run(FRESHDESK_API.changes(CONFIG, vendor.now, None))
    assert [event.ticket for event in page.events if isinstance(event, TicketEvent)] == ["702"]
    assert page.cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "2026-11-20T10:00:00/1", "9999-99-99T00:00:00+00:00/1", "1/1"])
def test_cursor_of_another_kind_is_refused(walk: Walk, cursor: str) -> None:
    """A cursor is not made into a request before it was looked at."""
    with pytest.raises(ApiError, match="CURSOR_INVALID"):
        walk.run(FRESHDESK_API.changes(CONFIG, LONG_AGO, cursor))
    assert walk.calls == []


def test_priority_is_a_number_and_written_once(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """The second time changes nothing and calls nothing that could."""
    assert walk.run(FRESHDESK_API.write(CONFIG, "701", SetPriority("urgent")))
    assert vendor.tickets["701"]["priority"] == 4
    assert not walk.run(FRESHDESK_API.write(CONFIG, "701", SetPriority("urgent")))
    assert len(walk.writes()) == 1


def test_tags_are_merged_with_those_that_are_there(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """Writing tags replaces them all, so that those of others are written with ours."""
    vendor.change("701", tags=["vip"])
    assert walk.run(FRESHDESK_API.write(CONFIG, "701", AddTags(["churn-risk", "vip"])))
    assert vendor.tickets["701"]["tags"] == ["vip", "churn-risk"]
    assert not walk.run(FRESHDESK_API.write(CONFIG, "701", AddTags(["churn-risk", "vip"])))
    assert len(walk.writes()) == 1


def test_tags_that_somebody_overwrote_are_merged_again(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """There is no guard against two writing at once: both have their tags in the end."""
    vendor.overwritten = [["theirs"]]
    assert walk.run(FRESHDESK_API.write(CONFIG, "701", AddTags(["ours"])))
    assert vendor.tickets["701"]["tags"] == ["theirs", "ours"]


def test_tags_that_somebody_keeps_overwriting_are_given_up(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """After some tries it is told, instead of a struggle without end."""
    vendor.overwritten = [["theirs"]] * 10
    with pytest.raises(ApiError, match="TAGS_NOT_KEPT"):
        walk.run(FRESHDESK_API.write(CONFIG, "701", AddTags(["ours"])))
    assert len(walk.writes()) == 3


@pytest.mark.parametrize("change", [AddNote("Give 10 %.", "[rapport 7]"), SendReply("We send a new one.", "rapport-8")])
def test_note_and_reply_stand_there_once_after_any_crash(
    vendor: FreshdeskSimulator, change: AddNote | SendReply
) -> None:
    """The process ends after the vendor has it and before it knows: the next one finds it."""
    credentials = {"api_key": vendor.api_key}
    dying = Walk(FRESHDESK_API, vendor, CONFIG, credentials, crashes=lambda call: call.method == "POST")
    with pytest.raises(CrashError):
        dying.run(FRESHDESK_API.write(CONFIG, "701", change))
    assert not Walk(FRESHDESK_API, vendor, CONFIG, credentials).run(FRESHDESK_API.write(CONFIG, "701", change))
    assert len(vendor.conversations["701"]) == 1


def test_nothing_is_written_where_it_cannot_be_known_whether_it_is_there(
    walk: Walk, vendor: FreshdeskSimulator
) -> None:
    """With more conversations than are looked through the note is refused, instead of perhaps written twice."""
    for number in range(10_001):
        vendor.receive("701", f"Message {number}")
    with pytest.raises(ApiError, match="TICKET_TOO_LONG"):
        walk.run(FRESHDESK_API.write(CONFIG, "701", AddNote("Give 10 %.", "[rapport 7]")))
    assert walk.writes() == []


def test_note_is_private_and_a_reply_is_not(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """Texts are sent as HTML that shows them as they are; the customer sees no marker."""
    walk.run(FRESHDESK_API.write(CONFIG, "701", AddNote("1 < 2\nyes", "[rapport 7]")))
    walk.run(FRESHDESK_API.write(CONFIG, "701", SendReply("Dear Anna", "rapport-8")))
    note, reply = vendor.conversations["701"]
    assert (note["private"], note["body"]) == (True, "1 &lt; 2<br>yes<br><br>[rapport 7]")
    assert reply["private"] is False
    assert "rapport-8" not in reply["body"]
    assert "".join(letter for letter in reply["body"] if letter.isprintable()) == "Dear Anna"


def test_two_replies_have_different_marks(walk: Walk, vendor: FreshdeskSimulator) -> None:
    """The same text may be sent twice when it is meant twice."""
    assert walk.run(FRESHDESK_API.write(CONFIG, "701", SendReply("Thank you", "rapport-8")))
    assert walk.run(FRESHDESK_API.write(CONFIG, "701", SendReply("Thank you", "rapport-9")))
    assert len(vendor.conversations["701"]) == 2


@pytest.mark.parametrize(
    ("header", "pace"), [("399", Pace(399, 60.0)), ("0", Pace(0, 60.0)), ("x", None), (None, None)]
)
def test_limit_is_read_from_the_header(header: str | None, pace: Pace | None) -> None:
    """The header counts what is left of the minute."""
    headers = {} if header is None else {"x-ratelimit-remaining": header}
    assert FRESHDESK_API.pace(Reply(200, headers, b"")) == pace


@pytest.mark.parametrize("answer", [b"", b"[]", b"no JSON"])
def test_answer_of_another_form_is_told(answer: bytes) -> None:
    """What is no ticket makes no event."""
    steps = FRESHDESK_API.ticket(CONFIG, "701")
    next(steps)
    with pytest.raises(ApiError, match="ANSWER_NOT_UNDERSTOOD"):
        steps.send(Reply(200, {}, answer))


def test_body_without_a_time_identifies_nothing(vendor: FreshdeskSimulator) -> None:
    """Neither the simple form nor a time in whole seconds tells two changes apart: each arrival is a delivery."""
    vague = (vendor.simple("701"), b'{"updated":"{{ticket.updated_at}}"}', vendor.webhook("701"))
    assert [FRESHDESK.parts(request(body))[0].delivery for body in vague] == [(), (), ()]
    exact = b'{"updated":"2026-11-20T10:00:00.123Z"}'
    assert FRESHDESK.parts(request(exact))[0].delivery == FRESHDESK.parts(request(exact))[0].delivery != ()
