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


_IN_USE = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV
WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""

CURRENCIES = frozenset(_IN_USE.split())
"""The currencies in use (ISO 4217)."""


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
