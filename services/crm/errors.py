"""The errors of the crm service; their reasons are those of `rapport.crm.v1.ErrorReason`."""

from servicekit.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)


class WebhookRefusedError(UnauthenticatedError):
    """A webhook did not prove itself; why is told to nobody outside."""


class AddressesBusyError(UnavailableError):
    """Too many addresses at which nobody was found lately wait to be looked up."""

    def __init__(self) -> None:
        super().__init__("Too many unknown addresses are being looked up.", retry_after=1)


class WebhookTooLargeError(TooLargeError):
    """A webhook's body is larger than what is looked at."""


class ProviderUnknownError(InvalidArgumentError):
    """There is no provider of that name."""


class ConnectionInvalidError(InvalidArgumentError):
    """The configuration or the secrets do not fit the provider; the violations say which."""


class SecretPublicError(InvalidArgumentError):
    """The secret is published in the provider's documentation."""


class ConnectionNotFoundError(NotFoundError):
    """The connection does not exist in the caller's tenant."""


class SecretOverlapFullError(PreconditionError):
    """Too many webhook secrets of the connection are active at once."""


class AddressOverlapFullError(PreconditionError):
    """Too many addresses of the connection are open at once."""


class AppNotFoundError(NotFoundError):
    """The app does not exist."""


class AppUnsuitedError(InvalidArgumentError):
    """The provider has no apps: each connection has a secret of its own there."""


class AccountTakenError(AlreadyExistsError):
    """Another connection has proved before that the account is its own."""


class PredecessorModeError(InvalidArgumentError):
    """Predecessor mode is not for this provider, or its end is past or too far away."""


class PredecessorTokenTakenError(AlreadyExistsError):
    """The token opens the predecessor's path for another connection."""


class DeliveryNotFoundError(NotFoundError):
    """The delivery does not exist in the caller's tenant."""


class DeliveryStateError(PreconditionError):
    """The delivery's state does not allow the step."""


class WriteBackOffError(PreconditionError):
    """The tenant does not write back to its helpdesk."""

    def __init__(self) -> None:
        super().__init__("Writing back is off for this shop: the feature write_back turns it on.")


class WriteNotFoundError(NotFoundError):
    """The change does not exist in the caller's tenant."""


class WriteStateError(PreconditionError):
    """The change's state does not allow the step."""


class ReplyNotConfirmedError(PreconditionError):
    """The change is a reply to a customer, and nobody said that it is to be sent."""


class TicketNotFoundError(NotFoundError):
    """The ticket does not exist in the caller's tenant."""


class TicketNotExternalError(PreconditionError):
    """The ticket was made here and stands at no helpdesk."""

    def __init__(self) -> None:
        super().__init__("The ticket stands at no helpdesk.")


class OperationUnsupportedError(PreconditionError):
    """The provider has no such thing."""


class RequestIdReusedError(AlreadyExistsError):
    """The request id stands for another change."""

    def __init__(self) -> None:
        super().__init__("The request id stands for another change.")


class CredentialsMissingError(PreconditionError):
    """The connection lacks the credentials with which the provider is called."""


class PeerUnavailableError(UnavailableError):
    """A service that must be asked does not answer."""

    def __init__(self, service: str) -> None:
        super().__init__(
            f"The service {service} does not answer; try again.", metadata={"service": service}, retry_after=1
        )


class DeliveryErasedError(PreconditionError):
    """What the provider had sent was erased with its customer."""
