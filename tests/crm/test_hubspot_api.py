"""What is asked of HubSpot, and what is made of its answers and events: against a simulated portal."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.crm.events import TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Reply, SendReply, SetPriority
from services.crm.providers.hubspot import HUBSPOT, decoded_url
from services.crm.providers.hubspot_api import HUBSPOT_API
from services.crm.providers.provider import MOST_PARTS, NotUnderstoodError, Request
from tests.crm.crashing import changes, through_crashes
from tests.crm.walking import Walk
from tests.support.vendors.hubspot import HubSpotSimulator, batch

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/hubspot/token"


@pytest.fixture
def vendor() -> HubSpotSimulator:
    """A portal with a ticket."""
    made = HubSpotSimulator()
    made.open_ticket("512", "The zip is broken", "It came like that.")
    return made


@pytest.fixture
def account(vendor: HubSpotSimulator) -> Walk:
    """A connection to the portal by a private app's token."""
    return Walk(HUBSPOT_API, vendor, {}, {"private_app_token": vendor.private_app_token})


def fetched(account: Walk, ticket: str = "512") -> TicketEvent:
    """Return a ticket as the API shows it."""
    (event,) = account.run(HUBSPOT_API.ticket(account.config, ticket))
    assert isinstance(event, TicketEvent)
    return event


def request(*events: Any) -> Request:
    """Return a webhook with these events."""
    return Request("POST", URL, [], batch(*events))


def test_the_account_is_the_portal_of_the_token(vendor: HubSpotSimulator, account: Walk) -> None:
    """The portal's number is what webhooks name as theirs."""
    assert account.run(HUBSPOT_API.account(account.config)) == str(vendor.portal_id)


def test_a_ticket_comes_with_its_emails_and_notes_in_their_order(vendor: HubSpotSimulator, account: Walk) -> None:
    """Fields, contact and everything that was written are there, oldest first."""
    vendor.add_email("512", "Any news?")
    account.run(HUBSPOT_API.write({}, "512", AddNote("Known fault.", "rapport:n-1")))
    vendor.add_email("512", "It comes tomorrow.", incoming=False)
    vendor.change("512", hs_ticket_priority="HIGH", hs_pipeline_stage="2")
    event = fetched(account)
    fields = event.fields
    assert (fields.subject, fields.status, fields.priority) == ("The zip is broken", "pending", "high")
    assert (fields.customer_id, fields.channel, fields.tags) == ("4501", "email", None)
    said = [(message.content, message.from_agent, message.internal) for message in event.messages]
    assert said == [
        ("It came like that.", False, False),
        ("Any news?", False, False),
        ("Known fault.\nrapport:n-1", True, True),
        ("It comes tomorrow.", True, False),
    ]


@pytest.mark.parametrize(
    ("stage", "status"), [("1", "open"), ("3", "open"), ("4", "closed"), ("77", "open"), ("88", "closed")]
)
def test_a_stage_of_the_portals_own_is_asked_for(
    vendor: HubSpotSimulator, account: Walk, stage: str, status: str
) -> None:
    """What a stage means is known of HubSpot's own four, and asked of the vendor for all others."""
    vendor.closed_stages = {"88"}
    vendor.change("512", hs_pipeline_stage=stage)
    assert fetched(account).fields.status == status
    assert any("/pipelines/" in call.path for call in account.calls) == (len(stage) > 1)


def test_an_access_token_is_got_by_the_refresh_token(vendor: HubSpotSimulator) -> None:
    """With OAuth the first token, and each later one, comes by renewal; the old one is worth nothing then."""
    secrets = {"client_secret": vendor.client_secret, "refresh_token": vendor.refresh_token}
    account = Walk(HUBSPOT_API, vendor, {"client_id": vendor.client_id}, dict(secrets))
    with pytest.raises(ApiError, match="CREDENTIALS_MISSING"):
        HUBSPOT_API.authorization(account.config, account.credentials)
    assert account.run(HUBSPOT_API.account({})) == str(vendor.portal_id)
    vendor.access_tokens.append("another")
    with pytest.raises(ApiError, match="401"):
        account.run(HUBSPOT_API.account({}))
    account.renew()
    assert account.run(HUBSPOT_API.account({})) == str(vendor.portal_id)


