"""The features and settings that a tenant can have: every one is declared here, with its default and its meaning.

A tenant stores only what differs from the default, so that a default may change for everybody who never chose. What is
declared here is used somewhere: `used_by` says where.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.tenant.errors import FeatureUnknownError, SettingInvalidError, SettingUnknownError

SettingValue: TypeAlias = str | float | bool | list[str]
"""What a setting may hold."""

MOST_ORIGINS = 20
"""How many origin patterns a tenant can have: they travel in every token."""

LEAST_REQUESTS = 10
MOST_REQUESTS = 10_000_000
"""The range of a tenant's own quota, in requests per minute."""

# As a browser writes an origin: lower case, no path, and no port where it is the scheme's own.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"https?://(?:\*\.)?{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?", re.ASCII)
_LONGEST_ORIGIN = 200
_LAST_PORT = 65535


def is_origin_pattern(text: str) -> bool:
    """Tell whether the text is an origin, or one with "*." for any subdomain: `https://*.example.com`."""
    if len(text) > _LONGEST_ORIGIN or not _ORIGIN.fullmatch(text):
        return False
    port = text.rpartition(":")[2]
    return not port.isdigit() or int(port) <= _LAST_PORT


def _is_origins(value: SettingValue) -> bool:
    """Tell whether the value is a list of different origin patterns, empty or short."""
    return (
        isinstance(value, list)
        and len(value) <= MOST_ORIGINS
        and all(isinstance(one, str) and is_origin_pattern(one) for one in value)
        and len(set(value)) == len(value)
    )


def _is_quota(value: SettingValue) -> bool:
    """Tell whether the value is a whole number of requests in range, or 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or (value and not 1 <= value <= MOST_REQUESTS):
        return False
    return value == 0 or (value == int(value) and value >= LEAST_REQUESTS)


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that is on or off for a tenant; the names of those that are on stand in the tenant's tokens."""

    name: str
    default: bool
    meaning: str
    used_by: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that a tenant chooses; `expected` completes the sentence "the setting is …"."""

    name: str
    default: SettingValue
    meaning: str
    expected: str
    used_by: str
    accepts: Callable[[SettingValue], bool]


FEATURES: Mapping[str, Feature] = {
    feature.name: feature
    for feature in (
        Feature(
            "demo",
            default=False,
            meaning="The shop holds invented data, so that a random customer may be shown to anybody who asks.",
            used_by="recommendations: `GET /api/mcp/customer/random`",
        ),
        Feature(
            "write_back",
            default=False,
            meaning="Tickets are changed at their helpdesks: priority, tags, internal notes, replies that are sent.",
            used_by="crm: the write service, and the workers that make its changes",
        ),
    )
}
"""All features by name."""

SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "cors_origins",
            default=[],
            meaning="The web origins whose pages may use the shop's keys; none means all that the deployment allows.",
            expected=f'a list of at most {MOST_ORIGINS} origins such as "https://desk.example.com" or '
            '"https://*.example.com"',
            used_by="every service: the claim `origins` of the shop's tokens",
            accepts=_is_origins,
        ),
        Setting(
            "requests_per_minute",
            default=0,
            meaning="Requests that the shop may send per minute; 0 means as many as the deployment gives everybody.",
            expected=f"0 or a whole number from {LEAST_REQUESTS} to {MOST_REQUESTS}",
            used_by="the gateway: the claim `quota` of the shop's tokens",
            accepts=_is_quota,
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
        elif isinstance(value, str | float | int | list) and setting.accepts(value):
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


def cors_origins(chosen: Mapping[str, SettingValue]) -> tuple[str, ...]:
    """Return the origin patterns that a tenant's settings restrict it to; empty means that they do not."""
    value = all_settings(chosen)["cors_origins"]
    return tuple(value) if isinstance(value, list) else ()


def requests_per_minute(chosen: Mapping[str, SettingValue]) -> int | None:
    """Return the quota that a tenant's settings give it; None means the deployment's own."""
    value = all_settings(chosen)["requests_per_minute"]
    return int(value) if isinstance(value, int | float) and value else None
