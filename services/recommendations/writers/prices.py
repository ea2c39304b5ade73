"""What calls of a language model cost, in millionths of the currency that the operator's prices are in."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call as its provider counts them."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a million tokens, in millionths of the currency."""

    input_micros: int
    output_micros: int

    def cost(self, usage: Usage) -> int:
        """Return what a call cost in millionths, rounded up."""
        spent = usage.input_tokens * self.input_micros + usage.output_tokens * self.output_micros
        return -(-spent // _MILLION)


def micros(amount: str | Decimal) -> int:
    """Return an amount in millionths, rounded up; an empty text is nothing.

    Raises:
        decimal.InvalidOperation: the text is no number.
    """
    scaled = Decimal(amount or "0") * _MILLION
    return int(scaled.to_integral_value(rounding=ROUND_CEILING))


def decimal(amount_micros: int) -> str:
    """Return millionths as a decimal number with two to six places, for example "0.05" or "0.000125"."""
    whole, _, parts = f"{Decimal(amount_micros) / _MILLION:.6f}".partition(".")
    return f"{whole}.{parts.rstrip('0').ljust(2, '0')}"


def month_of(when: datetime) -> date:
    """Return the first day of the month (UTC) in which a moment lies: budgets are kept by month."""
    return when.astimezone(UTC).date().replace(day=1)
