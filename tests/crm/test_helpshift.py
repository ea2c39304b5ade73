"""Helpshift: what its webhooks name, and what its API is asked and told."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import pytest

from services.crm.events import Event, TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Reply, SendReply, SetPriority
from services.crm.providers.helpshift import HELPSHIFT
from services.crm.providers.helpshift_api import HELPSHIFT_API, PAGE
from services.crm.providers.provider import NotUnderstoodError, Request
from tests.crm.walking import CrashError, Walk, of_tickets
from tests.support.vendors.helpshift import HelpshiftSimulator

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CONFIG = {"domain": "acme"}


@pytest.fixture
def vendor() -> HelpshiftSimulator:
    """A domain with one issue."""
    made = HelpshiftSimulator()
    made.open_issue("701", "The zip is broken", "It came like that.")
    return made


@pytest.fixture
def walk(vendor: HelpshiftSimulator) -> Walk:
    """A connection that logs in."""
    return Walk(HELPSHIFT_API, vendor, CONFIG, {"api_key": vendor.api_key})


def request(body: bytes) -> Request:
    """Return a webhook."""
    return Request("POST", "https://rapport.example/webhooks/helpshift/token", (), body)


def only(events: Sequence[Event]) -> TicketEvent:
    """Return the one event of a ticket."""
    (event,) = of_tickets(events)
    return event


def test_webhook_is_known_by_its_event_with_type_issue_and_time(vendor: HelpshiftSimulator) -> None:
    """The ids of events come again with other types, issues and times, so that one alone identifies nothing."""
    body = orjson.loads(vendor.webhook("701"))
    same = [request(orjson.dumps(body)), request(orjson.dumps({**body, "app_id": "acme_app_2"}))]
    first, again = (HELPSHIFT.parts(each)[0] for each in same)
    update = HELPSHIFT.parts(request(orjson.dumps({**body, "event_type": "update_issue"})))[0]
    other = HELPSHIFT.parts(request(orjson.dumps({**body, "data": {"id": 702}})))[0]
    assert first.delivery == again.delivery
    later = HELPSHIFT.parts(request(orjson.dumps({**body, "event_timestamp": 1})))[0]
    assert len({first.delivery, update.delivery, other.delivery, later.delivery}) == 4
    assert (first.accounts, first.conversation) == (("acme", "acme"), "701")


def test_webhook_is_not_believed_but_its_issue_is_named(vendor: HelpshiftSimulator) -> None:
    """An unsigned body makes no events, only a hint at what to fetch."""
    assert HELPSHIFT.events(request(vendor.webhook("701")), LONG_AGO) == ()
    assert HELPSHIFT.hint(request(vendor.webhook("701"))) == "701"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "BODY_NOT_A_JSON_OBJECT", id="empty"),
        pytest.param(b'{"event_type":"create_user","data":{"id":1}}', "EVENT_TYPE_UNKNOWN", id="other event"),
        pytest.param(b'{"event_type":"create_issue"}', "TICKET_ID_MISSING", id="no issue"),
        pytest.param(b'{"event_type":"create_issue","data":{"id":"1/../../x"}}', "TICKET_ID_MISSING", id="path"),
    ],
)
def test_body_that_names_no_issue_says_why(body: bytes, reason: str) -> None:
    """Nothing but digits is ever made a part of an address."""
    with pytest.raises(NotUnderstoodError) as raised:
        HELPSHIFT.hint(request(body))
    assert raised.value.reason == reason


def test_account_is_the_one_that_lets_us_in(walk: Walk) -> None:
    """The domain is in the address of every call."""
    assert walk.run(HELPSHIFT_API.account(CONFIG)) == "acme"
    assert HELPSHIFT_API.origin(CONFIG) == "https://api.helpshift.com/v1/acme"


def test_issue_is_fetched_with_its_messages_and_notes(walk: Walk, vendor: HelpshiftSimulator) -> None:
    """The customer is known by the id of who wrote first; notes are internal."""
    vendor.change("701", tags=["vip"], state_data={"state": "agent_replied", "changed_at": 1})
    walk.run(HELPSHIFT_API.write(CONFIG, "701", SendReply("Dear Anna", "rapport-8")))
    walk.run(HELPSHIFT_API.write(CONFIG, "701", AddNote("Look at the receipt.", "[rapport 1]")))
    event = only(walk.run(HELPSHIFT_API.ticket(CONFIG, "701")))
    assert (event.fields.customer_id, event.fields.subject) == ("acme_profile_1", "The zip is broken")
    assert (event.fields.channel, event.fields.status, event.fields.priority) == ("chat", "pending", None)
    assert event.fields.tags == ("vip",)
    assert [(message.from_agent, message.internal) for message in event.messages] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_side_of_a_message_is_told_by_its_author_where_it_is_told_no_other_way(
    walk: Walk, vendor: HelpshiftSimulator
) -> None:
    """Older answers have neither an id nor an origin: the author's address is compared with the issue's."""
    for message in vendor.issues["701"]["messages"]:
        del message["origin"], message["id"]
    agent = {"id": "acme_profile_2", "name": "Agent", "emails": ["agent@acme.example"]}
    vendor.issues["701"]["messages"].append({"body": "Hello", "created_at": 1_800_000_000_000, "author": agent})
    first, second = only(walk.run(HELPSHIFT_API.ticket(CONFIG, "701"))).messages
    assert (first.from_agent, second.from_agent) == (False, True)
    assert (second.key, second.author_email) == ("1800000000000", "agent@acme.example")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("new", "open"),
        ("new-for-agent", "open"),
        ("agent_replied", "pending"),
        ("Resolved", "closed"),
        ("rejected", "closed"),
        ("dreaming", None),
    ],
)
def test_state_is_read_however_it_is_written(
    walk: Walk, vendor: HelpshiftSimulator, state: str, status: str | None
) -> None:
    """The vendor joins words in several ways."""
    vendor.change("701", state_data={"state": state, "changed_at": 1})
    assert only(walk.run(HELPSHIFT_API.ticket(CONFIG, "701"))).fields.status == status


@pytest.mark.parametrize("ticket", ["702", "../agents", "", "701/messages"])
def test_issue_that_is_not_there_is_told_so(walk: Walk, ticket: str) -> None:
    """An unknown issue is an empty list; an id that is none of Helpshift's is not even asked for."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        walk.run(HELPSHIFT_API.ticket(CONFIG, ticket))


