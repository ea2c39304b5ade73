"""No request, whatever it holds, makes a provider module fail or lets anybody in without a proof."""

import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from functools import cache
from typing import Any
from uuid import UUID

import orjson
import protovalidate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.crm.events import TicketEvent
from services.crm.ingest import event_message
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import (
    MOST_PARTS,
    NotUnderstoodError,
    Proof,
    Provider,
    Request,
    WebhookSecret,
    judge,
)
from tests.crm.test_vendor_cases import NOW, rows
from tests.support.vendors.cases import Case
from tests.support.vendors.tables import TABLES

CONNECTION = UUID("019aa6a0-0000-7000-8000-000000000001")
SIGNING = [name for name, provider in PROVIDERS.items() if provider.proof is Proof.SIGNATURE and name in TABLES]

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["", "\x00", "0", "-1", "x" * 600, "2026-13-99T99:99:99Z", "9999-12-31T23:59:59-23:59", "\u202e"]),
    st.text(max_size=20),
    st.lists(st.none() | st.text(max_size=3), max_size=3),
    st.dictionaries(
        st.sampled_from(["id", "type", "name"]), st.none() | st.integers() | st.text(max_size=3), max_size=2
    ),
)

raw = st.text(st.characters(), max_size=80)
"""Any text, with halves of characters too, which no encoding has."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within a JSON value, to the whole of it too."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """Return the value with another one at a place."""
    if not path:
        return other
    made = deepcopy(value)
    held = made
    for key in path[:-1]:
        held = held[key]
    held[path[-1]] = other
    return made


def read_in_full(provider: Provider, request: Request) -> None:
    """Ask everything of a request that the service asks; only what is not understood may be said by an exception."""
    provider.pings(request)
    provider.handshake(request)
    parts = provider.parts(request)
    assert 0 < len(parts) <= MOST_PARTS
    for part in parts:
        kept = request if part.body is None else Request(request.method, request.url, request.headers, part.body)
        with suppress(NotUnderstoodError):
            ticket = provider.hint(kept)
            assert ticket is None or ticket
        with suppress(NotUnderstoodError):
            for index, event in enumerate(provider.events(kept, NOW)):
                if isinstance(event, TicketEvent):
                    sent = event_message(event, index, connection_id=CONNECTION, provider=provider.name)
                    protovalidate.validate(sent)


@cache
def known_rows(name: str) -> list[tuple[Case, str, list[WebhookSecret]]]:
    """Return a provider's table, made once."""
    return rows(TABLES[name])


@cache
def real_requests(name: str) -> list[tuple[Request, Any]]:
    """Return a provider's good requests whose body is JSON, with what that is."""
    found = []
    for case, url, _ in known_rows(name):
        if case.accepted and case.deliveries:
            with suppress(orjson.JSONDecodeError):
                found.append((Request(case.method, url, case.headers, case.body), orjson.loads(case.body)))
    return found


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=200)
@given(data=st.data())
def test_a_real_body_with_anything_odd_in_it_is_read_or_not_understood(name: str, data: st.DataObject) -> None:
    """Any one value replaced by something else than the vendor documents makes no other exception."""
    known = real_requests(name)
    if not known:
        pytest.skip("this vendor sends no JSON")
    request, value = data.draw(st.sampled_from(known))
    path = data.draw(st.sampled_from(list(places(value))))
    body = json.dumps(changed(value, path, data.draw(odd))).encode()
    read_in_full(PROVIDERS[name], Request(request.method, request.url, request.headers, body))


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=100)
@given(data=st.data(), body=st.binary(max_size=300))
def test_any_headers_and_body_are_refused_without_a_failure(name: str, data: st.DataObject, body: bytes) -> None:
    """The vendor's own headers with any values, missing and repeated ones too, prove nothing, at whatever address."""
    case, url, secrets = known_rows(name)[0]
    names = sorted({header for header, _ in case.headers})
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(names), raw), max_size=6))
    request = Request(case.method, url + data.draw(raw), pairs, body)
    verdict = judge(PROVIDERS[name], request, secrets, NOW)
    assert verdict.reason
    assert not verdict.accepted or PROVIDERS[name].proof is Proof.ADDRESS
    read_in_full(PROVIDERS[name], request)


@pytest.mark.parametrize("name", SIGNING)
@settings(max_examples=100)
@given(data=st.data())
def test_every_flipped_bit_of_a_signed_body_is_noticed(name: str, data: st.DataObject) -> None:
    """There is no bit in a body that the signature does not cover."""
    made = [(case, url, secrets) for case, url, secrets in known_rows(name) if case.accepted and case.deliveries]
    case, url, secrets = data.draw(st.sampled_from([each for each in made if each[0].body]))
    place = data.draw(st.integers(0, len(case.body) - 1))
    flipped = bytes([case.body[place] ^ (1 << data.draw(st.integers(0, 7)))])
    body = case.body[:place] + flipped + case.body[place + 1 :]
    assert judge(PROVIDERS[name], Request(case.method, url, case.headers, case.body), secrets, NOW).accepted
    assert not judge(PROVIDERS[name], Request(case.method, url, case.headers, body), secrets, NOW).accepted
