"""Churn: how likely a customer does not buy within the horizon, how grave that is, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Self

from services.recommendations.history import History
from services.recommendations.model import LEAST_REPEAT_CUSTOMERS, Model

Level = Literal["critical", "high", "medium", "low"]
Evidence = Literal["model", "rules", "insufficient"]
Silence = Literal["on_track", "due", "at_risk"]

_LEVELS: tuple[tuple[float, Level], ...] = ((0.7, "critical"), (0.5, "high"), (0.3, "medium"))

LEVEL_BOUNDS = tuple(sorted(least for least, _ in _LEVELS))
"""Where the levels above the lowest begin."""

_ADVICE: dict[Level, str] = {
    "critical": "Settle this contact in one reply and end it well: another purchase is unlikely as it is.",
    "high": "Give this customer a quick, complete answer: a bad contact now may be the last.",
    "medium": "Answer with care; the customer may drift away.",
    "low": "No special care needed: the customer is likely to buy again.",
}


def level(score: float) -> Level:
    """Return the level of a churn probability: critical from 0.7, high from 0.5, medium from 0.3, else low."""
    return next((name for least, name in _LEVELS if score >= least), "low")


@dataclass(frozen=True, slots=True)
class Churn:
    """A customer's churn.

    Attributes:
        probability: of no purchase within the horizon; None when there is not enough evidence.
        evidence: "model" (fitted to the shop), "rules" (published parameters) or "insufficient".
        origin: who computed it, for example "bgnbd:v3".
        reasons: what speaks for it, in words.
    """

    probability: float | None
    evidence: Evidence
    origin: str
    reasons: tuple[str, ...] = ()

    @classmethod
    def from_profile(cls, shown: Mapping[str, Any]) -> Self:
        """Return the churn that a profile shows, which may be of an earlier day."""
        return cls(shown["probability"], shown["evidence"], shown["model_version"], tuple(shown["reasons"]))

    @property
    def score(self) -> float:
        """The probability as it is shown: 0 when there is not enough evidence."""
        return self.probability or 0.0

    @property
    def level(self) -> Level:
        """The level of the score."""
        return level(self.score)

    @property
    def recommendation(self) -> str:
        """What to do about it, in a sentence."""
        if self.probability is None:
            return "Insufficient evidence to judge the risk: treat the customer as you would anyone new."
        return _ADVICE[self.level]


def silence(history: History, today: date) -> Silence | None:
    """Return how long a customer has been silent by the own rhythm: at most the mean gap, twice that, or longer.

    None where there is no rhythm yet.
    """
    gap, quiet = history.mean_gap_days, history.quiet_days(today)
    if gap is None or quiet is None:
        return None
    return "at_risk" if quiet > 2 * gap else "due" if quiet > gap else "on_track"


def assess(history: History, model: Model, purchase_probability: float | None, today: date) -> Churn:
    """Return a customer's churn from the probability of a purchase within the horizon.

    There is not enough evidence without a purchase, and without a second one where the shop has no model of its own:
    published parameters say nothing about how often this shop's first-time buyers come back.
    """
    if purchase_probability is None:
        return Churn(None, "insufficient", model.name, ("No purchase is known.",))
    if not model.fitted and not history.repeats:
        return Churn(
            None,
            "insufficient",
            model.name,
            (f"One purchase, in a shop with fewer than {LEAST_REPEAT_CUSTOMERS} returning customers to learn from.",),
        )
    probability = min(max(1.0 - purchase_probability, 0.0), 1.0)
    return Churn(
        round(probability, 4), "model" if model.fitted else "rules", model.name, tuple(_reasons(history, model, today))
    )


def _reasons(history: History, model: Model, today: date) -> list[str]:
    """Return what speaks for a churn figure: dates and the own rhythm, in words that hold as days pass."""
    gap = round(history.mean_gap_days or 0)
    newest = f"{history.last_at:%Y-%m-%d}" if history.last_at else "unknown"
    reasons = [f"The newest purchase was on {newest}; the horizon is {model.horizon_days} days."]
    reasons.append(
        {
            None: "Only one purchase day is known.",
            "on_track": f"The silence since is within the usual gap of {_days(gap)}.",
            "due": f"The silence since is longer than the usual gap of {_days(gap)}.",
            "at_risk": f"The silence since is more than twice the usual gap of {_days(gap)}.",
        }[silence(history, today)]
    )
    if history.return_count:
        reasons.append(f"Goods came back in {history.return_count} of the orders.")
    if not model.fitted:
        reasons.append("Computed with published parameters, since the shop has too few returning customers.")
    elif not model.dropout_evidence:
        reasons.append(
            "The shop's data hold insufficient evidence of customers leaving for good; this is about timing."
        )
    return reasons


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
