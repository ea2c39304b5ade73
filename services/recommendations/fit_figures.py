"""What Prometheus is told of models: how old they are, how long fitting takes and what comes of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram

from servicekit.database import Database

_FITTED = Gauge("rapport_models_fitted", "Tenants whose model was ever fitted, by model.", ("model",))
_OLDEST = Gauge(
    "rapport_model_oldest_seconds", "Time since the tenant's model was looked at that waits the longest.", ("model",)
)
_LATE = Gauge("rapport_models_late", "Tenants whose model of customers is a day late or more.")
_OLD_PROFILES = Gauge("rapport_profiles_old", "Tenants whose profiles are older than a day.")
_BUDGETS = Gauge("rapport_writing_budgets_used", "Tenants whose budget for language models is used up this month.")
_FITS = Counter("rapport_model_fits_total", "Fits of models, by model and what came of them.", ("model", "outcome"))
_SECONDS = Histogram(
    "rapport_model_fit_seconds",
    "Time that a fit took, reading and writing included.",
    ("model",),
    buckets=(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
)


class ModelFigures:
    """Reads what only the database knows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self) -> None:
        """Tell Prometheus how the models of all tenants stand."""
        for row in await self._database.fetch(
            "SELECT model, tenants, oldest_seconds FROM recommendations.model_ages()"
        ):
            _FITTED.labels(row["model"]).set(row["tenants"])
            _OLDEST.labels(row["model"]).set(row["oldest_seconds"])
        query = "SELECT old_profiles, late_fits, budgets_used FROM recommendations.standing($1)"
        (standing,) = await self._database.fetch(query, datetime.now(UTC).date())
        _LATE.set(standing["late_fits"])
        _OLD_PROFILES.set(standing["old_profiles"])
        _BUDGETS.set(standing["budgets_used"])


@contextmanager
def counted_fit(model: str) -> Iterator[None]:
    """Count a fit and its time; one that raises has failed."""
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "made"
    finally:
        _FITS.labels(model, outcome).inc()
        _SECONDS.labels(model).observe(time.perf_counter() - began)
