"""What is asked of Zendesk, and what is made of its answers: against a simulated account."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from services.crm.events import TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Call, Change, Reply, SendReply, SetPriority
from services.crm.providers.provider import Request
from services.crm.providers.zendesk import ZENDESK
from services.crm.providers.zendesk_api import PAGE, ZENDESK_API
from tests.crm.crashing import through_crashes
from tests.crm.walking import Walk, of_tickets
from tests.support.vendors.zendesk import ZendeskSimulator

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOTE = AddNote("Offer a refund: the parcel is two weeks late.", "rapport-note-1")


@pytest.fixture
def vendor() -> ZendeskSimulator:
    """An account with a ticket that an agent has answered."""
    made = ZendeskSimulator()
    made.open_ticket("35436", "Where is my parcel?", "It should be here.", tags=["parcel"], priority="high")
    made.users[2] = {"id": 2, "name": "Ben", "email": "ben@shop.example", "role": "agent"}
    made.add_comment("35436", "We look into it.", 2)
    made.add_comment("35436", "Carrier called.", 2, public=False)
    return made


@pytest.fixture
def account(vendor: ZendeskSimulator) -> Walk:
    """A connection to the account."""
    config = {"subdomain": "acme", "email": vendor.email}
    return Walk(ZENDESK_API, vendor, config, {"api_token": vendor.api_token})


def fetched(account: Walk) -> TicketEvent:
    """Return the ticket as the API shows it."""
    (event,) = of_tickets(account.run(ZENDESK_API.ticket(account.config, "35436")))
    return event


def write(account: Walk, change: Change) -> bool:
    """Make a change."""
    return account.run(ZENDESK_API.write(account.config, "35436", change))


def test_a_ticket_has_its_fields_and_messages(account: Walk) -> None:
    """Everything that webhooks tell one by one stands in the snapshot, with the authors' names."""
    event = fetched(account)
    assert (event.fields.subject, event.fields.priority, event.fields.status) == ("Where is my parcel?", "high", "open")
    assert (event.fields.customer_id, event.fields.tags, event.fields.channel) == (
        "8447388090494",
        ("parcel",),
        "email",
    )
    assert [(one.author_name, one.from_agent, one.internal) for one in event.messages] == [
        ("Anna", False, False),
        ("Ben", True, False),
        ("Ben", True, True),
    ]


def test_a_message_has_the_same_key_by_webhook_and_by_the_api(vendor: ZendeskSimulator, account: Walk) -> None:
    """A ticket that comes both ways has each message once."""
    body = vendor.event("35436", "created", event_id="e-1")
    (created,) = ZENDESK.events(Request("POST", "https://r.example/x", [], body), LONG_AGO)
    said = {"id": str(vendor.comments["35436"][1]["id"]), "body": "We look into it.", "is_public": True}
    body = vendor.event("35436", "comment_added", event_id="e-2", happened={"comment": said})
    (added,) = ZENDESK.events(Request("POST", "https://r.example/x", [], body), LONG_AGO)
    by_webhook = [created.messages[0].key, added.messages[0].key]
    assert [message.key for message in fetched(account).messages][:2] == by_webhook


def test_the_same_state_read_twice_is_the_same_event(vendor: ZendeskSimulator, account: Walk) -> None:
    """The key changes with the ticket and with nothing else."""
    first = fetched(account)
    assert fetched(account).key == first.key
    vendor.change("35436", status="solved")
    assert fetched(account).key != first.key


