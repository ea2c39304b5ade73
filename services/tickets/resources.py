"""Between plain values and the messages of `rapport.tickets.v1`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1 import (
    conversation_service_pb2,
    ingest_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
    ticket_work_pb2,
)

from servicekit.timestamps import timestamp
from services.tickets import history, life, scoring
from services.tickets.cards import Filters
from services.tickets.desk import etag_of
from services.tickets.erasure_store import ErasedTicket
from services.tickets.errors import FieldNotWritableError, NothingToChangeError
from services.tickets.explaining import Explained
from services.tickets.ingest import Event, ExternalMessage, Outcome, Taken
from services.tickets.rows import Stored
from services.tickets.tickets import Change, Message, Note, Ticket
from services.tickets.wording import Part
from services.tickets.working import Handled

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799
_WRITABLE = ("subject", "priority", "assigned_to", "tags")
# With at most 50 messages, and four bytes to a character, an answer stays below the 2 MiB that a message may have.
_CONVERSATION_TEXT = 10_000
_OUTCOMES = {
    Outcome.APPLIED: ingest_service_pb2.IngestResult.OUTCOME_APPLIED,
    Outcome.DUPLICATE: ingest_service_pb2.IngestResult.OUTCOME_DUPLICATE,
    Outcome.SUPERSEDED: ingest_service_pb2.IngestResult.OUTCOME_SUPERSEDED,
}


class FilterFields(Protocol):
    """A request that narrows a list."""

    status: str
    priority: str
    channel: str
    assigned_to: str
    customer_id: str


def moment(given: Timestamp) -> datetime:
    """Return a timestamp's moment; one outside the years 1970 to 9999 is moved to their border."""
    seconds = min(max(given.seconds, 0), _LAST_SECOND)
    return _EPOCH + timedelta(seconds=seconds, microseconds=min(max(given.nanos, 0), 999_999_999) // 1000)


def filters_of(request: FilterFields) -> Filters:
    """Return what a request narrows its list to."""
    return Filters(request.status, request.priority, request.channel, request.assigned_to, request.customer_id)


def listed_filters(request: ticket_service_pb2.ListTicketsRequest) -> Filters:
    """Return the same of a list of the public API, which may be narrowed further."""
    before = moment(request.due_before) if request.HasField("due_before") else None
    return replace(filters_of(request), due_before=before, breached=request.breached)


def ticket(stored: Stored) -> ticket_pb2.Ticket:
    """Return a ticket as the public API shows it, with its score as of now."""
    one = stored.ticket
    return ticket_pb2.Ticket(
        id=str(one.id),
        number=one.number_text,
        customer_id=one.customer_id,
        subject=one.subject,
        channel=one.channel,
        status=one.status,
        priority=one.priority,
        assigned_to=one.assigned_to,
        tags=one.tags,
        create_time=timestamp(one.create_time),
        update_time=timestamp(one.update_time),
        close_time=timestamp(one.close_time) if one.close_time else None,
        smart_score=scoring.score_micros(stored.policy, stored.rank.key, datetime.now(UTC)) / 1_000_000,
        message_count=stored.message_count,
        etag=etag_of(one),
        snooze_until=timestamp(one.snooze_until) if one.snooze_until else None,
        pinned=one.pinned,
        escalated=one.escalated,
        merged_into=str(one.merged_into or ""),
        merged_from=[str(member) for member in one.merged_from],
        first_response_due=_due(one.clocks.first_response_due),
        next_response_due=_due(one.clocks.next_response_due),
        resolution_due=_due(one.clocks.resolution_due),
        breached=one.clocks.breached,
    )


def _due(moment_due: datetime | None) -> Timestamp | None:
    return None if moment_due is None else timestamp(moment_due)


def message(one: Message) -> ticket_pb2.Message:
    """Return a message as the public API shows it."""
    return ticket_pb2.Message(
        id=str(one.id),
        ticket_id=str(one.ticket_id),
        from_agent=one.from_agent,
        content=one.content,
        author_name=one.author_name,
        author_email=one.author_email,
        author_id=one.author_id,
        create_time=timestamp(one.create_time),
    )


def note(one: Note) -> ticket_pb2.Note:
    """Return a note as the public API shows it."""
    return ticket_pb2.Note(
        id=str(one.id),
        ticket_id=str(one.ticket_id),
        content=one.content,
        author_name=one.author_name,
        author_id=one.author_id,
        create_time=timestamp(one.create_time),
    )


def explanation(explained: Explained) -> ticket_pb2.Explanation:
    """Return why a ticket stands where it stands."""
    score = explained.score
    return ticket_pb2.Explanation(
        ticket_id=str(explained.stored.ticket.id),
        ticket_number=explained.stored.ticket.number_text,
        score_micros=score.micros,
        score=score.points,
        parts=[score_part(part) for part in score.parts],
        policy=score.policy.label,
        score_time=timestamp(score.moment),
        tier=explained.facts.tier.name.lower(),
        counterfactuals=[
            ticket_pb2.Counterfactual(name=one.name, places=one.places, sentence=one.sentence)
            for one in explained.counterfactuals
        ],
    )


def score_part(part: Part) -> ticket_pb2.ScorePart:
    """Return one part of a score."""
    return ticket_pb2.ScorePart(
        name=part.name,
        micros=part.micros,
        points=part.micros / 1_000_000,
        input=part.input,
        origin=part.origin,
        sentence=part.sentence,
    )


def change_of(request: ticket_service_pb2.UpdateTicketRequest) -> Change:
    """Return the change that an update asks for: the fields of its mask, or without one those that are not empty.

    Raises:
        FieldNotWritableError: the mask names something else than the fields that can be written.
        NothingToChangeError: no field is left.
    """
    given = request.ticket
    paths = list(request.update_mask.paths)
    for path in paths:
        if path not in {*_WRITABLE, "*", "id"}:
            raise FieldNotWritableError(path)
    if "*" in paths:
        names = set(_WRITABLE)
    elif paths:
        names = set(paths) - {"id"}
    else:
        names = {name for name in _WRITABLE if getattr(given, name)}
    change = Change(
        subject=given.subject if "subject" in names else None,
        priority=(given.priority or "normal") if "priority" in names else None,
        assigned_to=given.assigned_to if "assigned_to" in names else None,
        tags=tuple(given.tags) if "tags" in names else None,
        add_tags=tuple(request.add_tags),
        remove_tags=tuple(request.remove_tags),
    )
    if change.is_empty():
        raise NothingToChangeError
    return change


def step_of(action: ticket_work_pb2.BulkAction) -> life.Step:
    """Return what a bulk call does to each ticket.

    Raises:
        NothingToChangeError: it names no field that could change.
    """
    which = action.WhichOneof("action") or ""
    if which == "change":
        given = action.change
        change = Change(
            priority=given.priority if given.HasField("priority") else None,
            assigned_to=given.assigned_to if given.HasField("assigned_to") else None,
            add_tags=tuple(given.add_tags),
            remove_tags=tuple(given.remove_tags),
        )
        if change.is_empty():
            raise NothingToChangeError
        return life.changing(change)
    if which == "snooze":
        return life.snoozing(moment(action.snooze.until))
    return life.escalating(action.escalate.reason) if which == "escalate" else life.STEPS[which]


def outcome(one: Handled) -> ticket_work_pb2.BulkOutcome:
    """Return what became of one ticket of a bulk call."""
    return ticket_work_pb2.BulkOutcome(
        ticket=one.reference,
        changed=ticket(one.stored) if one.stored else None,
        reason=one.refusal.reason if one.refusal else "",
        detail=one.refusal.detail if one.refusal else "",
    )


def entry(one: history.Entry) -> ticket_work_pb2.HistoryEntry:
    """Return what happened to a ticket."""
    return ticket_work_pb2.HistoryEntry(
        id=str(one.id),
        action=one.action,
        principal=one.principal,
        create_time=timestamp(one.create_time),
        fields=[
            ticket_work_pb2.FieldChange(name=field.name, before=field.before, after=field.after) for field in one.fields
        ],
        details=one.details,
    )


def event(given: ingest_service_pb2.TicketEvent) -> Event:
    """Return a helpdesk's event."""
    fields: dict[str, Any] = {
        name: getattr(given.fields, name)
        for name in ("customer_id", "subject", "channel", "status", "priority")
        if given.fields.HasField(name)
    }
    if given.fields.HasField("tags"):
        fields["tags"] = tuple(given.fields.tags.tags)
    return Event(
        event_id=given.event_id,
        connection_id=UUID(given.connection_id),
        provider=given.provider,
        external_id=given.external_ticket_id,
        occurred=moment(given.occur_time),
        fields=fields,
        created=moment(given.fields.create_time) if given.fields.HasField("create_time") else None,
        messages=[
            ExternalMessage(
                external_id=one.external_message_id,
                content=one.content,
                from_agent=one.from_agent,
                internal=one.internal,
                author_name=one.author_name,
                author_email=one.author_email,
                created=moment(one.create_time) if one.HasField("create_time") else None,
            )
            for one in given.messages
        ],
    )


def result(taken: Taken) -> ingest_service_pb2.IngestResult:
    """Return what an event came to."""
    return ingest_service_pb2.IngestResult(
        outcome=_OUTCOMES[taken.outcome], ticket_id=str(taken.ticket_id), changed=taken.changed
    )


def conversation(one: Ticket, messages: Sequence[Message]) -> conversation_service_pb2.Conversation:
    """Return a ticket's conversation as other services read it, with the beginning of each text."""
    return conversation_service_pb2.Conversation(
        ticket_id=str(one.id),
        ticket_number=one.number_text,
        customer_id=one.customer_id,
        subject=one.subject,
        channel=one.channel,
        status=one.status,
        priority=one.priority,
        version=one.conversation_version,
        connection_id=str(one.connection_id) if one.connection_id else "",
        external_ticket_id=one.external_id or "",
        messages=[
            conversation_service_pb2.ConversationMessage(
                id=str(each.id),
                from_agent=each.from_agent,
                content=each.content[:_CONVERSATION_TEXT],
                author_name=each.author_name,
                create_time=timestamp(each.create_time),
            )
            for each in messages
        ],
    )


def erased(ticket: ErasedTicket) -> ticket_service_pb2.ErasedTicket:
    """Return a ticket that was erased, by its names."""
    return ticket_service_pb2.ErasedTicket(
        id=str(ticket.id), connection=str(ticket.connection_id or ""), external_id=ticket.external_id or ""
    )
