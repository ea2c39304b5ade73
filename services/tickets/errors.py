"""What the tickets service may refuse; the reason of each stands in `rapport.tickets.v1.ErrorReason`."""

from servicekit.errors import (
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


class TimeZoneUnknownError(InvalidArgumentError):
    """The calendar names a time zone that does not exist."""

    def __init__(self, time_zone: str) -> None:
        super().__init__(
            "There is no such time zone; name it as the IANA database does, such as Europe/Berlin.",
            metadata={"time_zone": time_zone[:64]},
            violations=[FieldViolation("calendar.time_zone", "names no time zone")],
        )


class CalendarInvalidError(InvalidArgumentError):
    """The calendar has impossible hours, too little work, or holidays that nobody knows."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(
            f"The calendar is invalid: {field} {problem}.",
            metadata={"field": field},
            violations=[FieldViolation(f"calendar.{field}", problem)],
        )
