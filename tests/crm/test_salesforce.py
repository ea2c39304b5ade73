"""Salesforce: what its outbound messages hold and what is kept of them, and what its API is asked and told."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.crm.events import Event, Priority, TicketEvent
from services.crm.providers.api import AddNote, AddTags, ApiError, Pace, Reply, SendReply, SetPriority
from services.crm.providers.provider import (
    MOST_PARTS,
    NotUnderstoodError,
    Request,
    WebhookSecret,
    account_matches,
    judge,
)
from services.crm.providers.salesforce import SALESFORCE
from services.crm.providers.salesforce_api import PAGE, SALESFORCE_API, SalesforceApi
from services.crm.providers.salesforce_ids import full_id
from services.crm.providers.salesforce_soap import ForbiddenXmlError, read
from tests.crm.walking import CrashError, Walk
from tests.support.vendors.salesforce import SalesforceSimulator, case_id

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CONFIG = {
    "org_id": "00D58000000LTzD",
    "instance_url": "https://acme.my.salesforce.com",
    "client_id": "3MVGconsumer",
}
JWT = CONFIG | {"username": "rapport@acme.example", "audience": "login.salesforce.com"}
SESSION = "00D58000000LTzD!AQ0AQlive.credential"
CASE = case_id(1)


@pytest.fixture
def vendor() -> SalesforceSimulator:
    """An organisation with one case."""
    made = SalesforceSimulator()
    made.open_case(1, "The zip is broken & more", "It came like that.")
    return made


def logged_in(vendor: SalesforceSimulator) -> Walk:
    """Return a connection that logs in by a refresh token."""
    secrets = {"client_secret": vendor.client_secret, "refresh_token": vendor.refresh_token}
    return Walk(SALESFORCE_API, vendor, CONFIG, secrets)


@pytest.fixture
def walk(vendor: SalesforceSimulator) -> Walk:
    """A connection."""
    return logged_in(vendor)


def request(body: bytes) -> Request:
    """Return a webhook."""
    return Request("POST", "https://rapport.example/webhooks/salesforce/token", (), body)


def only(events: Sequence[Event]) -> TicketEvent:
    """Return the one event."""
    (event,) = events
    assert isinstance(event, TicketEvent)
    return event


def tickets(events: Sequence[Event]) -> list[str]:
    """Return the cases of events."""
    return [event.ticket for event in events if isinstance(event, TicketEvent)]


def test_every_notification_is_a_delivery_of_its_own(vendor: SalesforceSimulator) -> None:
    """A message's notifications are told apart by their ids, and each says which case it is about."""
    other = vendor.open_case(2, "Another", "Text")
    parts = SALESFORCE.parts(request(vendor.outbound(CASE, other, notification="04l")))
    assert [part.delivery for part in parts] == [("notification", "04l0"), ("notification", "04l1")]
    assert [part.conversation for part in parts] == [CASE, other]
    assert [SALESFORCE.hint(request(part.body or b"")) for part in parts] == [CASE, other]


def test_nothing_of_the_session_is_kept(vendor: SalesforceSimulator) -> None:
    """The session's id is a live credential: no part has it, and each part reads as the message did."""
    other = vendor.open_case(2, "A <b>bold</b> one", "Text")
    parts = SALESFORCE.parts(request(vendor.outbound(CASE, other, session=SESSION)))
    for part, subject in zip(parts, ("The zip is broken & more", "A <b>bold</b> one"), strict=True):
        assert part.body is not None
        assert SESSION.encode() not in part.body
        assert b"<SessionId>REDACTED</SessionId>" in part.body
        message = read(part.body)
        assert message is not None
        (notification,) = message.notifications
        assert notification.fields["Subject"] == subject
        assert SALESFORCE.parts(request(part.body))[0].delivery == part.delivery


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"<SessionId>{SESSION}".encode(), id="cut off"),
        pytest.param(f"SessionId={SESSION}".encode(), id="no XML"),
        pytest.param(f'<!DOCTYPE a [<!ENTITY s "{SESSION}">]><a>&s;</a>'.encode(), id="entity"),
        pytest.param(b"\xff\xfe" + SESSION.encode(), id="not UTF-8"),
    ],
)
def test_nothing_is_kept_of_a_body_that_is_not_understood(body: bytes) -> None:
    """Where the session's id could be anywhere, the whole body is dropped; the delivery says why it stays."""
    (part,) = SALESFORCE.parts(request(body))
    assert part.body == b""
    with pytest.raises(NotUnderstoodError, match="BODY_NOT_AN_OUTBOUND_MESSAGE"):
        SALESFORCE.hint(request(part.body))


