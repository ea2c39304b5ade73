"""What is asked of Help Scout, and what is made of its answers and webhooks: against a simulated company."""

from datetime import UTC, datetime

import orjson
import pytest

from services.crm.events import TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Change, Reply, SendReply, SetPriority
from services.crm.providers.helpscout import EVENT, HELPSCOUT
from services.crm.providers.helpscout_api import HELPSCOUT_API
from services.crm.providers.provider import NotUnderstoodError, Request
from tests.crm.crashing import changes, through_crashes
from tests.crm.walking import Walk, of_tickets
from tests.support.vendors.helpscout import HelpScoutSimulator

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/helpscout/token"


@pytest.fixture
def vendor() -> HelpScoutSimulator:
    """A company with a conversation."""
    made = HelpScoutSimulator()
    made.open_conversation("701", "The zip is broken", "<p>It came like that.</p>")
    return made


@pytest.fixture
def account(vendor: HelpScoutSimulator) -> Walk:
    """A connection to the company that has got its first access token."""
    made = Walk(HELPSCOUT_API, vendor, {"app_id": vendor.app_id}, {"app_secret": vendor.app_secret})
    made.renew()
    made.calls.clear()
    return made


def fetched(account: Walk, ticket: str = "701") -> TicketEvent:
    """Return a conversation as the API shows it."""
    (event,) = of_tickets(account.run(HELPSCOUT_API.ticket(account.config, ticket)))
    return event


def request(body: bytes, event: str = "convo.created") -> Request:
    """Return a webhook."""
    return Request("POST", URL, [(EVENT, event)], body)


def test_the_account_is_the_company_of_the_token(vendor: HelpScoutSimulator, account: Walk) -> None:
    """The company's number is told, although no webhook names it."""
    assert account.run(HELPSCOUT_API.account({})) == str(vendor.company_id)


def test_a_refresh_token_is_used_once_and_replaced(vendor: HelpScoutSimulator) -> None:
    """Each renewal brings the refresh token of the next one, and both are kept."""
    vendor.refresh_token = "the-first-one"
    secrets = {"app_secret": vendor.app_secret, "refresh_token": "the-first-one"}
    account = Walk(HELPSCOUT_API, vendor, {"app_id": vendor.app_id}, secrets)
    for _ in range(3):
        account.renew()
    assert account.credentials["refresh_token"] == vendor.refresh_token != "the-first-one"
    assert account.run(HELPSCOUT_API.account({})) == str(vendor.company_id)


def test_without_the_app_there_is_no_way_to_log_in() -> None:
    """Nothing is called with less than an app's id and secret."""
    assert HELPSCOUT_API.renew({"app_id": "a"}, {}) is None
    assert HELPSCOUT_API.renew({}, {"app_secret": "s"}) is None
    with pytest.raises(ApiError, match="CREDENTIALS_MISSING"):
        HELPSCOUT_API.authorization({"app_id": "a"}, {"app_secret": "s"})


def test_a_conversation_comes_with_its_threads_in_their_order(vendor: HelpScoutSimulator, account: Walk) -> None:
    """Fields, tags and everything that was written are there, oldest first; lines that say what was done are not."""
    vendor.add_thread("701", "We look at it.", kind="message")
    vendor.add_thread("701", "Known fault.", kind="note")
    vendor.add_thread("701", "Robin assigned this", kind="lineitem")
    vendor.change("701", status="pending", tags=[{"id": 9, "color": "none", "tag": "zip"}])
    event = fetched(account)
    assert (event.fields.subject, event.fields.status, event.fields.tags) == ("The zip is broken", "pending", ("zip",))
    assert (event.fields.customer_id, event.fields.channel, event.fields.priority) == ("256", "email", None)
    said = [(message.content, message.from_agent, message.internal) for message in event.messages]
    assert said == [
        ("It came like that.", False, False),
        ("We look at it.", True, False),
        ("Known fault.", True, True),
    ]


def test_webhook_and_api_say_the_same_of_one_conversation(vendor: HelpScoutSimulator, account: Walk) -> None:
    """By whichever way a state comes, fields, time and the messages' keys are the same."""
    vendor.add_thread("701", "Any news?")
    (told,) = of_tickets(HELPSCOUT.events(request(vendor.webhook("701")), NOW))
    seen = fetched(account)
    assert (told.ticket, told.occurred, told.fields, told.messages) == (
        seen.ticket,
        seen.occurred,
        seen.fields,
        seen.messages,
    )


def test_the_body_says_what_happened_whatever_the_unsigned_header_says(vendor: HelpScoutSimulator) -> None:
    """The event's name is not signed: another one changes neither the meaning nor the delivery."""
    body = vendor.webhook("701")
    made = [request(body, name) for name in ("convo.created", "convo.deleted", "helpscout.test", "customer.created")]
    assert len({str(HELPSCOUT.events(each, NOW)) for each in made}) == 1
    assert len({HELPSCOUT.parts(each)[0].delivery for each in made}) == 1
    assert not any(HELPSCOUT.pings(each) for each in made)


def test_a_deleted_conversation_is_closed(vendor: HelpScoutSimulator) -> None:
    """The body says that it is gone."""
    vendor.change("701", state="deleted")
    (event,) = of_tickets(HELPSCOUT.events(request(vendor.webhook("701")), NOW))
    assert event.fields.status == "closed"


