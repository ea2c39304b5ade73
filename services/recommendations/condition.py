"""How the service stands: whether profiles and models are of today, and whose budget for language models is used up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from servicekit.database import Database
from servicekit.diagnosis import Examination, Finding, State


@dataclass(frozen=True, slots=True)
class Standing:
    """How many tenants there are, and how many of them have old profiles, late models, a budget that is used up."""

    tenants: int
    old_profiles: int
    late_fits: int
    budgets_used: int


async def read_standing(database: Database, today: date) -> Standing:
    """Count across tenants."""
    query = "SELECT tenants, old_profiles, late_fits, budgets_used FROM recommendations.standing($1)"
    (row,) = await database.fetch(query, today)
    return Standing(row["tenants"], row["old_profiles"], row["late_fits"], row["budgets_used"])


def examinations(database: Database) -> dict[str, Examination]:
    """Return what is examined beside what every process has."""

    async def standing() -> Sequence[Finding]:
        found = await read_standing(database, datetime.now(UTC).date())
        return [judge_work(found.tenants, found.old_profiles, found.late_fits), judge_budgets(found.budgets_used)]

    return {"models": standing}


def judge_work(tenants: int, old_profiles: int, late_fits: int) -> Finding:
    """Judge the daily work on profiles and models: it may be a day behind, not more."""
    evidence = {"tenants": str(tenants), "old_profiles": str(old_profiles), "late_fits": str(late_fits)}
    if not old_profiles and not late_fits:
        return Finding("models", State.OK, f"Profiles and models of {tenants} tenants are kept.", "", evidence)
    return Finding(
        "models",
        State.FAILED if max(old_profiles, late_fits) > tenants / 2 else State.WARNING,
        f"Of {tenants} tenants {old_profiles} have profiles older than a day, {late_fits} models that are a day late.",
        "`rapport logs recommendations` has `renewal_failed` or `modelling_failed`; more processes share the work",
        evidence,
    )


def judge_budgets(used: int) -> Finding:
    """Judge how many tenants' budgets are used up: their drafts are written by rules until the month ends."""
    if not used:
        return Finding("budgets", State.OK, "No tenant's budget for language models is used up.")
    return Finding(
        "budgets",
        State.WARNING,
        f"The month's budget for language models is used up for {used} tenants: rules write their drafts.",
        "`rapport writing spend --tenant S`; `rapport writing set --tenant S --monthly-budget …` raises it",
        {"used": str(used)},
    )
