"""What becomes of a claimed job."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from services.crm.deliveries import State, retry_delay
from services.crm.store import Job, Outcome

LEASE = timedelta(seconds=15)
"""How long a claim holds; the jobs of a worker that died return to the queue then."""

REFUSED_TENANT_WAIT = timedelta(seconds=20)
"""How long the jobs of a suspended tenant rest before it is looked at again."""

_chance = random.Random()  # noqa: S311 - spreads retries, guards nothing


def final(job: Job, state: State, reason: str = "") -> Outcome:
    """Return the outcome of a job that is done with."""
    return Outcome(job, state, reason, job.attempts, datetime.now(UTC))


def given_back(job: Job, reason: str, wait: timedelta = timedelta(0)) -> Outcome:
    """Return the outcome of a job that was not judged: this attempt does not count."""
    return Outcome(job, State.PENDING, reason, job.attempts - 1, datetime.now(UTC) + wait)


def resting(jobs: Sequence[Job]) -> list[Outcome]:
    """Return the outcomes of a refused tenant's jobs: they lose no attempt and wait a while."""
    return [given_back(job, "TENANT_REFUSED", REFUSED_TENANT_WAIT) for job in jobs]


def again(job: Job, reason: str, *, most_attempts: int) -> Outcome:
    """Return the next attempt, or the end of them."""
    if job.attempts >= most_attempts:
        return final(job, State.DEAD, reason)
    next_run = datetime.now(UTC) + retry_delay(job.attempts, chance=_chance)
    return Outcome(job, State.PENDING, reason, job.attempts, next_run)