def test_walk_misses_no_issue_that_changes_meanwhile(walk: Walk, vendor: HelpshiftSimulator) -> None:
    """While pages are read, issues move to the end; none of those that moved up is passed over."""
    for number in range(702, 702 + 2 * PAGE):
        vendor.open_issue(str(number), "Another", "Text")
    found: list[str] = []
    cursor: str | None = None
    for turn in range(20):
        page = walk.run(HELPSHIFT_API.changes(CONFIG, LONG_AGO, cursor))
        found += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        cursor = page.cursor
        if cursor is None:
            break
        vendor.change(str(702 + turn), tags=["x"])
    assert cursor is None
    assert set(found) == set(vendor.issues)


def test_tags_are_merged_with_those_that_are_there(walk: Walk, vendor: HelpshiftSimulator) -> None:
    """Writing tags replaces them all; what somebody else wrote meanwhile is merged again."""
    vendor.change("701", tags=["vip"])
    vendor.overwritten = [["vip", "theirs"]]
    assert walk.run(HELPSHIFT_API.write(CONFIG, "701", AddTags(["ours"])))
    assert vendor.issues["701"]["tags"] == ["vip", "theirs", "ours"]
    assert not walk.run(HELPSHIFT_API.write(CONFIG, "701", AddTags(["ours"])))


def test_tags_that_somebody_keeps_overwriting_are_given_up(walk: Walk, vendor: HelpshiftSimulator) -> None:
    """After some tries it is told, instead of a struggle without end."""
    vendor.overwritten = [["theirs"]] * 10
    with pytest.raises(ApiError, match="TAGS_NOT_KEPT"):
        walk.run(HELPSHIFT_API.write(CONFIG, "701", AddTags(["ours"])))


@pytest.mark.parametrize("change", [AddNote("Give 10 %.", "[rapport 7]"), SendReply("We send a new one.", "rapport-8")])
def test_note_and_reply_stand_there_once_after_any_crash(
    vendor: HelpshiftSimulator, change: AddNote | SendReply
) -> None:
    """The process ends after the vendor has it and before it knows: the next one finds it."""
    credentials = {"api_key": vendor.api_key}
    dying = Walk(HELPSHIFT_API, vendor, CONFIG, credentials, crashes=lambda call: call.method == "POST")
    with pytest.raises(CrashError):
        dying.run(HELPSHIFT_API.write(CONFIG, "701", change))
    assert not Walk(HELPSHIFT_API, vendor, CONFIG, credentials).run(HELPSHIFT_API.write(CONFIG, "701", change))
    issue = vendor.issues["701"]
    assert len(issue["messages"]) + len(issue["private_notes"]) == 2


def test_reply_shows_no_marker(walk: Walk, vendor: HelpshiftSimulator) -> None:
    """What a customer sees of a reply is its text alone."""
    walk.run(HELPSHIFT_API.write(CONFIG, "701", SendReply("Dear Anna", "rapport-8")))
    body = vendor.issues["701"]["messages"][-1]["body"]
    assert "".join(letter for letter in body if letter.isprintable()) == "Dear Anna"


def test_priority_is_no_thing_of_helpshifts(walk: Walk) -> None:
    """It is not among the changes, and asked for all the same it is refused before anything is written."""
    assert SetPriority not in HELPSHIFT_API.can
    with pytest.raises(ApiError, match="CHANGE_NOT_POSSIBLE"):
        walk.run(HELPSHIFT_API.write(CONFIG, "701", SetPriority("high")))
    assert walk.writes() == []


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"issues":[{"id":701}]}', b'{"issues":[7]}'])
def test_answer_of_another_form_is_told(answer: bytes) -> None:
    """What is no issue makes no event."""
    steps = HELPSHIFT_API.ticket(CONFIG, "701")
    next(steps)
    with pytest.raises(ApiError, match="ANSWER_NOT_UNDERSTOOD"):
        steps.send(Reply(200, {}, answer))
