"""What the tickets service may refuse; the reason of each stands in `rapport.tickets.v1.ErrorReason`."""

from uuid import UUID

from servicekit.errors import (
    AlreadyExistsError,
    FieldViolation,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    QuotaError,
)


class TicketNotFoundError(NotFoundError):
    """No ticket of the tenant has this id or number."""

    def __init__(self, reference: str) -> None:
        super().__init__("There is no such ticket.", metadata={"ticket": reference[:64]})


class TicketAlreadyClosedError(PreconditionError):
    """The ticket is closed already."""

    def __init__(self, number: str) -> None:
        super().__init__(f"Ticket {number} is closed already.", metadata={"ticket": number})


class TicketNotClosedError(PreconditionError):
    """The ticket is not closed, so it cannot be reopened."""

    def __init__(self, number: str) -> None:
        super().__init__(f"Ticket {number} is not closed.", metadata={"ticket": number})


class NothingToChangeError(InvalidArgumentError):
    """The request names no field that could change."""

    def __init__(self) -> None:
        super().__init__("The request names nothing to change; is a field's name misspelt?")


class FieldNotWritableError(InvalidArgumentError):
    """The update mask names a path that is unknown or cannot be written."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"The field {path[:64]!r} cannot be written.",
            metadata={"path": path[:64]},
            violations=[FieldViolation("update_mask", "names a field that cannot be written")],
        )


class TagsInvalidError(InvalidArgumentError):
    """A tag is empty, too long, not a string, or there are too many."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The tags are invalid: {problem}.", violations=[FieldViolation("tags", problem)])


class TopicAlertsInvalidError(InvalidArgumentError):
    """A topic alert is too long, or there are too many."""

    def __init__(self, problem: str, limit: int) -> None:
        super().__init__(
            f"The topic alerts are invalid: {problem}.",
            metadata={"limit": str(limit)},
            violations=[FieldViolation("topic_alerts", problem)],
        )


class ConversationFullError(PreconditionError):
    """The ticket holds as many messages and notes as it may."""

    def __init__(self, number: str, limit: int) -> None:
        super().__init__(
            f"Ticket {number} holds {limit} messages and notes already.",
            metadata={"ticket": number, "limit": str(limit)},
        )


class ResumeTokenInvalidError(InvalidArgumentError):
    """The token to go on from is none that a watch of this tenant gave out."""

    def __init__(self) -> None:
        super().__init__("The token to go on from is not one that a watch of this inbox gave out.")


class ResumeTokenExpiredError(OutOfRangeError):
    """What happened since the token was given out is no longer kept."""

    def __init__(self) -> None:
        super().__init__("What changed since then is no longer kept: read the list and start anew without a token.")


class TooManyWatchersError(QuotaError):
    """The tenant has as many watchers at this process as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} streams of this inbox are open already; close one.",
            metadata={"limit": str(limit)},
            retry_after=5,
        )


class TooManyReplaysError(QuotaError):
    """As many replays of the past are under way or wait as may, of the tenant or of all."""

    def __init__(self) -> None:
        super().__init__("Replays are under way already; ask again when they are done.", retry_after=5)


class TimeZoneUnknownError(InvalidArgumentError):
    """The calendar names a time zone that does not exist."""

    def __init__(self, time_zone: str) -> None:
        super().__init__(
            "There is no such time zone; name it as the IANA database does, such as Europe/Berlin.",
            metadata={"time_zone": time_zone[:64]},
            violations=[FieldViolation("calendar.time_zone", "names no time zone")],
        )


class SlaTargetsInvalidError(InvalidArgumentError):
    """A target is for an unknown priority or a tag that is named twice, or its hours are impossible."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"The targets are invalid: {where} {problem}.",
            metadata={"field": where},
            violations=[FieldViolation(f"targets.{where}", problem)],
        )


