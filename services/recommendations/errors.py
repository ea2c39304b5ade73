"""What this service refuses, by reason; each has its value in `rapport.recommendations.v1.ErrorReason`."""

from servicekit.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionError,
    QuotaError,
    UnavailableError,
)


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


class ModelNotFoundError(NotFoundError):
    """The shop's model has no such version."""


class ProductNotFoundError(NotFoundError):
    """No such product."""


class ProductModelNotFoundError(NotFoundError):
    """No such version of the product model."""


class TooManyProductsError(PreconditionError):
    """The catalogue would hold more products than it may."""


class WritingModelUnknownError(InvalidArgumentError):
    """No configured language model has this name."""


class WritingBudgetMissingError(InvalidArgumentError):
    """A language model may write, but no money is there for its calls."""


class ConversationMovedOnError(ConflictError):
    """The conversation moved on again and again while it was being answered."""


class CustomerMergedError(PreconditionError):
    """The customer is merged into another one."""


class MergeNotFoundError(NotFoundError):
    """No such merge."""


class IdentityInvalidError(InvalidArgumentError):
    """What was stated as a stable id is none."""


class TooManyConnectedError(PreconditionError):
    """More of the shop's ids are connected by what is stated than are looked at together."""


class CustomersBusyError(ConflictError):
    """Others change the shop's orders or customers; the turn did not come in time."""


class ShopCurrencyUnknownError(PreconditionError):
    """The shop has no currency yet that a rate could be into."""


class ExchangeRateInvalidError(InvalidArgumentError):
    """The rate is of the shop's own currency, no positive number, or of a day that is none."""


class ArticleNotFoundError(NotFoundError):
    """No such article."""

    def __init__(self, article: str) -> None:
        super().__init__("There is no such article.", metadata={"article": article})


class ArticleInvalidError(InvalidArgumentError):
    """Nothing can be made of the article: it lacks a text or a title."""

    def __init__(self, lacks: str) -> None:
        super().__init__(f"Nothing can be made of the article: it has no {lacks}.", metadata={"lacks": lacks})


class ArticleTooLongError(InvalidArgumentError):
    """The article's text is longer than one may be."""

    def __init__(self, characters: int, limit: int) -> None:
        super().__init__(
            f"The article has {characters:,} characters; one may have {limit:,}.",
            metadata={"characters": str(characters), "limit": str(limit)},
        )


class ArticleExistsError(AlreadyExistsError):
    """Another article has this source already."""

    def __init__(self, source: str) -> None:
        super().__init__("An article of this source is there already; change that one.", metadata={"source": source})


class KnowledgeFullError(QuotaError):
    """The tenant keeps as many articles or passages as it may."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"A shop keeps at most {limit:,} {what}.", metadata={"what": what, "limit": str(limit)})


class RecommendationNotFoundError(NotFoundError):
    """An attribution token names no recommendation of the tenant that is still there."""


class RecommendationEventInvalidError(InvalidArgumentError):
    """An event does not fit its recommendation or its kind."""


class ActionPolicyInvalidError(InvalidArgumentError):
    """The policy file is wrong or contradicts itself."""


class ActionPolicyNotFoundError(NotFoundError):
    """The tenant has no such version of a policy of actions."""

    def __init__(self, version: int) -> None:
        super().__init__(f"There is no version {version} of the policy.", metadata={"version": str(version)})
