"""What this service refuses, by reason; each has its value in `rapport.recommendations.v1.ErrorReason`."""

from servicekit.errors import ConflictError, InvalidArgumentError, NotFoundError, PreconditionError, UnavailableError


class CustomerNotFoundError(NotFoundError):
    """No such customer, or not for this caller."""


class OrderNotFoundError(NotFoundError):
    """No such order."""


class OrderImportNotFoundError(NotFoundError):
    """No such import."""


class OrderImportCommittedError(PreconditionError):
    """The import was committed; nothing more can be appended."""


class OrderImportIncompleteError(PreconditionError):
    """The import does not hold as many lines as the sender appended."""


class OrderLinesInconsistentError(InvalidArgumentError):
    """The lines of one order disagree about its customer, time or currency."""


class TicketNotFoundError(NotFoundError):
    """No such ticket."""


class ConversationUnavailableError(UnavailableError):
    """The tickets service did not answer, so the conversation is not known."""


class ActionNotFoundError(NotFoundError):
    """The recommendation has no action at this place."""


class ArchetypeNotFoundError(NotFoundError):
    """No customer belongs to such an archetype."""


class ProductNotFoundError(NotFoundError):
    """No such product."""


class ProductModelNotFoundError(NotFoundError):
    """No such version of the product model."""


class WritingModelUnknownError(InvalidArgumentError):
    """No configured language model has this name."""


class WritingBudgetMissingError(InvalidArgumentError):
    """A language model may write, but no money is there for its calls."""


class ConversationMovedOnError(ConflictError):
    """The conversation moved on again and again while it was being answered."""