def test_a_private_apps_token_is_not_renewed() -> None:
    """It does not expire, and an incomplete OAuth login cannot be renewed either."""
    assert HUBSPOT_API.renew({"client_id": "c"}, {"private_app_token": "t", "client_secret": "s"}) is None
    assert HUBSPOT_API.renew({}, {"client_secret": "s", "refresh_token": "r"}) is None


def test_a_missing_ticket_is_said_to_be_missing(account: Walk) -> None:
    """Neither an id that is gone nor one that cannot be HubSpot's is anything else."""
    for ticket in ("999", "search", "../512", "", "5 1"):
        with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
            fetched(account, ticket)


def test_a_ticket_that_moves_between_pages_hides_no_other(vendor: HubSpotSimulator, account: Walk) -> None:
    """While a walk is under way the first ticket changes and moves to the end: still all of them are seen."""
    vendor.page_size = 2
    for number in range(600, 606):
        vendor.open_ticket(str(number), "Late", "Where is it?")
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = account.run(HUBSPOT_API.changes({}, LONG_AGO, cursor))
        seen += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        if cursor is None:
            vendor.change("512", subject="The zip is still broken")
        cursor = page.cursor
    assert set(seen) == {"512", *map(str, range(600, 606))}
    assert seen[-1] == "512"


def test_many_tickets_of_one_moment_are_all_seen(vendor: HubSpotSimulator, account: Walk) -> None:
    """A change of hundreds at once has one time; the walk counts on within it and ends."""
    vendor.page_size = 2
    for number in range(600, 605):
        vendor.open_ticket(str(number), "Late", "Where is it?", hs_lastmodifieddate="2026-11-21T00:00:00.000Z")
    seen: list[str] = []
    cursor = None
    for _ in range(20):
        page = account.run(HUBSPOT_API.changes({}, LONG_AGO, cursor))
        seen += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        cursor = page.cursor
        if cursor is None:
            break
    assert cursor is None
    assert set(seen) == {"512", *map(str, range(600, 605))}


@pytest.mark.parametrize("text", ["Offer a refund & <smile>. rapport:n-1", "Offer a refund."])
def test_a_note_is_written_once_even_if_its_answer_is_lost(vendor: HubSpotSimulator, account: Walk, text: str) -> None:
    """After a crash between the vendor's act and our knowing of it, the note is found by its marker."""
    note = AddNote(text, "rapport:n-1")
    assert through_crashes(account, lambda: HUBSPOT_API.write({}, "512", note)) == 1
    assert account.run(HUBSPOT_API.write({}, "512", note)) is False
    (written,) = vendor.objects["notes"].values()
    assert "<smile>" not in written["hs_note_body"]
    assert "rapport:n-1" in written["hs_note_body"]
    assert datetime.fromisoformat(written["hs_timestamp"]) <= vendor.now


def test_a_note_is_found_behind_many_others(vendor: HubSpotSimulator, account: Walk) -> None:
    """A ticket shows only the first of its notes and e-mails; all of them are read, and none is written twice."""
    for number in range(1200):
        vendor.add_note("512", f"Note {number}")
    for number in range(150):
        vendor.add_email("512", f"Mail {number}")
    note = AddNote("Offer a refund.", "rapport:n-1")
    assert account.run(HUBSPOT_API.write({}, "512", note)) is True
    assert account.run(HUBSPOT_API.write({}, "512", note)) is False
    assert len(vendor.objects["notes"]) == 1201
    events = account.run(HUBSPOT_API.ticket(account.config, "512"))
    assert sum(len(event.messages) for event in events if isinstance(event, TicketEvent)) == 1 + 1201 + 150


