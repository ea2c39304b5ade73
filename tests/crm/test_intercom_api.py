"""What is asked of Intercom, and what is made of its answers: against a simulated workspace."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.crm.events import TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Change, Reply, SendReply, SetPriority
from services.crm.providers.intercom import INTERCOM
from services.crm.providers.intercom_api import INTERCOM_API
from services.crm.providers.provider import NotUnderstoodError, Request
from tests.crm.crashing import through_crashes
from tests.crm.walking import Walk, of_tickets
from tests.support.vendors.intercom import IntercomSimulator

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/intercom/token"


@pytest.fixture
def vendor() -> IntercomSimulator:
    """A workspace with a ticket and a conversation."""
    made = IntercomSimulator()
    made.open_ticket("215", "The zip is broken", "It came <b>like that</b>.<br>Help!")
    made.open_conversation("431", "Where is my parcel?")
    return made


@pytest.fixture
def account(vendor: IntercomSimulator) -> Walk:
    """A connection to the workspace."""
    return Walk(INTERCOM_API, vendor, {"app_id": vendor.app_id}, {"access_token": vendor.access_token})


def fetched(account: Walk, ticket: str) -> TicketEvent:
    """Return a ticket as the API shows it."""
    (event,) = of_tickets(account.run(INTERCOM_API.ticket(account.config, ticket)))
    return event


def webhook(vendor: IntercomSimulator, topic: str, item: Any, **more: Any) -> list[Any]:
    """Return what a webhook means."""
    body = vendor.notification(topic, item, event="notif_9", **more)
    return list(INTERCOM.events(Request("POST", URL, [], body), NOW))


def test_the_account_is_the_workspace_of_the_token(vendor: IntercomSimulator, account: Walk) -> None:
    """The workspace's id is what webhooks name as theirs."""
    assert account.run(INTERCOM_API.account(account.config)) == vendor.app_id


@pytest.mark.parametrize(("region", "host"), [("", "api"), ("us", "api"), ("eu", "api.eu"), ("au", "api.au")])
def test_each_region_has_its_host(region: str, host: str) -> None:
    """The host follows from the region alone; without one it is that of the United States."""
    assert INTERCOM_API.origin({"region": region} if region else {}) == f"https://{host}.intercom.io"


def test_without_a_token_nothing_is_called() -> None:
    """A connection that cannot log in says so by its reason."""
    with pytest.raises(ApiError, match="CREDENTIALS_MISSING"):
        INTERCOM_API.authorization({}, {})


def test_a_ticket_comes_with_its_parts_and_in_our_words(vendor: IntercomSimulator, account: Walk) -> None:
    """Subject, state, customer, tags and everything that was said are there; HTML became text."""
    vendor.add_part("tickets", "215", "<p>We look at it.</p>", author=vendor.admin)
    vendor.add_part("tickets", "215", "<p>Known fault.</p>", part_type="note", author=vendor.admin)
    vendor.change("tickets", "215", ticket_state={"category": "waiting_on_customer"})
    event = fetched(account, "215")
    assert (event.ticket, event.fields.subject, event.fields.status) == ("215", "The zip is broken", "pending")
    assert (event.fields.customer_id, event.fields.tags) == ("customer-7", ())
    said = [(message.content, message.from_agent, message.internal) for message in event.messages]
    assert said == [
        ("It came like that.\nHelp!", False, False),
        ("We look at it.", True, False),
        ("Known fault.", True, True),
    ]


def test_a_conversation_comes_under_its_own_kind_of_id(vendor: IntercomSimulator, account: Walk) -> None:
    """A conversation is a ticket of ours whose id says what it is at Intercom."""
    vendor.change("conversations", "431", state="snoozed", priority="priority")
    event = fetched(account, "conversation-431")
    assert (event.fields.status, event.fields.priority, event.fields.channel) == ("pending", "high", "chat")
    assert [message.content for message in event.messages] == ["Where is my parcel?"]