@given(st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable() and text.strip() == text))
def test_session_is_dropped_whatever_it_is(session: str) -> None:
    """Escapes, quotes or letters of any language in it change nothing."""
    vendor = SalesforceSimulator()
    case = vendor.open_case(1, "s", "t")
    mark = f"session-{session}-end"
    (part,) = SALESFORCE.parts(request(vendor.outbound(case, session=mark)))
    message = read(part.body or b"")
    assert message is not None
    assert mark not in (part.body or b"").decode()
    assert "session-" not in (part.body or b"").decode()


@given(place=st.integers(0, 1200), byte=st.integers(0, 255))
def test_one_wrong_byte_neither_makes_it_fail_nor_keeps_the_session(place: int, byte: int) -> None:
    """Whatever is broken in a message, it is read or not understood, and no session is kept."""
    vendor = SalesforceSimulator()
    body = vendor.outbound(vendor.open_case(1, "s", "t"), session=SESSION)
    place %= len(body)
    changed = request(body[:place] + bytes([byte]) + body[place + 1 :])
    judge(SALESFORCE, changed, [WebhookSecret(1, "token", LONG_AGO)], NOW)
    for part in SALESFORCE.parts(changed):
        assert b"live.credential" not in (part.body or b"")
        with suppress(NotUnderstoodError):
            SALESFORCE.hint(request(part.body or b""))


def test_acknowledgement_is_the_envelope_that_salesforce_wants() -> None:
    """A plain 200 counts as a failure there."""
    answer = SALESFORCE.acknowledge(request(b""))
    assert answer.content_type == "text/xml; charset=utf-8"
    path = (
        "{http://schemas.xmlsoap.org/soap/envelope/}Body/{http://soap.sforce.com/2005/09/outbound}"
        "notificationsResponse/{http://soap.sforce.com/2005/09/outbound}Ack"
    )
    assert fromstring(answer.body).findtext(path) == "true"  # noqa: S314 - our own answer