def test_nothing_is_written_where_it_cannot_be_known_whether_it_is_there(
    vendor: HubSpotSimulator, account: Walk
) -> None:
    """With more notes than are looked through the note is refused, instead of perhaps written twice."""
    for number in range(10_001):
        vendor.add_note("512", f"Note {number}")
    with pytest.raises(ApiError, match="TICKET_TOO_LONG"):
        account.run(HUBSPOT_API.write({}, "512", AddNote("Offer a refund.", "rapport:n-1")))
    assert len(vendor.objects["notes"]) == 10_001


def test_priority_is_written_where_it_differs(vendor: HubSpotSimulator, account: Walk) -> None:
    """The vendor's words are used, and nothing is sent for what is so already."""
    assert account.run(HUBSPOT_API.write({}, "512", SetPriority("normal"))) is True
    assert vendor.tickets["512"]["hs_ticket_priority"] == "MEDIUM"
    assert account.run(HUBSPOT_API.write({}, "512", SetPriority("normal"))) is False
    assert [call.method for call in [call for call in account.calls if changes(call)]] == ["PATCH"]


def test_there_are_no_tags_and_no_replies(account: Walk) -> None:
    """What HubSpot does not have is neither promised nor tried."""
    assert HUBSPOT_API.can == {SetPriority, AddNote}
    for change in (AddTags(["vip"]), SendReply("Hello", "rapport:r-1")):
        with pytest.raises(ApiError, match="CHANGE_NOT_SUPPORTED"):
            account.run(HUBSPOT_API.write({}, "512", change))
    assert [call for call in account.calls if changes(call)] == []


def test_a_batch_is_a_delivery_for_each_event_in_its_own_portal(vendor: HubSpotSimulator) -> None:
    """One request may hold events of several shops: each part has only its own event and its own account."""
    one, other = vendor.event("512"), vendor.event("77", event_id=2, portalId=4242)
    parts = HUBSPOT.parts(request(one, other))
    assert [part.accounts for part in parts] == [("62515",), ("4242",)]
    assert [part.conversation for part in parts] == ["512", "77"]
    for part, event in zip(parts, (one, other), strict=True):
        assert part.body == batch(event)


@pytest.mark.parametrize("named", [True, False])
def test_an_event_is_told_apart_by_more_than_its_id(vendor: HubSpotSimulator, *, named: bool) -> None:
    """The same event again is the same delivery; with any of its fields different it is another one.

    Without an `eventId` all fields count, other than that of the attempt.
    """
    event = vendor.event("512", "propertyChange", propertyName="subject", propertyValue="a")
    differing: list[dict[str, Any]] = [
        {"subscriptionId": 9},
        {"subscriptionType": "ticket.deletion"},
        {"objectId": 9},
        {"occurredAt": 9},
        {"propertyName": "content"},
        {"fromObjectId": 9},
        {"toObjectId": 9},
        {"eventId": 9} if named else {"propertyValue": "b"},
    ]
    if not named:
        del event["eventId"]
    names = [HUBSPOT.parts(request(event | change))[0].delivery for change in (*differing, {}, {"attemptNumber": 3})]
    assert len(set(names)) == len(differing) + 1
    assert names[-1] == names[-2]


def test_two_associations_at_the_same_time_are_two_deliveries(vendor: HubSpotSimulator) -> None:
    """They name the objects that they join, and none that they are about."""
    joined = {"fromObjectId": 512, "toObjectId": 1}
    event = vendor.event("512", "associationChange") | joined
    del event["objectId"]
    parts = HUBSPOT.parts(request(event, event | {"toObjectId": 2}))
    assert parts[0].delivery != parts[1].delivery
    assert [part.conversation for part in parts] == ["512", "512"]


def test_an_event_too_deep_to_be_told_apart_is_for_people() -> None:
    """It is kept as it came, and said to be not understood."""
    deep = b'[{"subscriptionType":"ticket.creation","objectId":1,"a":' + b"[" * 600 + b"]" * 600 + b"}]"
    sent = Request("POST", URL, (), deep)
    (part,) = HUBSPOT.parts(sent)
    assert part.body is None
    with pytest.raises(NotUnderstoodError, match="EVENT_TOO_DEEP"):
        HUBSPOT.events(sent, LONG_AGO)