def test_webhook_and_api_say_the_same_of_one_ticket(vendor: IntercomSimulator, account: Walk) -> None:
    """By whichever way a state comes, fields, time and the messages' keys are the same."""
    vendor.add_part("tickets", "215", "Any news?")
    (told,) = webhook(vendor, "ticket.contact.replied", vendor.tickets["215"])
    seen = fetched(account, "215")
    assert (told.ticket, told.occurred, told.fields, told.messages) == (
        seen.ticket,
        seen.occurred,
        seen.fields,
        seen.messages,
    )


def test_a_part_beside_its_ticket_is_a_message_of_it(vendor: IntercomSimulator) -> None:
    """Some notifications tell the new part beside the ticket instead of in it."""
    part = vendor.add_part("tickets", "215", "Known fault.", part_type="note", author=vendor.admin)
    bare = {name: value for name, value in vendor.tickets["215"].items() if name != "ticket_parts"}
    (told,) = webhook(vendor, "ticket.note.created", {"ticket": bare, "ticket_part": part})
    assert [(message.content, message.internal) for message in told.messages][1:] == [("Known fault.", True)]


def test_topics_about_other_things_mean_nothing(vendor: IntercomSimulator) -> None:
    """A contact is no ticket."""
    assert webhook(vendor, "contact.user.created", {"id": "66c1f0a1"}) == []


def test_a_notification_without_a_ticket_is_not_understood(vendor: IntercomSimulator) -> None:
    """What says that it is about a ticket and names none is kept for people to see."""
    with pytest.raises(NotUnderstoodError, match="TICKET_ID_MISSING"):
        webhook(vendor, "ticket.created", {})


def test_the_same_state_read_twice_is_the_same_event(vendor: IntercomSimulator, account: Walk) -> None:
    """The key changes when the ticket does, and only then."""
    first, again = fetched(account, "215").key, fetched(account, "215").key
    vendor.add_part("tickets", "215", "Any news?")
    assert first == again != fetched(account, "215").key


def test_a_missing_ticket_is_said_to_be_missing(account: Walk) -> None:
    """Neither an id that is gone nor one that cannot be Intercom's is anything else."""
    for ticket in ("999", "conversation-999", "../me", "21 5", ""):
        with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
            fetched(account, ticket)


def test_changes_are_walked_through_page_by_page_once(vendor: IntercomSimulator, account: Walk) -> None:
    """All tickets and then all conversations come, also when one changes between two pages."""
    vendor.page_size = 2
    for number in range(300, 305):
        vendor.open_ticket(str(number), "Late", "Where is it?")
    seen, cursor = [], None
    while True:
        page = account.run(INTERCOM_API.changes(account.config, LONG_AGO, cursor))
        seen += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        if cursor is None:
            vendor.add_part("tickets", "215", "Any news?")
        cursor = page.cursor
        if cursor is None:
            break
    assert set(seen) == {"215", "300", "301", "302", "303", "304", "conversation-431"}
    assert seen[-1] == "conversation-431"


def test_what_changed_before_the_time_is_not_walked_through(vendor: IntercomSimulator, account: Walk) -> None:
    """The second of the time itself is still within."""
    since = datetime.fromtimestamp(vendor.conversations["431"]["updated_at"], UTC)
    page = account.run(INTERCOM_API.changes(account.config, since, None))
    assert list(page.events) == []
    page = account.run(INTERCOM_API.changes(account.config, since, page.cursor))
    assert len(of_tickets(page.events)) == 1


@pytest.mark.parametrize("ticket", ["215", "conversation-431"])
@pytest.mark.parametrize(
    "change",
    [
        AddNote("Offer a refund & <smile>.\nReasons follow. rapport:n-1", "rapport:n-1"),
        AddNote("Offer a refund.", "rapport:n-1"),
        SendReply("Dear Anna,\nit comes tomorrow.", "rapport:r-1"),
        AddTags(["late", "vip"]),
    ],
    ids=["note", "note without its marker", "reply", "tags"],
)
def test_a_change_is_made_once_even_if_its_answer_is_lost(
    vendor: IntercomSimulator, account: Walk, ticket: str, change: Change
) -> None:
    """After a crash between the vendor's act and our knowing of it, nothing is done a second time."""
    crashes = through_crashes(account, lambda: INTERCOM_API.write(account.config, ticket, change))
    assert crashes == (2 if isinstance(change, AddTags) else 1)
    assert account.run(INTERCOM_API.write(account.config, ticket, change)) is False
    held = vendor.conversations["431"] if ticket.startswith("conv") else vendor.tickets["215"]
    holder = "conversation_parts" if ticket.startswith("conv") else "ticket_parts"
    parts = held[holder][holder]
    assert len(parts) == (0 if isinstance(change, AddTags) else 1)
    names = [tag["name"] for tag in held["tags"]["tags"]]
    assert names == (["late", "vip"] if isinstance(change, AddTags) else [])


