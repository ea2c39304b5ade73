"""What Zendesk's payloads mean in our words, and how requests name themselves."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from servicekit.ids import uuid7
from services.crm.events import TicketEvent, event_id
from services.crm.ingest import event_message
from services.crm.providers.provider import NotUnderstoodError, Part, Request, account_matches
from services.crm.providers.zendesk import ZENDESK
from tests.crm.zendesk_requests import URL, event, request

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def events_of(body: bytes) -> Sequence[TicketEvent]:
    """Return the events of a signed request with this body."""
    return ZENDESK.events(request(body, NOW), NOW)


def only_event(body: bytes) -> TicketEvent:
    """Return the one event of a body."""
    (found,) = events_of(body)
    return found


def test_new_ticket_brings_its_fields_and_its_description() -> None:
    """The requester is the customer, and the description is the customer's first message."""
    found = only_event(event("created"))
    assert (found.ticket, found.occurred) == ("35436", datetime(2026, 11, 20, 10, 0, tzinfo=UTC))
    fields = found.fields
    assert (fields.customer_id, fields.subject) == ("8447388090494", "Where is my parcel?")
    assert (fields.channel, fields.status, fields.priority) == ("email", "open", "high")
    assert fields.tags == ("parcel", "late")
    (message,) = found.messages
    assert (message.content, message.from_agent, message.internal) == (
        "It should have been here on Monday.",
        False,
        False,
    )


def test_ticket_that_an_agent_opened_for_a_customer_has_the_agents_message() -> None:
    """Where submitter and requester differ, the description was written by the shop."""
    (message,) = only_event(event("created", detail={"submitter_id": 1, "requester_id": 2})).messages
    assert message.from_agent


@pytest.mark.parametrize(
    ("is_staff", "is_public", "from_agent", "internal"),
    [
        pytest.param(False, True, False, False, id="customer"),
        pytest.param(True, True, True, False, id="agent"),
        pytest.param(True, False, True, True, id="internal note"),
    ],
)
def test_comment_becomes_a_message(*, is_staff: bool, is_public: bool, from_agent: bool, internal: bool) -> None:
    """A comment says by itself who wrote it and whether the customer sees it."""
    author = {"id": "9", "is_staff": is_staff, "name": "Kim"}
    comment = {"id": 4711, "body": "Any news?", "is_public": is_public, "author": author}
    (message,) = only_event(event("comment_added", happened={"comment": comment})).messages
    assert (message.key, message.content, message.author_name) == ("4711", "Any news?", "Kim")
    assert (message.from_agent, message.internal) == (from_agent, internal)


@pytest.mark.parametrize(
    ("change", "happened", "field", "value"),
    [
        pytest.param("status_changed", {"current": "SOLVED", "previous": "OPEN"}, "status", "closed", id="solved"),
        pytest.param("status_changed", {"current": "HOLD", "previous": "OPEN"}, "status", "pending", id="on hold"),
        pytest.param("priority_changed", {"current": "URGENT", "previous": None}, "priority", "urgent", id="urgent"),
        pytest.param("subject_changed", {"current": "New subject"}, "subject", "New subject", id="subject"),
        pytest.param(
            "tags_changed", {"tags_added": ["vip"], "tags_removed": ["late"]}, "tags", ("parcel", "vip"), id="tags"
        ),
        pytest.param("agent_assignment_changed", {"current": "5"}, "status", "open", id="assignment"),
        pytest.param("soft_deleted", {}, "status", "closed", id="deleted"),
        pytest.param("permanently_deleted", {}, "status", "closed", id="deleted for good"),
        pytest.param("merged", {}, "status", "closed", id="merged"),
        pytest.param("marked_as_spam", {}, "status", "closed", id="spam"),
        pytest.param("undeleted", {}, "status", "open", id="undeleted"),
    ],
)
def test_change_is_told_by_the_event_itself(change: str, happened: dict[str, Any], field: str, value: object) -> None:
    """The field that an event is about is taken from the event; it brings no message."""
    found = only_event(event(change, happened=happened))
    assert getattr(found.fields, field) == value
    assert found.messages == ()


