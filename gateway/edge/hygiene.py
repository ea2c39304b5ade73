"""What no request may look like, whoever it is for: refused before any route is looked for."""

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, RouteMatch, RouteMatchConnectMatcher

from gateway.edge import messages

HOST = r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?"
"""What a host is: a name or an address, and a port. Two hosts in one, or a user before it, lead different readers to
different places."""

_NEXT = "%[89abAB][0-9a-fA-F]"
TEXT = (
    "(?:[^%]|%[0-7][0-9a-fA-F]"
    f"|%[cC][2-9a-fA-F]{_NEXT}|%[dD][0-9a-fA-F]{_NEXT}"
    f"|%[eE]0%[abAB][0-9a-fA-F]{_NEXT}|%[eE][1-9a-cA-CeEfF]{_NEXT}{_NEXT}|%[eE][dD]%[89][0-9a-fA-F]{_NEXT}"
    f"|%[fF]0%[9abAB][0-9a-fA-F]{_NEXT}{_NEXT}|%[fF][1-3]{_NEXT}{_NEXT}{_NEXT}|%[fF]4%8[0-9a-fA-F]{_NEXT}{_NEXT})*"
)
"""What an address is made of: text in UTF-8. Anything else would reach a service as a message that it cannot read."""


def malformed() -> list[tuple[str, RouteMatch, int]]:
    """Return what is refused: the name of its route, what it matches, and the status of the answer."""
    return [
        ("connect", RouteMatch(connect_matcher=RouteMatchConnectMatcher()), 405),
        ("host_malformed", RouteMatch(prefix="/", headers=[unless(":authority", HOST)]), 400),
        ("address_not_text", RouteMatch(prefix="/", headers=[unless(":path", TEXT)]), 400),
    ]


def unless(name: str, expression: str) -> HeaderMatcher:
    """Return what matches a request whose header is anything but this; one without the header has an empty one."""
    matcher = messages.header_matches(name, expression)
    matcher.invert_match, matcher.treat_missing_header_as_empty = True, True
    return matcher
