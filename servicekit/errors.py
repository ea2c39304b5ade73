"""The errors that a service may raise: families that know what kind of refusal they are, and nothing of any protocol.

A service subclasses a family; the machine-readable reason follows from the class name:
`class TicketNotFoundError(NotFoundError)` has the reason `TICKET_NOT_FOUND`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self
from uuid import UUID

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def reason_of(class_name: str) -> str:
    """Return the reason for an error class: `TicketNotFoundError` becomes `TICKET_NOT_FOUND`."""
    return _WORD.sub("_", class_name.removesuffix("Error")).upper()


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong.

    `field` is its dotted path (`ticket.subject`), `description` a sentence for people without the field's content and
    `rule` the id of the broken rule (`string.max_len`), empty where there is none.
    """

    field: str
    description: str
    rule: str = ""


class DomainError(Exception):
    """Something that the caller may be told: a reason for programs, a detail for people, no content and no secrets.

    `metadata` holds the changing parts of the detail, `violations` the fields at fault, `retry_after` the seconds after
    which a repetition makes sense (None: not known).
    """

    reason: ClassVar[str] = "DOMAIN"
    domain: ClassVar[str] = "rapport"
    http_status: int | None = None
    """The status over REST where it is not that of the family."""

    def __init__(
        self,
        detail: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.metadata: Mapping[str, str] = metadata or {}
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reason = reason_of(cls.__name__)


class InvalidArgumentError(DomainError):
    """The request is wrong whatever the state of the world."""


class NotFoundError(DomainError):
    """The thing does not exist, or not for this caller: both look the same from outside."""


class AlreadyExistsError(DomainError):
    """The thing to be made exists."""


class OutOfRangeError(DomainError):
    """What the caller goes on from lies outside of what is kept; starting anew works."""


class PreconditionError(DomainError):
    """The state of the thing does not allow this; another call must change it first."""


class ConflictError(DomainError):
    """Somebody else was faster: read again and repeat."""


class QuotaError(DomainError):
    """The caller has used up what it may use."""


class TooLargeError(DomainError):
    """What the caller sent is larger than what is taken."""


class UnauthenticatedError(DomainError):
    """The caller has not shown who it is."""


class PermissionDeniedError(DomainError):
    """The caller is known and may not do this."""


class UnavailableError(DomainError):
    """Something this service needs is out of reach; a repetition may work."""


class DeadlineError(DomainError):
    """The time that the call may take is over."""


class InternalError(DomainError):
    """Something is broken here; what it is stands in the log only."""


class RequestInvalidError(InvalidArgumentError):
    """Fields of the request break the rules of the contract; the violations name them."""


class CredentialInvalidError(UnauthenticatedError):
    """The credential is missing, malformed, expired, revoked, or of a tenant that is refused: all look the same."""

    names: tuple[UUID, str] | None = None
    """Whose credential was refused, where that is known: the tenant and the subject. For the audit log, never told."""

    def naming(self, tenant_id: UUID | None, subject: str) -> Self:
        """Say whose credential was refused."""
        self.names = (tenant_id, subject) if tenant_id is not None else None
        return self


class ScopeMissingError(PermissionDeniedError):
    """The token does not hold the scope that the method needs."""


class TenantRequiredError(PermissionDeniedError):
    """The method works inside one tenant and the token is bound to none."""


class HostMismatchError(PermissionDeniedError):
    """The host of the request is not one of the credential's tenant."""


class OriginNotAllowedError(PermissionDeniedError):
    """The credential may not be used by a page of this origin, or only by pages and the request is of none."""


class TrustStaleError(UnavailableError):
    """The set of keys and revocations is too old to judge a token by."""


class DatabaseUnavailableError(UnavailableError):
    """The database is out of reach."""