def test_a_note_is_a_note_and_a_reply_hides_its_marker(vendor: IntercomSimulator, account: Walk) -> None:
    """A note is for the team only; a customer reads nothing of ours in a reply."""
    account.run(INTERCOM_API.write(account.config, "215", AddNote("Offer <b>", "rapport:n-1")))
    account.run(INTERCOM_API.write(account.config, "215", SendReply("Hello\nAnna", "rapport:r-1")))
    note, reply = vendor.tickets["215"]["ticket_parts"]["ticket_parts"]
    assert (note["part_type"], reply["part_type"]) == ("note", "comment")
    assert note["body"].startswith("Offer &lt;b&gt;")
    assert "rapport:n-1" in note["body"]
    assert "rapport:r-1" not in reply["body"]
    assert "".join(letter for letter in reply["body"] if letter.isprintable()) == "Hello<br>Anna"


def test_tags_that_are_there_stay_and_are_not_put_on_again(vendor: IntercomSimulator, account: Walk) -> None:
    """Only what is missing is sent."""
    vendor.tickets["215"]["tags"]["tags"] = [{"type": "tag", "id": "1", "name": "late"}]
    assert account.run(INTERCOM_API.write(account.config, "215", AddTags(["late", "vip"]))) is True
    assert [tag["name"] for tag in vendor.tickets["215"]["tags"]["tags"]] == ["late", "vip"]
    assert len([call for call in account.calls if call.path == "/tags"]) == 1


def test_priority_is_an_attribute_that_the_connection_names(vendor: IntercomSimulator, account: Walk) -> None:
    """Without the setting, and for conversations, there is no such thing; with it, it is written once."""
    change = SetPriority("urgent")
    for ticket, config in (("215", {}), ("conversation-431", {"priority_attribute": "Urgency"})):
        with pytest.raises(ApiError, match="PRIORITY_NOT_SUPPORTED"):
            account.run(INTERCOM_API.write(config, ticket, change))
    config = {"priority_attribute": "Urgency"}
    assert account.run(INTERCOM_API.write(config, "215", change)) is True
    assert account.run(INTERCOM_API.write(config, "215", change)) is False
    attributes = vendor.tickets["215"]["ticket_attributes"]
    assert (attributes["Urgency"], attributes["_default_title_"]) == ("Urgent", "The zip is broken")


def test_the_named_teammate_is_who_notes_are_from(vendor: IntercomSimulator, account: Walk) -> None:
    """With the setting nobody is asked who the token's owner is."""
    config = {"admin_id": vendor.admin["id"]}
    account.run(INTERCOM_API.write(config, "215", AddNote("Offer a refund.", "rapport:n-1")))
    assert [call.path for call in account.calls] == ["/tickets/215", "/tickets/215/reply"]


def test_the_pace_is_read_by_the_vendors_own_clock() -> None:
    """The reset is a time; how long it is away says the answer's date, whatever our clock shows."""
    headers = {"x-ratelimit-remaining": "3", "x-ratelimit-reset": "1790000010"}
    date = {"date": datetime.fromtimestamp(1790000002, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
    paces = [
        INTERCOM_API.pace(Reply(200, made, b"")) for made in (headers | date, headers, {}, {"x-ratelimit-reset": "x"})
    ]
    assert [(pace.remaining, pace.reset_seconds) if pace else None for pace in paces] == [
        (3, 8.0),
        (3, 10.0),
        None,
        None,
    ]
