"""Gorgias: what its webhooks name, and what its API is asked and told."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from services.crm.events import Event, Priority, TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Pace, Reply, SendReply, SetPriority
from services.crm.providers.gorgias import GORGIAS
from services.crm.providers.gorgias_api import GORGIAS_API, PAGE
from services.crm.providers.provider import NotUnderstoodError, Request
from tests.crm.walking import CrashError, Walk, of_tickets
from tests.support.vendors.gorgias import GorgiasSimulator

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CONFIG = {"domain": "acme", "email": "agent@acme.example"}
OAUTH = {"domain": "acme", "client_id": "gorgias-client"}


@pytest.fixture
def vendor() -> GorgiasSimulator:
    """An account with one ticket."""
    made = GorgiasSimulator()
    made.open_ticket("701", "The zip is broken", "It came like that.")
    return made


@pytest.fixture
def walk(vendor: GorgiasSimulator) -> Walk:
    """A connection that logs in by an API key."""
    return Walk(GORGIAS_API, vendor, CONFIG, {"api_key": vendor.api_key})


def request(body: bytes) -> Request:
    """Return a webhook."""
    return Request("POST", "https://rapport.example/webhooks/gorgias/token", (), body)


def only(events: Sequence[Event]) -> TicketEvent:
    """Return the one event of a ticket."""
    (event,) = of_tickets(events)
    return event


def test_webhook_names_its_account_and_ticket_and_is_known_by_its_bytes(vendor: GorgiasSimulator) -> None:
    """The same body is the same delivery; one of a later state is another."""
    first, again = (GORGIAS.parts(request(vendor.webhook("701")))[0] for _ in range(2))
    assert (first.accounts, first.conversation) == (("acme",), "701")
    assert first == again
    vendor.change("701", status="closed")
    assert GORGIAS.parts(request(vendor.webhook("701")))[0].delivery != first.delivery


@pytest.mark.parametrize(
    ("updated", "identifies"),
    [
        ("2026-11-20T10:00:00.123456+00:00", True),
        ("2026-11-20T10:00:00.001Z", True),
        ("2026-11-20T10:00:00+00:00", False),
        ("2026-11-20T10:00:00.000000+00:00", False),
        ("2026-11-20T10:00:00.5Z", False),
        ("2026-11-20", False),
        ("{{ticket.updated_datetime}}", False),
        (None, False),
    ],
)
def test_a_time_identifies_only_with_its_fraction(updated: str | None, *, identifies: bool) -> None:
    """Two changes within a second have the same bytes otherwise, and the second one would be lost as a copy."""
    (part,) = GORGIAS.parts(request(orjson.dumps({"ticket_id": "701", "updated": updated})))
    assert bool(part.delivery) is identifies


def test_webhook_is_not_believed_but_its_ticket_is_named(vendor: GorgiasSimulator) -> None:
    """An unsigned body makes no events, only a hint at what to fetch."""
    assert GORGIAS.events(request(vendor.webhook("701")), LONG_AGO) == ()
    assert GORGIAS.hint(request(vendor.webhook("701"))) == "701"
    assert GORGIAS.hint(request(orjson.dumps({"ticket": vendor.tickets["701"]}))) == "701"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "BODY_NOT_A_JSON_OBJECT", id="empty"),
        pytest.param(b'["701"]', "BODY_NOT_A_JSON_OBJECT", id="array"),
        pytest.param(b"{}", "TICKET_ID_MISSING", id="no ticket"),
        pytest.param(b'{"ticket_id":"{{ticket.id}}"}', "TICKET_ID_MISSING", id="template as it is"),
        pytest.param(b'{"ticket_id":"../account"}', "TICKET_ID_MISSING", id="path"),
        pytest.param(b'{"ticket_id":true}', "TICKET_ID_MISSING", id="no number"),
    ],
)
def test_body_that_names_no_ticket_says_why(body: bytes, reason: str) -> None:
    """Nothing but digits is ever made a part of an address."""
    with pytest.raises(NotUnderstoodError) as raised:
        GORGIAS.hint(request(body))
    assert raised.value.reason == reason


def test_account_is_asked_for(walk: Walk) -> None:
    """The credentials' own account is its domain."""
    assert walk.run(GORGIAS_API.account(CONFIG)) == "acme"


def test_ticket_is_fetched_with_its_messages(walk: Walk, vendor: GorgiasSimulator) -> None:
    """A snapshot has the ticket's fields and every message, notes told apart."""
    vendor.change("701", priority="critical", tags=[{"id": 1, "name": "vip"}], channel="contact_form")
    walk.run(GORGIAS_API.write(CONFIG, "701", AddNote("Look at the receipt.", "[rapport 1]")))
    event = only(walk.run(GORGIAS_API.ticket(CONFIG, "701")))
    assert event.ticket == "701"
    assert (event.fields.customer_id, event.fields.subject) == ("9001", "The zip is broken")
    assert (event.fields.channel, event.fields.status, event.fields.priority) == ("form", "open", "urgent")
    assert event.fields.tags == ("vip",)
    customer, note = event.messages
    assert (customer.content, customer.from_agent, customer.internal) == ("It came like that.", False, False)
    assert (note.from_agent, note.internal) == (True, True)
    assert event.occurred == note.created