def test_an_id_alone_closes_the_conversation_that_the_header_calls_deleted() -> None:
    """Only an id is sent of what was deleted: it is looked for, and closed where that is not possible."""
    body = b'{"id":701}'
    told = request(body, "convo.deleted")
    assert HELPSCOUT.hint(told) == HELPSCOUT.parts(told)[0].conversation == "701"
    (event,) = HELPSCOUT.events(told, NOW)
    assert isinstance(event, TicketEvent)
    assert (event.ticket, event.fields.status) == ("701", "closed")
    customer = request(body, "customer.deleted")
    assert (HELPSCOUT.hint(customer), list(HELPSCOUT.events(customer, NOW))) == (None, [])
    assert HELPSCOUT.parts(customer)[0].delivery != HELPSCOUT.parts(told)[0].delivery


def test_an_address_alone_names_the_conversation_to_be_fetched() -> None:
    """With the webhook's option `notification` only an address is sent, the same one for every change.

    One at another host names nothing.
    """
    body = orjson.dumps({"resourceUri": "https://api.helpscout.net/v2/conversations/701"})
    assert HELPSCOUT.hint(request(body)) == "701"
    (part,) = HELPSCOUT.parts(request(body))
    assert (part.conversation, part.delivery) == ("701", ())
    assert list(HELPSCOUT.events(request(body), NOW)) == []
    assert HELPSCOUT.hint(request(body.replace(b"helpscout.net", b"helpscout.evil"))) is None


def test_a_conversation_in_full_is_believed_without_fetching(vendor: HelpScoutSimulator) -> None:
    """What is signed and complete needs no call."""
    assert HELPSCOUT.hint(request(vendor.webhook("701"))) is None


def test_other_things_mean_nothing_and_no_object_is_not_understood() -> None:
    """A customer or a rating is no ticket; a body that is no object is kept for people to see."""
    assert list(HELPSCOUT.events(request(b'{"id":256,"firstName":"Anna"}', "customer.created"), NOW)) == []
    with pytest.raises(NotUnderstoodError, match="BODY_NOT_A_JSON_OBJECT"):
        HELPSCOUT.events(request(b"[]"), NOW)


def test_the_same_state_read_twice_is_the_same_event(vendor: HelpScoutSimulator, account: Walk) -> None:
    """The key changes with the state, also where no time tells of the change, and only then."""
    first, again = fetched(account).key, fetched(account).key
    vendor.conversations["701"]["tags"] = [{"id": 9, "color": "none", "tag": "zip"}]
    assert first == again != fetched(account).key


def test_a_missing_conversation_is_said_to_be_missing(account: Walk) -> None:
    """Neither an id that is gone nor one that cannot be Help Scout's is anything else."""
    for ticket in ("999", "../users/me", "", "7 0"):
        with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
            fetched(account, ticket)


def test_a_conversation_that_moves_between_pages_hides_no_other(vendor: HelpScoutSimulator, account: Walk) -> None:
    """While a walk is under way the first conversation changes and moves to the end: still all of them are seen."""
    vendor.page_size = 2
    for number in range(710, 716):
        vendor.open_conversation(str(number), "Late", "Where is it?")
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = account.run(HELPSCOUT_API.changes({}, LONG_AGO, cursor))
        seen += [event.ticket for event in page.events if isinstance(event, TicketEvent)]
        if cursor is None:
            vendor.add_thread("701", "Any news?")
        cursor = page.cursor
    assert set(seen) == {"701", *map(str, range(710, 716))}
    assert seen[-1] == "701"


@pytest.mark.parametrize(
    "change",
    [
        AddNote("Offer a refund & <smile>. rapport:n-1", "rapport:n-1"),
        AddNote("Offer a refund.", "rapport:n-1"),
        SendReply("Dear Anna,\nit comes tomorrow.", "rapport:r-1"),
        AddTags(["late", "vip"]),
    ],
    ids=["note", "note without its marker", "reply", "tags"],
)
def test_a_change_is_made_once_even_if_its_answer_is_lost(
    vendor: HelpScoutSimulator, account: Walk, change: Change
) -> None:
    """After a crash between the vendor's act and our knowing of it, nothing is done a second time."""
    assert through_crashes(account, lambda: HELPSCOUT_API.write({}, "701", change)) == 1
    assert account.run(HELPSCOUT_API.write({}, "701", change)) is False
    threads = vendor.conversations["701"]["_embedded"]["threads"]
    assert len(threads) == (1 if isinstance(change, AddTags) else 2)
    assert "rapport:r-1" not in threads[0]["body"]
    assert "<smile>" not in threads[0]["body"]


def test_tags_that_are_there_stay(vendor: HelpScoutSimulator, account: Walk) -> None:
    """The vendor replaces all tags, so that those that are there are sent again; nothing is sent for what is so."""
    vendor.change("701", tags=[{"id": 9, "color": "none", "tag": "zip"}])
    assert account.run(HELPSCOUT_API.write({}, "701", AddTags(["vip"]))) is True
    assert [tag["tag"] for tag in vendor.conversations["701"]["tags"]] == ["zip", "vip"]
    assert account.run(HELPSCOUT_API.write({}, "701", AddTags(["vip", "zip"]))) is False
    assert len([call for call in account.calls if changes(call)]) == 1


def test_there_is_no_priority(account: Walk) -> None:
    """What Help Scout does not have is neither promised nor tried."""
    assert SetPriority not in HELPSCOUT_API.can
    with pytest.raises(ApiError, match="CHANGE_NOT_SUPPORTED"):
        account.run(HELPSCOUT_API.write({}, "701", SetPriority("high")))
    assert [call for call in account.calls if changes(call)] == []


def test_the_pace_is_that_of_a_minute() -> None:
    """What is left, and when there is more where the vendor says it."""
    left = {"x-ratelimit-remaining-minute": "4"}
    paces = [HELPSCOUT_API.pace(Reply(200, made, b"")) for made in (left, left | {"x-ratelimit-retry-after": "9"}, {})]
    assert [(pace.remaining, pace.reset_seconds) if pace else None for pace in paces] == [(4, 60.0), (4, 9.0), None]
