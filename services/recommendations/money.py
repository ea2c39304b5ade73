"""Money: an integer number of a currency's minor units, and what people read."""

from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

# ISO 4217 gives nearly every currency two decimals; these are the ones in use that differ.
_DECIMALS = {
    **dict.fromkeys(
        (
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def decimals(currency: str) -> int:
    """Return how many decimals a currency's main unit has (ISO 4217)."""
    return _DECIMALS.get(currency, 2)


@lru_cache(maxsize=65_536)
def minor_units(amount: str, currency: str) -> int:
    """Return decimal text of main units as minor units; what is finer is rounded half to even.

    Raises:
        decimal.InvalidOperation: the text is not a decimal number.
    """
    return int(Decimal(amount).scaleb(decimals(currency)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@lru_cache(maxsize=65_536)
def line_amount(unit_price: str, quantity: int, currency: str) -> int:
    """Return the minor units of `quantity` pieces, rounded once at the end so that tiny prices are not lost."""
    total = (Decimal(unit_price) * quantity).scaleb(decimals(currency))
    return int(total.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def main_units(minor: int, currency: str) -> float:
    """Return minor units as a number of main units."""
    return float(minor / 10 ** decimals(currency))


def text(minor: int, currency: str) -> str:
    """Return minor units as decimal text of main units, for example "12.50"."""
    return str(Decimal(minor).scaleb(-decimals(currency)).quantize(Decimal(1).scaleb(-decimals(currency))))
