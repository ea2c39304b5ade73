"""How a domain error is said on the wire: the gRPC status, its rich details, and the finished problem document."""

from dataclasses import dataclass
from http import HTTPStatus

import grpc
import orjson
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from servicekit import errors
from servicekit.errors import DomainError
from servicekit.etag import quoted


@dataclass(frozen=True, slots=True)
class Family:
    """What a family of errors is called by gRPC and by HTTP."""

    code: grpc.StatusCode
    http: int
    title: str


FAMILIES: dict[type[DomainError], Family] = {
    errors.InvalidArgumentError: Family(grpc.StatusCode.INVALID_ARGUMENT, 400, "Bad Request"),
    errors.NotFoundError: Family(grpc.StatusCode.NOT_FOUND, 404, "Not Found"),
    errors.AlreadyExistsError: Family(grpc.StatusCode.ALREADY_EXISTS, 409, "Conflict"),
    errors.OutOfRangeError: Family(grpc.StatusCode.OUT_OF_RANGE, 410, "Gone"),
    errors.PreconditionError: Family(grpc.StatusCode.FAILED_PRECONDITION, 400, "Bad Request"),
    errors.ConflictError: Family(grpc.StatusCode.ABORTED, 409, "Conflict"),
    errors.QuotaError: Family(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "Too Many Requests"),
    errors.TooLargeError: Family(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, "Content Too Large"),
    errors.UnauthenticatedError: Family(grpc.StatusCode.UNAUTHENTICATED, 401, "Unauthorized"),
    errors.PermissionDeniedError: Family(grpc.StatusCode.PERMISSION_DENIED, 403, "Forbidden"),
    errors.UnavailableError: Family(grpc.StatusCode.UNAVAILABLE, 503, "Service Unavailable"),
    errors.DeadlineError: Family(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "Gateway Timeout"),
    errors.InternalError: Family(grpc.StatusCode.INTERNAL, 500, "Internal Server Error"),
}
"""The one table of families; an error that is of none of them is answered as internal."""

PROBLEM_KEY = "problem-bin"
"""The trailing metadata that carries the problem document (RFC 9457) for callers of the REST side."""

DETAILS_KEY = "grpc-status-details-bin"

# Trailers share the peer's limit for headers (8 KiB with the smallest): a document stays well below it.
_MAX_DETAIL = 500
_MAX_VIOLATIONS = 10
_MAX_DESCRIPTION = 200


def family_of(error: DomainError) -> Family:
    """Return the family that an error belongs to."""
    for kind in type(error).__mro__:
        if kind in FAMILIES:
            return FAMILIES[kind]
    return FAMILIES[errors.InternalError]


def problem(error: DomainError) -> bytes:
    """Return the problem document: type, title, status, detail, reason, and the violations where there are any."""
    family = family_of(error)
    document: dict[str, object] = {
        "type": f"urn:rapport:problem:{error.reason}",
        "title": HTTPStatus(error.http_status).phrase if error.http_status else family.title,
        "status": error.http_status or family.http,
        "detail": error.detail[:_MAX_DETAIL],
        "reason": error.reason,
    }
    if error.violations:
        document["violations"] = [
            {"field": violation.field[:_MAX_DESCRIPTION], "description": violation.description[:_MAX_DESCRIPTION]}
            for violation in error.violations[:_MAX_VIOLATIONS]
        ]
    return orjson.dumps(document)


def rich_status(error: DomainError) -> status_pb2.Status:
    """Return the status with exactly one ErrorInfo, and the details that the error brings besides."""
    family = family_of(error)
    details: list[any_pb2.Any] = []

    def add(message: object) -> None:
        packed = any_pb2.Any()
        packed.Pack(message)  # type: ignore[arg-type]  # google.rpc has no stubs
        details.append(packed)

    metadata = {key[:64]: value[:_MAX_DESCRIPTION] for key, value in error.metadata.items()}
    add(error_details_pb2.ErrorInfo(reason=error.reason, domain=error.domain, metadata=metadata))
    if error.violations:
        add(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field[:_MAX_DESCRIPTION],
                        description=violation.description[:_MAX_DESCRIPTION],
                        reason=violation.rule[:64],
                    )
                    for violation in error.violations[:_MAX_VIOLATIONS]
                ]
            )
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after * 1000))
        add(error_details_pb2.RetryInfo(retry_delay=delay))
    code: int = family.code.value[0]
    return status_pb2.Status(code=code, message=error.detail[:_MAX_DETAIL], details=details)


def trailers(error: DomainError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata that says the error to gRPC callers and to the gateway."""
    said: list[tuple[str, str | bytes]] = [
        (DETAILS_KEY, rich_status(error).SerializeToString()),
        (PROBLEM_KEY, problem(error)),
    ]
    # What a condition was compared with is told in a header, too.
    if etag := error.metadata.get("etag"):
        said.append(("etag", quoted(etag)))
    return tuple(said)
