"""Which tenant a request is for: the decision in every combination, and what hosts and origins say."""

import pytest

from servicekit.errors import CredentialInvalidError, HostMismatchError
from servicekit.identity import Host, HostRules, Principal, Verdict, decide, hostname, origin_allowed, refusal
from servicekit.ids import uuid7
from tests.support.routing import COMBINATIONS, TABLE, Row, name_of

ACME = Principal("key:1", uuid7(), "acme", hosts=frozenset({"shop.acme.example", "xn--bcher-kva.example"}))
NOBODY = Principal("operator:admin")
RULES = HostRules("rapport.example", ["www.rapport.example", "Gateway.internal:8443"])


def test_the_table_holds_every_combination() -> None:
    """No combination is left to chance, and none stands twice."""
    assert sorted(TABLE, key=name_of) == sorted(COMBINATIONS, key=name_of)
    assert len(TABLE) == 6 * 4 * 2


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_each_combination_is_decided_as_the_table_says(row: Row) -> None:
    """The function and the table that was written by hand agree."""
    assert decide(*row) is TABLE[row]


def test_a_verdict_has_one_error() -> None:
    """What is refused for whatever reason looks the same, but for a host that is not the credential's."""
    assert isinstance(refusal(Verdict.UNAUTHENTICATED), CredentialInvalidError)
    assert isinstance(refusal(Verdict.FORBIDDEN), HostMismatchError)
    assert refusal(Verdict.ALLOWED) is None


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("acme.rapport.example", "acme.rapport.example"),
        ("ACME.Rapport.Example", "acme.rapport.example"),
        ("acme.rapport.example:8443", "acme.rapport.example"),
        ("acme.rapport.example.", "acme.rapport.example"),
        ("acme.rapport.example.:443", "acme.rapport.example"),
        ("acme.rapport.example:", "acme.rapport.example"),
        ("[2001:DB8::1]:8443", "2001:db8::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:8443", "127.0.0.1"),
        ("", ""),
    ],
)
def test_a_host_is_compared_without_what_does_not_matter(authority: str, name: str) -> None:
    """Neither the port nor the case nor a dot at the end makes another host."""
    assert hostname(authority) == name


AGREES = [
    None,
    "rapport.example",
    "rapport.example:8443",
    "RAPPORT.example.",
    "www.rapport.example",
    "gateway.internal",
    "127.0.0.1:8443",
    "[::1]:8443",
    "acme.rapport.example",
    "ACME.rapport.example.:8443",
    "shop.acme.example",
    "shop.acme.example:443",
    "XN--bcher-kva.example",
]
DISAGREES = [
    "globex.rapport.example",
    "acme.globex.rapport.example",
    "acme.rapport.example.evil.example",
    "acmerapport.example",
    ".rapport.example",
    "acme",
    "acme.example",
    "a.shop.acme.example",
    "globex.example",
    "localhost",
    "acme.localhost",
    "",
    "-",
    "2130706433",
    "acme.rapport.example:8443:1",
    "acme.rapport.example/x",
    "user@acme.rapport.example",
]


@pytest.mark.parametrize("authority", AGREES)
def test_a_host_of_the_tenant_or_of_nobody_agrees(authority: str | None) -> None:
    """The tenant's subdomain and own domains agree, and so does a host that names no tenant."""
    assert RULES.judge(authority, ACME.slug, ACME.hosts) is Host.AGREES


@pytest.mark.parametrize("authority", DISAGREES)
def test_any_other_host_disagrees(authority: str) -> None:
    """What is not known to be the tenant's is another's, or nobody's."""
    assert RULES.judge(authority, ACME.slug, ACME.hosts) is Host.DISAGREES


@pytest.mark.parametrize("authority", ["acme.rapport.example", ".rapport.example", "shop.acme.example", ""])
def test_a_credential_without_a_tenant_is_good_on_no_tenants_host(authority: str) -> None:
    """An operator's token without a tenant has no host of its own."""
    assert RULES.judge(authority, NOBODY.slug, NOBODY.hosts) is Host.DISAGREES
    assert RULES.judge("rapport.example", NOBODY.slug, NOBODY.hosts) is Host.AGREES


@pytest.mark.parametrize(
    ("origins", "browser", "origin", "allowed"),
    [
        (None, False, None, True),
        (None, False, "https://evil.example", True),
        (None, True, None, False),
        (None, True, "https://acme.example", False),
        (("https://acme.example",), False, None, True),
        (("https://acme.example",), False, "https://acme.example", True),
        (("https://acme.example",), False, "HTTPS://ACME.EXAMPLE", True),
        (("https://acme.example",), False, "https://evil.example", False),
        (("https://acme.example",), False, "https://acme.example.evil.example", False),
        (("https://acme.example",), False, "https://acmeXexample", False),
        (("https://acme.example",), False, "http://acme.example", False),
        (("https://acme.example",), False, "https://acme.example:8443", False),
        (("https://acme.example",), False, "null", False),
        (("https://acme.example",), False, "", False),
        (("https://acme.example",), True, None, False),
        (("https://acme.example",), True, "https://acme.example", True),
        (("https://*.acme.example",), True, "https://desk.acme.example", True),
        (("https://*.acme.example",), True, "https://a.desk.acme.example", False),
        (("https://*.acme.example",), True, "https://acme.example", False),
        (("https://*.acme.example",), True, "https://evil.example/.acme.example", False),
        (("http://localhost:*",), True, "http://localhost:5173", True),
        (("http://localhost:*",), True, "http://localhost", False),
        ((), False, "https://acme.example", False),
        ((), False, None, True),
        ((), True, "https://acme.example", False),
    ],
)
def test_an_origin_is_held_against_the_tokens_own(
    origins: tuple[str, ...] | None, browser: bool, origin: str | None, allowed: bool
) -> None:
    """A token with origins is good in pages of these only; a browser key's is good in pages only."""
    principal = Principal("key:1", uuid7(), "acme", origins=origins, browser=browser)
    assert origin_allowed(origin, principal) is allowed