def test_same_state_read_twice_is_the_same_event_and_a_later_one_another(walk: Walk, vendor: GorgiasSimulator) -> None:
    """The key is made of the ticket and its last change."""
    first, again = (only(walk.run(GORGIAS_API.ticket(CONFIG, "701"))).key for _ in range(2))
    vendor.change("701", status="closed")
    later = only(walk.run(GORGIAS_API.ticket(CONFIG, "701")))
    assert first == again != later.key
    assert later.fields.status == "closed"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"status": "closed"}, "closed", id="closed"),
        pytest.param({"status": "closed", "snooze_datetime": "2026-12-01T00:00:00"}, "pending", id="snoozed"),
        pytest.param({"spam": True}, "closed", id="spam"),
        pytest.param({"trashed_datetime": "2026-11-21T00:00:00"}, "closed", id="in the bin"),
    ],
)
def test_status_is_told_by_several_fields(
    walk: Walk, vendor: GorgiasSimulator, fields: dict[str, Any], status: str
) -> None:
    """A snoozed ticket waits; one in the bin is over."""
    vendor.change("701", **fields)
    assert only(walk.run(GORGIAS_API.ticket(CONFIG, "701"))).fields.status == status


@pytest.mark.parametrize("ticket", ["702", "../account", "", "701/messages", "\u0667\u0660\u0661"])
def test_ticket_that_is_not_there_is_told_so(walk: Walk, ticket: str) -> None:
    """An id that is none of Gorgias' is not even asked for."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        walk.run(GORGIAS_API.ticket(CONFIG, ticket))


def test_long_ticket_becomes_several_events_with_all_messages(walk: Walk, vendor: GorgiasSimulator) -> None:
    """No event has more messages than the contract allows, and their keys differ."""
    for number in range(250):
        vendor.receive("701", f"message {number}")
    events = walk.run(GORGIAS_API.ticket(CONFIG, "701"))
    found = [event for event in events if isinstance(event, TicketEvent)]
    assert [len(event.messages) for event in found] == [100, 100, 51]
    assert len({event.key for event in found}) == 3


def test_changes_are_walked_through_until_they_are_old(walk: Walk, vendor: GorgiasSimulator) -> None:
    """Pages go back in time; each ticket since then is read once, and none before it."""
    for number in range(702, 702 + 2 * PAGE):
        vendor.open_ticket(str(number), "Another", "Text")
    since = vendor.now - timedelta(seconds=2 * (PAGE + 5) - 1)
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page = walk.run(GORGIAS_API.changes(CONFIG, since, cursor))
        found += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        cursor, pages = page.cursor, pages + 1
    assert pages == 2
    assert sorted(found) == [str(number) for number in range(702 + PAGE - 5, 702 + 2 * PAGE)]


def test_whole_history_is_walked_through_with_resumable_cursors(walk: Walk, vendor: GorgiasSimulator) -> None:
    """A walk that goes on with the cursor alone, in another process, sees every ticket."""
    for number in range(702, 702 + 2 * PAGE):
        vendor.open_ticket(str(number), "Another", "Text")
    found: set[str] = set()
    cursor: str | None = None
    for _ in range(10):
        page = Walk(GORGIAS_API, vendor, CONFIG, dict(walk.credentials)).run(
            GORGIAS_API.changes(CONFIG, LONG_AGO, cursor)
        )
        found |= {event.ticket for event in page.events if isinstance(event, TicketEvent)}
        cursor = page.cursor
        if cursor is None:
            break
    assert found == set(vendor.tickets)


@pytest.mark.parametrize("urgent", ["critical", "urgent"])
def test_priority_is_written_in_the_accounts_words(vendor: GorgiasSimulator, urgent: str, walk: Walk) -> None:
    """Sources disagree on the highest one's word: what is refused is tried in the other word, and read back."""
    vendor.urgent = urgent
    assert walk.run(GORGIAS_API.write(CONFIG, "701", SetPriority("urgent")))
    assert vendor.tickets["701"]["priority"] == urgent
    assert not walk.run(GORGIAS_API.write(CONFIG, "701", SetPriority("urgent")))


@pytest.mark.parametrize("priority", ["high", "low"])
def test_priority_that_is_there_is_not_written_again(walk: Walk, vendor: GorgiasSimulator, priority: Priority) -> None:
    """The second time changes nothing and calls nothing that could."""
    assert walk.run(GORGIAS_API.write(CONFIG, "701", SetPriority(priority)))
    written = len(walk.writes())
    assert not walk.run(GORGIAS_API.write(CONFIG, "701", SetPriority(priority)))
    assert (len(walk.writes()), vendor.tickets["701"]["priority"]) == (written, priority)