class CalendarInvalidError(InvalidArgumentError):
    """The calendar has impossible hours, too little work, or holidays that nobody knows."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"The calendar is invalid: {field} {problem}.",
            metadata={"field": field},
            violations=[FieldViolation(f"calendar.{field}", problem)],
        )


class SnoozeTimeInvalidError(InvalidArgumentError):
    """The moment until which to snooze is past, or too far away."""

    def __init__(self, days: int) -> None:
        problem = f"must be a moment in the next {days} days"
        super().__init__(
            f"A ticket is snoozed until a moment in the next {days} days.",
            metadata={"limit_days": str(days)},
            violations=[FieldViolation("until", problem)],
        )


class TicketNotSnoozedError(PreconditionError):
    """The ticket is not snoozed, so it cannot be woken."""

    def __init__(self, number: str) -> None:
        super().__init__(f"Ticket {number} is not snoozed.", metadata={"ticket": number})


class TicketMergedError(PreconditionError):
    """Another ticket goes on in its stead."""

    def __init__(self, number: str, into: UUID) -> None:
        super().__init__(
            f"Ticket {number} was merged into another one; undo that first.",
            metadata={"ticket": number, "into": str(into)},
        )


class TicketNotMergedError(PreconditionError):
    """The ticket was not merged, so there is nothing to undo."""

    def __init__(self, number: str) -> None:
        super().__init__(f"Ticket {number} was not merged.", metadata={"ticket": number})


class MergeInvalidError(InvalidArgumentError):
    """A ticket cannot be merged into itself."""

    def __init__(self, number: str) -> None:
        super().__init__(
            f"Ticket {number} cannot be merged into itself.",
            metadata={"ticket": number},
            violations=[FieldViolation("into", "must name another ticket")],
        )


class TooManyMergedError(PreconditionError):
    """As many tickets go on in this one as may."""

    def __init__(self, number: str, limit: int) -> None:
        super().__init__(
            f"{limit} tickets at most go on in ticket {number}.", metadata={"ticket": number, "limit": str(limit)}
        )


class PolicyInvalidError(InvalidArgumentError):
    """The policy of the inbox has an unknown name or weight, or a value outside of its range."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"The policy is invalid: {field} {problem}.",
            metadata={"field": field},
            violations=[FieldViolation(f"policy.{field}", problem)],
        )


class PolicyNotFoundError(NotFoundError):
    """The tenant's inbox has no such version of a policy."""

    def __init__(self, version: int) -> None:
        super().__init__(f"There is no version {version} of the policy.", metadata={"version": str(version)})


class ComparisonWithItselfError(InvalidArgumentError):
    """Both tickets to compare are the same one."""

    def __init__(self, number: str) -> None:
        super().__init__(f"{number} cannot be compared with itself.", metadata={"ticket": number})


class StatusesDifferError(PreconditionError):
    """The tickets to compare stand in different lists, so neither is above the other."""

    def __init__(self, one: str, status: str, other: str, other_status: str) -> None:
        super().__init__(
            f"{one} is {status} and {other} is {other_status}; places are compared among tickets of one status.",
            metadata={"status": status, "other_status": other_status},
        )


class SearchQueryInvalidError(InvalidArgumentError):
    """The text to search for names nothing to search for, or too much."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The query is invalid: {problem}.", violations=[FieldViolation("query", problem)])


class PageOrderGoneError(OutOfRangeError):
    """The order of the inbox changed since the list was begun, and the former one is no longer kept."""

    def __init__(self) -> None:
        super().__init__("The order of the inbox changed since this list was begun; start from the first page.")


class KeywordRulesInvalidError(InvalidArgumentError):
    """A keyword rule has a name, a phrase or a level that is none, or there are too many of them."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"The keyword rules are invalid: {field} {problem}.",
            metadata={"field": field},
            violations=[FieldViolation(field, problem)],
        )


class TopicAlertNotFoundError(NotFoundError):
    """The tenant has no topic alert with this id."""

    def __init__(self, alert: str) -> None:
        super().__init__("There is no such topic alert.", metadata={"topic_alert": alert})


class TopicAlertInvalidError(InvalidArgumentError):
    """The topic alert has no word in it, or ends in the past."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"The topic alert is invalid: {problem}.",
            metadata={"field": field},
            violations=[FieldViolation(field, problem)],
        )


class TopicAlertExistsError(AlreadyExistsError):
    """There is an alert for the same words."""

    def __init__(self, alert: str) -> None:
        super().__init__("There is a topic alert for the same words.", metadata={"topic_alert": alert})


class TooManyTopicAlertsError(PreconditionError):
    """The tenant has as many topic alerts as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A shop has at most {limit} topic alerts.", metadata={"limit": str(limit)})


class ImportInvalidError(InvalidArgumentError):
    """A ticket of an import contradicts itself."""

    def __init__(self, legacy_id: str, problem: str) -> None:
        super().__init__(f"A ticket cannot be imported: {problem}.", metadata={"legacy_id": legacy_id})