@pytest.mark.parametrize("ticket", ["99", "", "1/../2", "35436.json?x", "٣"])
def test_what_is_no_ticket_is_not_found(account: Walk, ticket: str) -> None:
    """An id that is not a number is not asked for at all."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        account.run(ZENDESK_API.ticket(account.config, ticket))
    assert len(account.calls) == (1 if ticket == "99" else 0)


def test_a_long_conversation_is_read_in_pages(vendor: ZendeskSimulator, account: Walk) -> None:
    """Nothing is left out behind the first page."""
    vendor.page_size = 7
    for number in range(20):
        vendor.add_comment("35436", f"More {number}", 2)
    assert len(fetched(account).messages) == 23


def test_the_export_is_walked_page_by_page_and_can_be_resumed(vendor: ZendeskSimulator, account: Walk) -> None:
    """A cursor goes on where the last page ended, and what changed meanwhile is still to come."""
    vendor.page_size = 2
    for number in range(4):
        vendor.open_ticket(str(100 + number), f"Ticket {number}", "Help")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        changes = account.run(ZENDESK_API.changes(account.config, LONG_AGO, cursor))
        seen += [event.ticket for event in changes.events if isinstance(event, TicketEvent)]
        if len(seen) == 2:
            vendor.change("35436", subject="Changed while being read")
        cursor = changes.cursor
        if cursor is None:
            break
    assert seen == ["35436", "100", "101", "102", "103", "35436"]
    assert ("per_page", str(PAGE)) in account.calls[0].query


def test_a_deleted_ticket_in_the_export_is_closed(vendor: ZendeskSimulator, account: Walk) -> None:
    """The export names it, though it cannot be read any more."""
    vendor.change("35436", status="deleted")
    del vendor.comments["35436"]
    (event,) = account.run(ZENDESK_API.changes(account.config, LONG_AGO, None)).events
    assert isinstance(event, TicketEvent)
    assert (event.fields.status, event.messages) == ("closed", ())


def test_an_export_from_the_last_minute_has_nothing_yet(vendor: ZendeskSimulator, account: Walk) -> None:
    """Zendesk refuses to begin there; that is no failure."""
    changes = account.run(ZENDESK_API.changes(account.config, vendor.now + timedelta(hours=1), None))
    assert (changes.events, changes.cursor) == ((), None)


@pytest.mark.parametrize(
    ("change", "there"),
    [
        (SetPriority("urgent"), lambda vendor: vendor.tickets["35436"]["priority"] == "urgent"),
        (AddTags(("late", "vip")), lambda vendor: vendor.tickets["35436"]["tags"] == ["parcel", "late", "vip"]),
        (NOTE, lambda vendor: vendor.comments["35436"][-1]["public"] is False),
        (SendReply("Sorry!", "rapport-reply-1"), lambda vendor: vendor.comments["35436"][-1]["public"] is True),
    ],
)
def test_a_change_is_made_once(
    vendor: ZendeskSimulator, account: Walk, change: Change, there: Callable[[ZendeskSimulator], bool]
) -> None:
    """The second time nothing is sent, also when the answer to the first was lost."""
    assert through_crashes(account, lambda: ZENDESK_API.write(account.config, "35436", change)) == 1
    assert there(vendor)
    assert write(account, change) is False
    assert len(account.writes()) == 1


def test_a_new_note_is_found_at_once_in_a_long_ticket(vendor: ZendeskSimulator, account: Walk) -> None:
    """The newest comments are looked at first, and what is there is not written again."""
    ticket = next(iter(vendor.tickets))
    for number in range(500):
        vendor.add_comment(ticket, f"Comment {number}", 1)
    assert account.run(ZENDESK_API.write(account.config, ticket, NOTE)) is True
    account.calls.clear()
    assert account.run(ZENDESK_API.write(account.config, ticket, NOTE)) is False
    assert len([call for call in account.calls if "comments" in call.path]) == 1


def test_nothing_is_written_where_it_cannot_be_known_whether_it_is_there(
    vendor: ZendeskSimulator, account: Walk
) -> None:
    """With more comments than are looked through the note is refused, instead of perhaps written twice."""
    ticket = next(iter(vendor.tickets))
    for number in range(5001):
        vendor.add_comment(ticket, f"Comment {number}", 1)
    with pytest.raises(ApiError, match="TICKET_TOO_LONG"):
        account.run(ZENDESK_API.write(account.config, ticket, NOTE))
    assert account.writes() == []


def test_a_reply_shows_no_marker_and_a_note_shows_it(vendor: ZendeskSimulator, account: Walk) -> None:
    """Customers read nothing of ours; agents may see what the note belongs to."""
    write(account, SendReply("Sorry!", "rapport-reply-1"))
    assert "rapport" not in vendor.comments["35436"][-1]["body"]
    write(account, NOTE)
    assert vendor.comments["35436"][-1]["body"].endswith(NOTE.marker)


@pytest.mark.parametrize(
    ("change", "meanwhile"),
    [
        (AddTags(("late",)), lambda vendor: vendor.change("35436", tags=["parcel", "by-an-agent"])),
        (SetPriority("low"), lambda vendor: vendor.change("35436", tags=["parcel", "by-an-agent"])),
        (NOTE, lambda vendor: vendor.add_comment("35436", f"Said already. {NOTE.marker}", 2, public=False)),
    ],
)
def test_what_somebody_did_meanwhile_is_kept(
    vendor: ZendeskSimulator, account: Walk, change: Change, meanwhile: Callable[[ZendeskSimulator], None]
) -> None:
    """Zendesk refuses an update for a state that is over; the next try begins with what stands there then."""

    def once(call: Call) -> None:
        if call.method == "PUT" and not account.writes():
            meanwhile(vendor)

    account.before = once
    made = write(account, change)
    assert (made, len(account.writes())) == ((False, 1) if isinstance(change, AddNote) else (True, 2))
    if isinstance(change, AddNote):
        assert sum(change.marker in comment["body"] for comment in vendor.comments["35436"]) == 1
    else:
        assert "by-an-agent" in vendor.tickets["35436"]["tags"]


def test_a_ticket_that_never_rests_is_given_up(vendor: ZendeskSimulator, account: Walk) -> None:
    """The tries end; the change is made later, when the steps are run again."""

    def always(call: Call) -> None:
        if call.method == "PUT":
            vendor.change("35436", status="open")

    account.before = always
    with pytest.raises(ApiError, match="TICKET_BUSY"):
        write(account, SetPriority("low"))
    assert len(account.writes()) == 5


@pytest.mark.parametrize(
    ("headers", "pace"),
    [
        ({"x-rate-limit-remaining": "399", "ratelimit-reset": "41"}, (399, 41.0)),
        ({"ratelimit-remaining": "7", "ratelimit-reset": "3"}, (7, 3.0)),
        (
            {"zendesk-ratelimit-tickets-index": "total=100; remaining=99; resets=12", "x-rate-limit-remaining": "1"},
            (99, 12),
        ),
        ({"x-rate-limit-remaining": "399"}, None),
        ({"x-rate-limit-remaining": "many", "ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_the_pace_is_read_from_the_headers(headers: dict[str, str], pace: tuple[int, float] | None) -> None:
    """The limit of the endpoint itself goes before that of the account; what is no number says nothing."""
    found = ZENDESK_API.pace(Reply(200, headers, b""))
    assert (None if found is None else (found.remaining, found.reset_seconds)) == pace


def test_who_is_not_let_in_is_told(vendor: ZendeskSimulator, account: Walk) -> None:
    """Zendesk answers strangers with an anonymous user, which is no login."""
    assert account.run(ZENDESK_API.account(account.config)) == ""
    steps = ZENDESK_API.account(account.config)
    next(steps)
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED"):
        steps.send(Reply(200, {}, b'{"user": {"id": null, "role": "end-user"}}'))
    for credentials in ({}, {"client_secret": "only"}):
        with pytest.raises(ApiError, match="CREDENTIALS_MISSING"):
            ZENDESK_API.authorization({"subdomain": "acme", "email": vendor.email}, credentials)
    with pytest.raises(ApiError, match="SETTING_MISSING"):
        ZENDESK_API.origin({})


def test_an_oauth_token_is_renewed() -> None:
    """The client gets a new pair of tokens; what is refused says so."""
    secrets = {"client_secret": "cs", "refresh_token": "r-1", "access_token": "a-1"}
    config = {"subdomain": "acme", "client_id": "rapport"}
    assert ZENDESK_API.authorization(config, secrets) == {"authorization": "Bearer a-1"}
    steps = ZENDESK_API.renew(config, secrets)
    assert steps is not None
    assert next(steps).path == "/oauth/tokens"
    with pytest.raises(StopIteration) as end:
        steps.send(Reply(200, {}, b'{"access_token": "a-2", "refresh_token": "r-2", "expires_in": 7200}'))
    assert (end.value.value.secrets, end.value.value.expires_in) == (
        {"access_token": "a-2", "refresh_token": "r-2"},
        7200,
    )
    refused = ZENDESK_API.renew(config, secrets)
    assert refused is not None
    next(refused)
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED"):
        refused.send(Reply(401, {}, b"{}"))
    assert ZENDESK_API.renew({"subdomain": "acme", "email": "a@b.example"}, {"api_token": "t"}) is None
