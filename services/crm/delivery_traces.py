"""The work on deliveries in the traces of the webhooks by which they came, however much later it is done."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from opentelemetry.trace import SpanKind

from servicekit.tracing import beside, continued
from services.crm.store import Job

_NAME = "crm deliver"


@contextmanager
def delivering(jobs: Sequence[Job]) -> Iterator[None]:
    """Record what is done for these jobs together.

    It stands in the trace of the first job whose trace is recorded; each other one's gets a span that links to it.
    """
    recorded = [job for job in jobs if job.trace]
    if not recorded:
        yield
        return
    described = _described(recorded[0]) | {"rapport.together": len(jobs)}
    with ExitStack() as spans:
        spans.enter_context(continued(_NAME, [job.trace for job in recorded], described, kind=SpanKind.CONSUMER))
        for job in recorded[1:]:
            spans.enter_context(beside(_NAME, job.trace, _described(job), kind=SpanKind.CONSUMER))
        yield


def _described(job: Job) -> dict[str, str | int]:
    return {
        "rapport.tenant_id": str(job.tenant_id),
        "rapport.delivery_id": str(job.delivery_id),
        "rapport.attempt": job.attempts,
    }
