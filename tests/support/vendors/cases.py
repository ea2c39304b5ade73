"""Tables of webhook requests: for each vendor those that must be accepted and those that must be refused.

A vendor's table is a module `<provider>_cases.py` with a `TABLE`, named in `tables.py`. The same rows are judged by the
pure functions (`tests/crm/test_vendor_cases.py`) and sent through a real Envoy (`tests/e2e/test_vendor_webhooks.py`).
Two kinds of rows are made here for every vendor, out of its positives: signed with the secret of another tenant, and
with a secret that was replaced and whose overlap is over. Where the address is the proof they come to such addresses.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import TypeAlias
from urllib.parse import urlsplit

from services.crm.providers import PROVIDERS
from services.crm.providers.provider import MAX_BODY_BYTES, Proof

Headers: TypeAlias = Sequence[tuple[str, str]]
"""Header names and values in order; a name may come twice."""

LARGE = MAX_BODY_BYTES + 1
"""The bytes of a body that is one too large."""


@dataclass(frozen=True)
class Case:
    """One request and what must become of it.

    `path_query` is the path and query that is called in place of that of the connection's address; empty is the
    address itself. `status` is the answer through the gateway where it is not 200 (accepted) or 401 (refused). A case
    whose status is 413 or 400 is decided before a provider module sees it. `deliveries` is how many deliveries an
    accepted request makes: 0 for a handshake or a ping.
    """

    name: str
    method: str
    headers: Headers
    body: bytes = field(repr=False)
    accepted: bool
    path_query: str = ""
    status: int | None = None
    deliveries: int = 1

    @property
    def expected_status(self) -> int:
        """The status that the gateway answers with."""
        return self.status or (200 if self.accepted else 401)


CasesOf: TypeAlias = Callable[[str, datetime, str, str], list[Case]]
"""`cases(secret, now, url, other)`: the rows for a connection at `url`, whose secret is `secret`, at the time `now`.

`other` is the secret of another tenant's connection of the same provider. Where the proof is the address, both are the
tokens in the addresses.
"""


@dataclass(frozen=True)
class Table:
    """One vendor's rows, and what its connection must look like.

    `config` are the connection's settings, `secret` makes a new webhook secret of the vendor's form; it is not called
    where the proof is the address. `distinct` is how many different deliveries the accepted rows make: all others are
    copies of these, under other signatures or unsigned headers.
    """

    provider: str
    config: Mapping[str, str]
    secret: Callable[[], str]
    cases: CasesOf
    distinct: int

    def rows(self, secret: str, now: datetime, url: str, other: str) -> list[Case]:
        """Return the vendor's own rows, and its positives as another tenant would sign them."""
        return self.cases(secret, now, url, other) + self.forged("another tenant's secret", other, now, url)

    def forged(self, how: str, secret: str, now: datetime, url: str) -> list[Case]:
        """Return every positive that makes deliveries, signed with a secret that must not pass at `url`.

        Where the proof is the address they come to the one with that token instead.
        """
        by_address = PROVIDERS[self.provider].proof is Proof.ADDRESS
        own = PurePosixPath(urlsplit(url).path).name if by_address else secret
        positives = [case for case in self.cases(own, now, url, secret) if case.accepted and case.deliveries]
        forged = [replace(case, name=f"{case.name}: {how}", accepted=False) for case in positives]
        if not by_address:
            return forged
        return [
            replace(case, path_query=(case.path_query or urlsplit(url).path).replace(own, secret)) for case in forged
        ]


def refused(name: str, headers: Headers, body: bytes, **changes: object) -> Case:
    """Return a POST that must be refused; `changes` set the other fields."""
    return replace(Case(name, "POST", headers, body, accepted=False), **changes)  # type: ignore[arg-type]


def accepted(name: str, headers: Headers, body: bytes, **changes: object) -> Case:
    """Return a POST that must be accepted; `changes` set the other fields."""
    return replace(Case(name, "POST", headers, body, accepted=True), **changes)  # type: ignore[arg-type]


def flipped(body: bytes) -> bytes:
    """Return the body with one bit changed."""
    return body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]


def reserialised(body: bytes) -> bytes:
    """Return the same JSON, written in another way."""
    return json.dumps(json.loads(body), indent=1).encode()


def without(headers: Headers, name: str) -> Headers:
    """Return the headers with one missing."""
    return [pair for pair in headers if pair[0] != name]


def doubled(headers: Headers, name: str) -> Headers:
    """Return the headers with one coming twice, both times with the right value."""
    return [*headers, *(pair for pair in headers if pair[0] == name)]


def replaced(headers: Headers, name: str, change: Callable[[str], str]) -> Headers:
    """Return the headers with one value changed."""
    return [(key, change(value) if key == name else value) for key, value in headers]