@pytest.mark.parametrize(
    "kind", ["zen:event-type:user.created", "zen:event-type:organization.created", "zen:event-type:ticket.shared"]
)
def test_events_that_mean_nothing_to_us_make_no_work(kind: str) -> None:
    """Known kinds of events without meaning for tickets are done at once."""
    assert events_of(orjson.dumps({"type": kind, "id": "1", "detail": {"id": "1"}})) == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "BODY_NOT_A_JSON_OBJECT", id="empty"),
        pytest.param(b"<xml/>", "BODY_NOT_A_JSON_OBJECT", id="not JSON"),
        pytest.param(b"\xff\xfe", "BODY_NOT_A_JSON_OBJECT", id="not UTF-8"),
        pytest.param(b"[1,2]", "BODY_NOT_A_JSON_OBJECT", id="array"),
        pytest.param(b'{"ticket":"{{ticket.id}}"}', "EVENT_TYPE_MISSING", id="trigger without type"),
        pytest.param(b'{"type":7}', "EVENT_TYPE_UNKNOWN", id="type is a number"),
        pytest.param(b'{"type":"End User Comment","ticketID":"12345"}', "EVENT_TYPE_UNKNOWN", id="trigger with a type"),
        pytest.param(b'{"type":"zen:event-type:ticket.created","id":"1"}', "TICKET_ID_MISSING", id="no ticket"),
    ],
)
def test_what_is_not_understood_says_why(body: bytes, reason: str) -> None:
    """A body that is not the vendor's gives a reason and no events; it is the worker that quarantines it."""
    with pytest.raises(NotUnderstoodError) as raised:
        events_of(body)
    assert raised.value.reason == reason


def test_wrong_types_everywhere_are_taken_as_unknown() -> None:
    """A field of another type than documented is unknown; the event still stands."""
    detail = {"subject": 5, "status": [], "priority": {}, "tags": "x", "via": "mail", "requester_id": None}
    found = only_event(event("created", detail={**detail, "description": None, "created_at": "yesterday"}))
    assert found.fields.status is None
    assert found.fields.tags is None
    assert found.fields.customer_id is None
    assert found.messages == ()


def test_sizes_stay_within_the_contract_with_tickets() -> None:
    """Long subjects are cut, and NUL, which a database cannot hold, is replaced."""
    found = only_event(event("created", detail={"subject": "s\x00" * 400, "requester_id": "r" * 300}))
    assert found.fields.subject is not None
    assert len(found.fields.subject) == 500
    assert "\x00" not in found.fields.subject
    message = event_message(found, 0, connection_id=uuid7(), provider="zendesk")
    assert len(message.fields.customer_id) == 255


def test_delivery_of_a_subscription_is_known_by_the_bodys_id() -> None:
    """Two invocations of the same event are copies of each other."""
    first, second = (
        ZENDESK.parts(request(event(event_id="evt-7"), NOW, invocation=invocation))[0] for invocation in ("a", "b")
    )
    assert first.delivery == second.delivery == ("event", "evt-7")
    assert first.conversation == "35436"
    assert first.accounts == ("777", "777")


def test_delivery_of_a_trigger_is_known_by_its_invocation() -> None:
    """A template's own `id` is the shop's invention and says nothing."""
    (identity,) = ZENDESK.parts(request(b'{"id":"42","account_id":777}', NOW, invocation="inv-1"))
    assert identity == Part(("777", "777"), ("invocation", "inv-1"), None)


def test_delivery_without_any_id_is_known_by_its_signature() -> None:
    """The last resort is what was signed."""
    made = request(b"{}", NOW)
    bare = Request("POST", URL, [pair for pair in made.headers if "invocation" not in pair[0]], made.body)
    assert ZENDESK.parts(bare)[0].delivery[0] == "signature"


@pytest.mark.parametrize(
    ("expected", "accounts", "matches"),
    [
        pytest.param(None, ("1", "2"), True, id="not known yet"),
        pytest.param("1", ("1", "1"), True, id="the connection's"),
        pytest.param("1", (), True, id="none named"),
        pytest.param("1", ("2",), False, id="another"),
        pytest.param("1", ("1", "2"), False, id="header and body differ"),
    ],
)
def test_account_is_compared_where_it_is_known(
    expected: str | None, accounts: tuple[str, ...], *, matches: bool
) -> None:
    """Every account that a request names must be the connection's."""
    assert account_matches(expected, Part(accounts, ("event", "1"), None)) is matches


def test_event_id_is_the_same_on_every_redelivery_and_fits() -> None:
    """The id depends on connection, key and place only, and a long or odd key is hashed."""
    connection = uuid7()
    assert event_id(connection, "event/1", 0) == event_id(connection, "event/1", 0)
    assert event_id(connection, "event/1", 0) != event_id(connection, "event/1", 1)
    assert event_id(connection, "event/1", 0) != event_id(uuid7(), "event/1", 0)
    assert len(event_id(connection, "k" * 5000, 99)) <= 255
    assert event_id(connection, "naïve\n", 0).isascii()