def test_more_events_than_may_be_are_one_delivery_of_all_their_portals(vendor: HubSpotSimulator) -> None:
    """A list that is longer than HubSpot's longest is kept whole, and belongs to nobody if its portals differ."""
    events = [vendor.event("512", event_id=number, portalId=number % 2) for number in range(MOST_PARTS + 1)]
    (part,) = HUBSPOT.parts(request(*events))
    assert (part.accounts, part.body) == (("0", "1"), None)


def test_an_event_nested_deeper_than_can_be_written_is_kept_as_it_came(vendor: HubSpotSimulator) -> None:
    """A list that our writer of JSON cannot write again makes no failure."""
    nested = b"[" * 500 + b"]" * 500
    body = batch(vendor.event("512"))[:-2] + b',"x":' + nested + b"}]"
    (part,) = HUBSPOT.parts(Request("POST", URL, [], body))
    assert (part.accounts, part.body) == (("62515",), None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"propertyName": "subject", "propertyValue": "New"}, {"subject": "New"}),
        ({"propertyName": "hs_ticket_priority", "propertyValue": "URGENT"}, {"priority": "urgent"}),
        ({"propertyName": "hs_pipeline_stage", "propertyValue": "4"}, {"status": "closed"}),
        ({"propertyName": "hs_pipeline_stage", "propertyValue": "99"}, {}),
        ({"subscriptionType": "ticket.deletion"}, {"status": "closed"}),
        ({"subscriptionType": "object.propertyChange", "objectTypeId": "0-5", "propertyName": "subject"}, {}),
    ],
)
def test_an_event_alone_tells_one_property(
    vendor: HubSpotSimulator, change: dict[str, Any], expected: dict[str, str]
) -> None:
    """Where nothing can be fetched the event still says what it says, and no more."""
    (event,) = HUBSPOT.events(request(vendor.event("512", "propertyChange", **change)), NOW)
    assert isinstance(event, TicketEvent)
    told = {name: getattr(event.fields, name) for name in ("subject", "priority", "status", "customer_id", "tags")}
    assert {name: value for name, value in told.items() if value is not None} == expected


def test_tickets_are_fetched_and_other_things_are_not(vendor: HubSpotSimulator) -> None:
    """An event about a ticket names it for fetching, unless it is gone; a contact's or a portal's means nothing."""
    assert HUBSPOT.hint(request(vendor.event("512"))) == "512"
    assert HUBSPOT.hint(request(vendor.event("512", "deletion"))) is None
    contact = vendor.event("512", subscriptionType="contact.creation")
    assert HUBSPOT.hint(request(contact)) is None
    assert list(HUBSPOT.events(request(contact), NOW)) == []


def test_what_is_no_list_of_events_is_not_understood(vendor: HubSpotSimulator) -> None:
    """Another form of body, a ticket without a number or an event without a time is kept for people to see."""
    for body, reason in (
        (b"{}", "BODY_NOT_A_LIST_OF_EVENTS"),
        (b"[1]", "BODY_NOT_A_LIST_OF_EVENTS"),
        (batch(vendor.event("512", objectId="x")), "TICKET_ID_MISSING"),
        (batch(vendor.event("512", occurredAt=None)), "TIME_MISSING"),
    ):
        with pytest.raises(NotUnderstoodError, match=reason):
            HUBSPOT.events(Request("POST", URL, [], body), NOW)


def test_only_the_listed_escapes_of_an_address_are_decoded() -> None:
    """Version 3 signs the address with some escapes decoded; all others, and the one before the query, stay."""
    assert decoded_url("https://a.example/x%3Fy%2fz%20?q=%40%26") == "https://a.example/x?y/z%20?q=@%26"


def test_the_pace_is_that_of_ten_seconds() -> None:
    """What is left and in which time; nothing where the vendor does not say."""
    headers = {"x-hubspot-ratelimit-remaining": "7", "x-hubspot-ratelimit-interval-milliseconds": "11000"}
    paces = [HUBSPOT_API.pace(Reply(200, made, b"")) for made in (headers, {})]
    assert [(pace.remaining, pace.reset_seconds) if pace else None for pace in paces] == [(7, 11.0), None]
