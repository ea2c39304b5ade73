"""The errors of the crm service; their reasons are those of `rapport.crm.v1.ErrorReason`."""

from servicekit.errors import (
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


class DeliveryNotFoundError(NotFoundError):
    """The delivery does not exist in the caller's tenant."""


class DeliveryStateError(PreconditionError):
    """The delivery's state does not allow the step."""