@pytest.mark.parametrize(
    ("configured", "matches"),
    [
        ("00D58000000LTzD", True),
        ("00D58000000LTzDEAW", True),
        ("00D58000000LTzd", False),
        ("00D58000000LTz", False),
        ("00D58000000LTzDEAX", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("sent", ["00D58000000LTzDEAW", "00D58000000LTzD"])
def test_organisation_is_the_same_in_both_spellings(
    vendor: SalesforceSimulator, sent: str, configured: str, *, matches: bool
) -> None:
    """The first 15 characters identify, and in them case counts."""
    vendor.org_id = sent
    (part,) = SALESFORCE.parts(request(vendor.outbound(CASE)))
    assert account_matches(configured, part) is matches


def test_id_is_completed_as_the_vendor_does() -> None:
    """The last three characters say which of the others are capitals."""
    assert full_id("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert full_id("00D58000000LTzD") == "00D58000000LTzDEAW"
    assert full_id("001A0000006Vm9rXXX") == "001A0000006Vm9rIAC"
    assert full_id("001A0000006Vm9") is None
    assert full_id("001A0000006Vm9r", "500") is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', id="entity"),
        pytest.param(b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', id="external document type"),
        pytest.param(b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://evil/">%p;]><a/>', id="parameter entity"),
        pytest.param(b"<a>" * 300_000, id="bottomless"),
        pytest.param(b"<a>" + b"<b/>" * 200_000 + b"</a>", id="countless"),
    ],
)
def test_xml_that_no_message_needs_is_refused_although_the_token_is_right(body: bytes) -> None:
    """Bombs do not get as far as the inbox."""
    with pytest.raises(ForbiddenXmlError):
        read(body)
    verdict = judge(SALESFORCE, request(body), [WebhookSecret(1, "token", LONG_AGO)], NOW)
    assert (verdict.accepted, verdict.reason) == (False, "xml_forbidden")


@pytest.mark.parametrize("name", ["ActionId", "OrganizationId"])
def test_what_stands_once_in_a_message_is_not_multiplied_by_its_parts(vendor: SalesforceSimulator, name: str) -> None:
    """An id of any length would be copied into a hundred parts: one that is too long is none."""
    body = vendor.outbound(*[CASE] * MOST_PARTS, notification="04l").decode()
    start, end = body.index(f"<{name}>") + len(name) + 2, body.index(f"</{name}>")
    parts = SALESFORCE.parts(request((body[:start] + body[start:end] * 40_000 + body[end:]).encode()))
    assert len(parts) == MOST_PARTS
    assert sum(len(part.body or b"") for part in parts) < len(body) + MOST_PARTS * 1024
    assert account_matches("00D58000000LTzD", parts[0]) is (name == "ActionId")


def test_message_that_would_grow_is_not_kept(vendor: SalesforceSimulator) -> None:
    """A letter that is written as an escape of five is kept as it is a few times, but not a million times."""
    for count, kept in ((100, True), (500_000, False)):
        filled = vendor.outbound(CASE).replace(b"The zip", b"<![CDATA[" + b"&" * count + b"]]>")
        parts = SALESFORCE.parts(request(filled))
        assert [bool(part.body) for part in parts] == [kept]


@pytest.mark.parametrize(
    ("kind", "record", "case"),
    [
        pytest.param("CaseComment", f"<sf:Id>00a</sf:Id><sf:ParentId>{CASE}</sf:ParentId>", CASE, id="comment"),
        pytest.param("EmailMessage", f"<sf:ParentId>{CASE[:15]}</sf:ParentId>", CASE, id="e-mail, short id"),
        pytest.param("Account", "<sf:Id>001580000012345AAA</sf:Id>", None, id="another object"),
        pytest.param("CaseComment", "<sf:Id>00a</sf:Id>", None, id="comment without its case"),
    ],
)
def test_record_names_the_case_that_it_belongs_to(
    vendor: SalesforceSimulator, kind: str, record: str, case: str | None
) -> None:
    """Comments and e-mails are about their case; other records are about none and make no work."""
    body = vendor.outbound(CASE).decode()
    start, end = body.index("<sf:Id>"), body.index("</sObject>")
    changed = (body[:start] + record + body[end:]).replace("sf:Case", f"sf:{kind}").encode()
    assert SALESFORCE.hint(request(changed)) == case


def test_case_without_an_id_says_why(vendor: SalesforceSimulator) -> None:
    """What names no case although it is one is kept for people."""
    with pytest.raises(NotUnderstoodError, match="TICKET_ID_MISSING"):
        SALESFORCE.hint(request(vendor.outbound(CASE).replace(CASE.encode(), b"500' OR Id != '")))


def test_webhook_is_not_believed(vendor: SalesforceSimulator) -> None:
    """An unsigned body makes no events."""
    assert SALESFORCE.events(request(vendor.outbound(CASE)), NOW) == ()


def test_account_is_told_in_the_spelling_of_the_settings(walk: Walk, vendor: SalesforceSimulator) -> None:
    """So that it equals what was set; another organisation is told as it is."""
    assert walk.run(SALESFORCE_API.account(CONFIG)) == "00D58000000LTzD"
    assert walk.run(SALESFORCE_API.account({**CONFIG, "org_id": vendor.org_id})) == vendor.org_id
    vendor.org_id = "00D58000000OtherEAW"
    assert walk.run(SALESFORCE_API.account(CONFIG)) == "00D58000000OtherEAW"


def test_case_is_fetched_with_comments_and_emails(walk: Walk, vendor: SalesforceSimulator) -> None:
    """Everything comes by one query, oldest first; a comment that is not published is a note."""
    vendor.change(CASE, Priority="High", Status="On Hold")
    walk.run(SALESFORCE_API.write(CONFIG, CASE, AddNote("Look at the receipt.", "[rapport 1]")))
    vendor.receive(CASE, "Any news?")
    event = only(walk.run(SALESFORCE_API.ticket(CONFIG, CASE[:15])))
    assert event.ticket == CASE
    assert (event.fields.customer_id, event.fields.subject) == ("003580000012345AAA", "The zip is broken & more")
    assert (event.fields.channel, event.fields.status, event.fields.priority) == ("email", "pending", "high")
    assert event.fields.tags is None
    assert [(message.content[:9], message.from_agent, message.internal) for message in event.messages] == [
        ("It came l", False, False),
        ("Look at t", True, True),
        ("Any news?", False, False),
    ]


def test_description_that_is_also_the_first_email_comes_once(walk: Walk, vendor: SalesforceSimulator) -> None:
    """A case by e-mail has its first message in both places."""
    vendor.receive(CASE, "It came like that.\n")
    (message,) = only(walk.run(SALESFORCE_API.ticket(CONFIG, CASE))).messages
    assert message.key.startswith("02s")


def test_organisation_without_email_is_asked_without(walk: Walk, vendor: SalesforceSimulator) -> None:
    """Where cases know no e-mails, the query is made again without them."""
    vendor.has_mail = False
    assert only(walk.run(SALESFORCE_API.ticket(CONFIG, CASE))).messages[0].content == "It came like that."


def test_comments_that_come_in_several_pages_are_all_read(walk: Walk, vendor: SalesforceSimulator) -> None:
    """The vendor gives the rest at another address."""
    vendor.child_page = 2
    for number in range(5):
        walk.run(SALESFORCE_API.write(CONFIG, CASE, AddNote("note", f"[rapport {number}]")))
    assert len(only(walk.run(SALESFORCE_API.ticket(CONFIG, CASE))).messages) == 6


def test_comment_of_a_portals_user_is_the_customers(walk: Walk, vendor: SalesforceSimulator) -> None:
    """The type of the user says who it is."""
    author = {"Name": "Anna", "UserType": "CspLitePortal"}
    comment = {"Id": "00a1", "CommentBody": "Hello", "IsPublished": True, "CreatedDate": "2026-11-20T10:00:09.000+0000"}
    vendor.cases[CASE]["CaseComments"].append({**comment, "CreatedBy": author})
    message = only(walk.run(SALESFORCE_API.ticket(CONFIG, CASE))).messages[-1]
    assert (message.from_agent, message.internal, message.author_name) == (False, False, "Anna")


@pytest.mark.parametrize("ticket", [case_id(9), "001A0000006Vm9rIAC", "", "500' OR Id != '", "../../x"])
def test_case_that_is_not_there_is_told_so(walk: Walk, ticket: str) -> None:
    """An id that is no case's is never made a part of a query."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        walk.run(SALESFORCE_API.ticket(CONFIG, ticket))
    assert all("OR Id !=" not in value for call in walk.calls for _, value in call.query)


def test_changes_are_walked_through_by_time_and_id(walk: Walk, vendor: SalesforceSimulator) -> None:
    """Cases that changed in the same second are told apart by their ids; each is read once."""
    for number in range(2, 2 * PAGE + 10):
        case = vendor.open_case(number, "Another", "Text")
        vendor.cases[case]["SystemModstamp"] = "2026-11-21T10:00:00.000+0000"
    found: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = walk.run(SALESFORCE_API.changes(CONFIG, LONG_AGO, cursor))
        found += tickets(page.events)
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(vendor.cases)
    since = datetime(2026, 11, 22, tzinfo=UTC)
    assert walk.run(SALESFORCE_API.changes(CONFIG, since, None)).events == []


@pytest.mark.parametrize("cursor", ["", "x", "2026-11-20T10:00:00Z/500' OR Id != '", f"2026-11-20T10:00:00Z/{CASE}'"])
def test_cursor_of_another_kind_is_refused(walk: Walk, cursor: str) -> None:
    """A cursor is not made into a query before it was looked at."""
    with pytest.raises(ApiError, match="CURSOR_INVALID"):
        walk.run(SALESFORCE_API.changes(CONFIG, LONG_AGO, cursor))


@pytest.mark.parametrize(("priority", "word"), [("urgent", "High"), ("normal", "Medium"), ("low", "Low")])
def test_priority_is_written_in_the_usual_words_and_once(
    walk: Walk, vendor: SalesforceSimulator, priority: Priority, word: str
) -> None:
    """The default picklist has three; the highest two of ours are one there."""
    vendor.change(CASE, Priority="Other")
    assert walk.run(SALESFORCE_API.write(CONFIG, CASE, SetPriority(priority)))
    assert vendor.cases[CASE]["Priority"] == word
    assert not walk.run(SALESFORCE_API.write(CONFIG, CASE, SetPriority(priority)))


@pytest.mark.parametrize("change", [AddNote("Give 10 %.", "[rapport 7]"), SendReply("We send a new one.", "rapport-8")])
def test_note_and_reply_stand_there_once_after_any_crash(
    vendor: SalesforceSimulator, change: AddNote | SendReply
) -> None:
    """The process ends after the vendor has it and before it knows: the next one finds it."""
    dying = logged_in(vendor)
    dying.crashes = lambda call: call.path.endswith("CaseComment")
    with pytest.raises(CrashError):
        dying.run(SALESFORCE_API.write(CONFIG, CASE, change))
    assert not logged_in(vendor).run(SALESFORCE_API.write(CONFIG, CASE, change))
    (comment,) = vendor.cases[CASE]["CaseComments"]
    assert comment["IsPublished"] is isinstance(change, SendReply)


def test_long_note_is_cut_with_its_marker_whole(walk: Walk, vendor: SalesforceSimulator) -> None:
    """A comment has 4000 bytes, not characters; the marker at its end is what must not be lost."""
    change = AddNote("Größe " * 1000, "[rapport 7]")
    assert walk.run(SALESFORCE_API.write(CONFIG, CASE, change))
    body = vendor.cases[CASE]["CaseComments"][0]["CommentBody"]
    assert len(body.encode()) <= 4000
    assert body.endswith("[rapport 7]")
    assert not walk.run(SALESFORCE_API.write(CONFIG, CASE, change))


def test_tags_are_no_thing_of_cases(walk: Walk) -> None:
    """They are not among the changes, and asked for all the same they are refused before anything is written."""
    assert AddTags not in SALESFORCE_API.can
    with pytest.raises(ApiError, match="CHANGE_NOT_POSSIBLE"):
        walk.run(SALESFORCE_API.write(CONFIG, CASE, AddTags(["vip"])))
    assert [call.path for call in walk.writes()] == ["/services/oauth2/token"]


def test_access_token_is_got_by_a_signed_assertion(vendor: SalesforceSimulator) -> None:
    """With a private key there is no refresh token: each time an assertion is signed anew, for a few minutes."""
    walk = Walk(SALESFORCE_API, vendor, JWT, {"private_key": vendor.private_key})
    assert walk.run(SALESFORCE_API.account(JWT)) == "00D58000000LTzD"
    assert set(walk.credentials) == {"private_key", "access_token"}


def test_assertion_is_dated_by_the_clock_and_ends(vendor: SalesforceSimulator) -> None:
    """One that is made by a clock an hour behind is refused, and the reason says nothing of the key."""
    api = SalesforceApi(lambda: datetime.now(UTC) - timedelta(hours=1))
    walk = Walk(api, vendor, JWT, {"private_key": vendor.private_key})
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED"):
        walk.renew()


@pytest.mark.parametrize("key", ["no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_private_key_that_is_none_is_told(vendor: SalesforceSimulator, key: str) -> None:
    """Nothing is sent, and nothing of it is told."""
    walk = Walk(SALESFORCE_API, vendor, JWT, {"private_key": key})
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED") as raised:
        walk.renew()
    assert (walk.calls, key in str(raised.value)) == ([], False)


def test_credentials_of_another_organisation_are_refused(vendor: SalesforceSimulator) -> None:
    """The token's answer says whose it is; a foreign one is not stored."""
    vendor.org_id = "00D58000000OtherEAW"
    with pytest.raises(ApiError, match="ACCOUNT_MISMATCH"):
        logged_in(vendor).renew()


def test_refresh_token_that_has_ended_is_told(vendor: SalesforceSimulator) -> None:
    """The reason names what is wrong, and nothing of the token."""
    walk = logged_in(vendor)
    walk.credentials["refresh_token"] = "ended-token"
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED") as raised:
        walk.renew()
    assert "ended-token" not in str(raised.value)


def test_limit_of_the_day_is_read_from_the_header(vendor: SalesforceSimulator) -> None:
    """The header counts what is used; over it a 403 says so."""
    assert SALESFORCE_API.pace(Reply(200, {"sforce-limit-info": "api-usage=18/5000"}, b"")) == Pace(4982, 86_400.0)
    assert SALESFORCE_API.pace(Reply(200, {}, b"")) is None
    over = Reply(403, {}, b'[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"over"}]')
    assert SALESFORCE_API.pace(over) == Pace(0, 900.0)
    assert SALESFORCE_API.pace(Reply(403, {}, b'[{"errorCode":"INSUFFICIENT_ACCESS"}]')) is None
    assert vendor.used == 0


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"records":[{"Id":"x"}],"done":true}', b'{"records":[7]}'])
def test_answer_of_another_form_is_told(answer: bytes) -> None:
    """What is no case makes no event."""
    steps = SALESFORCE_API.ticket(CONFIG, CASE)
    next(steps)
    with pytest.raises(ApiError, match="ANSWER_NOT_UNDERSTOOD"):
        steps.send(Reply(200, {}, answer))


@pytest.mark.parametrize(
    "address",
    [
        "http://acme.my.salesforce.com",
        "https://acme.my.salesforce.com.evil",
        "https://evil/acme.my.salesforce.com",
        "https://salesforce.com@evil",
        "https://acme.my.salesforce.com/path",
        "https://acme.my.salesforce.com:8443",
        "https://ACME.my.salesforce.com",
        "https://salesforce.com",
    ],
)
def test_address_of_another_host_is_no_setting(address: str) -> None:
    """What is called is below the vendor's own domains, over https."""
    pattern = SALESFORCE.settings["instance_url"].pattern
    assert pattern.fullmatch("https://acme--dev.sandbox.my.salesforce.com")
    assert not pattern.fullmatch(address)
