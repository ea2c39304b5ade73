"""Small pieces of Envoy configuration that several resources are made of."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    SocketAddress,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Struct, Value

from gateway.addresses import HostPort

# Envoy would give up on a resource after 15 s and go on without; the control plane answers when it can.
ADS = ConfigSource(
    ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3, initial_fetch_timeout=timedelta(seconds=0)
)


def address(at: HostPort) -> Address:
    """Return a TCP address."""
    return Address(socket_address=SocketAddress(address=at.host, port_value=at.port))


def header(name: str, value: str, *, append: bool = False) -> HeaderValueOption:
    """Return a header to set, or to append where `append` says so."""
    action = HeaderValueOptionHeaderAppendAction
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=action.APPEND_IF_EXISTS_OR_ADD if append else action.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def matches(expression: str) -> StringMatcher:
    """Return a matcher of the whole string by an expression (RE2)."""
    return StringMatcher(safe_regex=RegexMatcher(regex=expression))


def all_but(words: Iterable[str]) -> str:
    """Return an expression for every text but these words: RE2 knows no "not" of more than a letter."""
    tails: dict[str, list[str]] = {}
    for word in words:
        tails.setdefault(word[:1], []).append(word[1:])
    whole = tails.pop("", None)
    if not tails:
        return ".+"
    others = "|".join([f"[^{''.join(tails)}].*", *(f"{letter}{all_but(rest)}" for letter, rest in tails.items())])
    return f"(?:{others})" if whole else f"(?:{others})?"


def header_is(name: str, value: str) -> HeaderMatcher:
    """Return a matcher of a header's exact value."""
    return HeaderMatcher(name=name, string_match=StringMatcher(exact=value))


def header_matches(name: str, expression: str) -> HeaderMatcher:
    """Return a matcher of a header's whole value by an expression (RE2)."""
    return HeaderMatcher(name=name, string_match=matches(expression))


def header_starts(name: str, prefix: str) -> HeaderMatcher:
    """Return a matcher of the start of a header's value."""
    return HeaderMatcher(name=name, string_match=StringMatcher(prefix=prefix))


def header_contains(name: str, text: str) -> HeaderMatcher:
    """Return a matcher of a text anywhere in a header's value."""
    return HeaderMatcher(name=name, string_match=StringMatcher(contains=text))


def header_unlike(name: str, expression: str) -> list[HeaderMatcher]:
    """Return the matchers of a header that is there and whose value is anything but this (RE2)."""
    return [
        HeaderMatcher(name=name, present_match=True),
        HeaderMatcher(name=name, string_match=matches(expression), invert_match=True),
    ]


def struct(members: Mapping[str, object]) -> Struct:
    """Return a JSON object of strings and numbers."""
    return Struct(
        fields={
            name: Value(number_value=float(value)) if isinstance(value, int | float) else Value(string_value=str(value))
            for name, value in members.items()
        }
    )