def test_tags_are_added_to_those_that_are_there(walk: Walk, vendor: GorgiasSimulator) -> None:
    """Only what is missing is sent."""
    vendor.change("701", tags=[{"id": 1, "name": "vip"}])
    assert walk.run(GORGIAS_API.write(CONFIG, "701", AddTags(["vip", "churn-risk"])))
    assert [tag["name"] for tag in vendor.tickets["701"]["tags"]] == ["vip", "churn-risk"]
    assert not walk.run(GORGIAS_API.write(CONFIG, "701", AddTags(["vip", "churn-risk"])))


@pytest.mark.parametrize("change", [AddNote("Give 10 %.", "[rapport 7]"), SendReply("We send a new one.", "rapport-8")])
def test_note_and_reply_stand_there_once_after_any_crash(vendor: GorgiasSimulator, change: AddNote | SendReply) -> None:
    """The process ends after the vendor has it and before it knows: the next one finds it."""
    credentials = {"api_key": vendor.api_key}
    dying = Walk(GORGIAS_API, vendor, CONFIG, credentials, crashes=lambda call: call.method == "POST")
    with pytest.raises(CrashError):
        dying.run(GORGIAS_API.write(CONFIG, "701", change))
    next_one = Walk(GORGIAS_API, vendor, CONFIG, credentials)
    assert not next_one.run(GORGIAS_API.write(CONFIG, "701", change))
    assert len(vendor.tickets["701"]["messages"]) == 2


def test_reply_goes_to_the_customer_from_the_address_that_was_written_to(walk: Walk, vendor: GorgiasSimulator) -> None:
    """The marker is in no text that the customer reads."""
    assert walk.run(GORGIAS_API.write(CONFIG, "701", SendReply("We send <b>one</b>.", "rapport-8")))
    said = vendor.tickets["701"]["messages"][-1]
    assert (said["channel"], said["receiver"]) == ("email", {"email": "anna@example"})
    assert said["source"]["from"] == {"address": "help@acme.example"}
    assert said["body_html"] == "We send &lt;b&gt;one&lt;/b&gt;."
    assert "rapport-8" not in said["body_text"] + said["body_html"]


def test_reply_where_nobody_wrote_an_email_is_not_possible(walk: Walk, vendor: GorgiasSimulator) -> None:
    """A chat cannot be answered by e-mail; nothing is sent."""
    vendor.tickets["701"]["messages"][0]["channel"] = "chat"
    with pytest.raises(ApiError, match="REPLY_NOT_POSSIBLE"):
        walk.run(GORGIAS_API.write(CONFIG, "701", SendReply("Hello", "rapport-8")))
    assert walk.writes() == []


def test_access_token_is_got_by_the_refresh_token(vendor: GorgiasSimulator) -> None:
    """An app's credentials renew themselves; an API key does not need to."""
    secrets = {"client_secret": vendor.client_secret, "refresh_token": vendor.refresh_token}
    walk = Walk(GORGIAS_API, vendor, OAUTH, secrets)
    assert walk.run(GORGIAS_API.account(OAUTH)) == "acme"
    assert walk.credentials["access_token"] == vendor.access_tokens[-1]
    assert GORGIAS_API.renew(CONFIG, {"api_key": "key"}) is None


def test_refresh_token_that_has_ended_is_told(vendor: GorgiasSimulator) -> None:
    """The reason names what is wrong, and nothing of the token."""
    secrets = {"client_secret": vendor.client_secret, "refresh_token": "ended-token"}
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED") as raised:
        Walk(GORGIAS_API, vendor, OAUTH, secrets).renew()
    assert "ended-token" not in str(raised.value)


def test_credentials_that_are_not_complete_log_nobody_in() -> None:
    """Without a complete shape there is nothing to send."""
    with pytest.raises(ApiError, match="CREDENTIALS_MISSING"):
        GORGIAS_API.authorization({"domain": "acme"}, {"api_key": "key"})
    with pytest.raises(ApiError, match="SETTING_MISSING"):
        GORGIAS_API.origin({})


@pytest.mark.parametrize(
    ("header", "pace"),
    [
        pytest.param("10/80", Pace(70, 20.0), id="some used"),
        pytest.param("80/80", Pace(0, 20.0), id="all used"),
        pytest.param("many", None, id="no numbers"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_limit_is_read_from_the_bucket(header: str | None, pace: Pace | None) -> None:
    """The header counts what is used of what fits."""
    headers = {} if header is None else {"x-gorgias-account-api-call-limit": header}
    assert GORGIAS_API.pace(Reply(200, headers, b"")) == pace


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"id":701}', b'{"updated_datetime":"2026-11-20T10:00:00"}'])
def test_answer_of_another_form_is_told(answer: bytes) -> None:
    """What is no ticket makes no event."""
    steps = GORGIAS_API.ticket(CONFIG, "701")
    next(steps)
    with pytest.raises(ApiError, match="ANSWER_NOT_UNDERSTOOD"):
        steps.send(Reply(200, {}, answer))
