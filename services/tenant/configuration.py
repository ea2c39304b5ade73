"""The features and settings that a tenant can have: every one is declared here, with its default and its meaning.

A tenant stores only what differs from the default, so that a default may change for everybody who never chose.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from zoneinfo import ZoneInfo

from services.tenant.errors import FeatureUnknownError, SettingInvalidError, SettingUnknownError

SettingValue: TypeAlias = str | float | bool
"""What a setting may hold."""

# The active codes of ISO 4217, without metals, funds and test codes.
_CURRENCY_CODES = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV
    WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
_CURRENCIES = frozenset(_CURRENCY_CODES.split())


def _is_timezone(value: SettingValue) -> bool:
    """Tell whether the IANA time zone database has the name."""
    try:
        return isinstance(value, str) and ZoneInfo(value).key == value
    except (KeyError, ValueError, OSError):
        return False


def _is_currency(value: SettingValue) -> bool:
    """Tell whether the value is an active code of ISO 4217."""
    return value in _CURRENCIES


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that is on or off for a tenant; the names of those that are on stand in the tenant's tokens."""

    name: str
    default: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that a tenant chooses; `expected` completes the sentence "the setting is …"."""

    name: str
    default: SettingValue
    meaning: str
    expected: str
    accepts: Callable[[SettingValue], bool]


FEATURES: Mapping[str, Feature] = {
    feature.name: feature
    for feature in (
        Feature("demo", default=False, meaning="The shop holds invented data."),
        Feature("write_back", default=False, meaning="Messages marked for the customer are sent to the helpdesk."),
    )
}
"""All features by name."""

SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "currency",
            default="EUR",
            meaning="The currency in which the shop's amounts are shown.",
            expected="an active code of ISO 4217, for example EUR",
            accepts=_is_currency,
        ),
        Setting(
            "timezone",
            default="UTC",
            meaning="The time zone in which the shop's days begin.",
            expected="a name of the IANA time zone database, for example Europe/Berlin",
            accepts=_is_timezone,
        ),
    )
}
"""All settings by name."""


def checked_features(chosen: Mapping[str, bool | None]) -> Mapping[str, bool | None]:
    """Return `chosen` (None: back to the default) once every name is known to be declared.

    Raises:
        FeatureUnknownError: a name is not declared.
    """
    for name in chosen:
        if name not in FEATURES:
            raise FeatureUnknownError(name)
    return chosen


def checked_settings(chosen: Mapping[str, object]) -> Mapping[str, SettingValue | None]:
    """Return `chosen` (None: back to the default) once every name is declared and every value may be had.

    Raises:
        SettingUnknownError: a name is not declared.
        SettingInvalidError: a value is of another type or out of range.
    """
    checked: dict[str, SettingValue | None] = {}
    for name, value in chosen.items():
        if name not in SETTINGS:
            raise SettingUnknownError(name)
        setting = SETTINGS[name]
        if value is None:
            checked[name] = None
        elif isinstance(value, str | float | bool) and setting.accepts(value):
            checked[name] = value
        else:
            raise SettingInvalidError(name, setting.expected)
    return checked


def all_features(chosen: Mapping[str, bool]) -> Mapping[str, bool]:
    """Return every declared feature with what the tenant chose or else its default."""
    return {name: chosen.get(name, feature.default) for name, feature in FEATURES.items()}


def all_settings(chosen: Mapping[str, SettingValue]) -> Mapping[str, SettingValue]:
    """Return every declared setting with what the tenant chose or else its default."""
    return {name: chosen.get(name, setting.default) for name, setting in SETTINGS.items()}


def features_on(chosen: Mapping[str, bool]) -> tuple[str, ...]:
    """Return the names of the features that are on, sorted."""
    return tuple(sorted(name for name, on in all_features(chosen).items() if on))
