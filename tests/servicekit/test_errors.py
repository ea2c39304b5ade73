"""Error families: each is said alike over gRPC and REST."""

import importlib
import pkgutil

import grpc
import pytest
from google.rpc import error_details_pb2
from rapport.options.v1 import error_reason_pb2
from rapport.tenancy.v1 import error_reason_pb2 as tenancy_reason_pb2

import servicekit
from servicekit import errors
from servicekit.errors import DomainError, FieldViolation
from servicekit.status import FAMILIES, problem, rich_status
from tests.servicekit.probe import running


class TicketAlreadyClosedError(errors.PreconditionError):
    """An error as a service has it."""


class HTTPThingMissingError(errors.NotFoundError):
    """An error whose name has letters in a row."""


EXPECTED = [
    (errors.InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND, 404),
    (errors.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS, 409),
    (errors.PreconditionError, grpc.StatusCode.FAILED_PRECONDITION, 400),
    (errors.OutOfRangeError, grpc.StatusCode.OUT_OF_RANGE, 410),
    (errors.ConflictError, grpc.StatusCode.ABORTED, 409),
    (errors.TooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    (errors.QuotaError, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (errors.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED, 401),
    (errors.PermissionDeniedError, grpc.StatusCode.PERMISSION_DENIED, 403),
    (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE, 503),
    (errors.DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (errors.InternalError, grpc.StatusCode.INTERNAL, 500),
]


def test_reasons_follow_from_the_names_of_the_classes() -> None:
    """The class name without "Error" in upper snake case is the reason."""
    assert TicketAlreadyClosedError.reason == "TICKET_ALREADY_CLOSED"
    assert HTTPThingMissingError.reason == "HTTP_THING_MISSING"


def test_the_table_of_families_is_complete() -> None:
    """Every family that a service may subclass has its row."""
    families = [row[0] for row in EXPECTED]
    assert set(families) == set(FAMILIES) == set(DomainError.__subclasses__())


@pytest.mark.parametrize(("family", "code", "http"), EXPECTED, ids=[row[0].__name__ for row in EXPECTED])
async def test_a_family_is_answered_with_its_code_status_and_one_error_info(
    family: type[DomainError], code: grpc.StatusCode, http: int
) -> None:
    """A raised domain error reaches the caller as gRPC status with one ErrorInfo and as a problem document."""

    async def raise_it(_request: object, _context: object) -> None:
        raise family("Es geht nicht: «é».", metadata={"ticket": "T-1"})

    async with running(raise_it) as probe:  # type: ignore[arg-type]  # a behaviour that answers nothing
        refusal = await probe.refusal()
    assert refusal.code is code
    assert refusal.problem == {
        "type": f"urn:rapport:problem:{family.reason}",
        "title": refusal.problem["title"],
        "status": http,
        "detail": "Es geht nicht: «é».",
        "reason": family.reason,
    }
    assert refusal.status is not None
    infos = [detail for detail in refusal.status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    info = error_details_pb2.ErrorInfo()
    assert len(infos) == len(refusal.status.details) == 1
    infos[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (family.reason, "rapport", {"ticket": "T-1"})


def test_a_flood_of_violations_stays_small_enough_for_trailers() -> None:
    """Details and problem together stay below what any peer takes as headers."""
    violations = [FieldViolation("field" * 100, "text" * 1000, "rule" * 50) for _ in range(1000)]
    error = errors.RequestInvalidError("x" * 100_000, violations=violations, metadata={"key": "v" * 10_000})
    assert len(problem(error)) + len(rich_status(error).SerializeToString()) < 12_000


async def test_no_initial_metadata_precedes_an_error() -> None:
    """An error is the first thing that a caller hears, or the gateway would not see its trailers."""
    async with running(_fail) as probe:  # type: ignore[arg-type]  # a behaviour that answers nothing
        refusal = await probe.refusal()
        assert not refusal.error.initial_metadata()


async def _fail(_request: object, _context: object) -> None:
    raise TicketAlreadyClosedError("It is closed.")


def test_a_time_to_wait_is_told() -> None:
    """An error that knows when a repetition makes sense says so in a RetryInfo."""
    status = rich_status(errors.QuotaError("Too many.", retry_after=1.5))
    info = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1500


def test_the_contracts_list_every_reason_of_what_surrounds_the_services() -> None:
    """Each error that servicekit raises has its documented reason in the contracts, and no reason is left over."""
    for module in pkgutil.walk_packages(servicekit.__path__, "servicekit."):
        if "migration_environment" not in module.name:
            importlib.import_module(module.name)
    families = set(DomainError.__subclasses__()) - {errors.InternalError}

    def below(kind: type[DomainError]) -> set[type[DomainError]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    raised = {kind.reason for kind in below(DomainError) if kind.__module__.startswith("servicekit.")}
    raised -= {kind.reason for kind in families} | {DomainError.reason}
    prefix = "ERROR_REASON_"
    contracts = (error_reason_pb2.ErrorReason, tenancy_reason_pb2.ErrorReason)
    listed = {name.removeprefix(prefix) for reasons in contracts for name in reasons.keys()}  # noqa: SIM118 - no dict
    assert listed - {"UNSPECIFIED"} == raised
