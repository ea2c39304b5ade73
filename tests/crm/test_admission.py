"""Keys that never collide, bytes that come back as they were, and seals that open in their own place only."""

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.envelope import SealBrokenError, Sealer, new_data_key
from servicekit.ids import uuid7
from services.crm.admission import conversation_of, dedupe_key, length_prefixed, pack, unpack
from services.crm.credentials import open_payload, open_secret, seal_payload, seal_secret
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Part, Request

parts = st.lists(st.text(max_size=12), max_size=4)


@given(one=st.lists(st.binary(max_size=8), max_size=5), other=st.lists(st.binary(max_size=8), max_size=5))
def test_different_parts_never_give_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    """The length before each part keeps apart what plain concatenation would not."""
    assert (length_prefixed(one) == length_prefixed(other)) == (one == other)


@given(one=parts, other=parts, connections=st.tuples(st.uuids(), st.uuids()), providers=st.tuples(st.text(), st.text()))
def test_dedupe_keys_differ_when_anything_differs(
    one: list[str], other: list[str], connections: tuple[UUID, UUID], providers: tuple[str, str]
) -> None:
    """Provider, connection and each part of the delivery's name count, at their places."""
    first = dedupe_key(providers[0], connections[0], one)
    second = dedupe_key(providers[1], connections[1], other)
    assert len(first) == 32
    assert (first == second) == ((providers[0], connections[0], one) == (providers[1], connections[1], other))


def test_boundary_between_parts_counts() -> None:
    """The well-known collision of unseparated parts does not happen."""
    connection = uuid7()
    assert dedupe_key("p", connection, ("ab", "c")) != dedupe_key("p", connection, ("a", "bc"))


def test_conversation_is_the_ticket_of_a_connection_or_the_delivery_itself() -> None:
    """Deliveries about one ticket share a number; those about none share it with nobody."""
    connection, one, two = uuid7(), uuid7(), uuid7()
    ticket, nothing = Part((), ("e", "1"), "7"), Part((), ("e", "1"), None)
    assert conversation_of(connection, ticket, one) == conversation_of(connection, ticket, two)
    assert conversation_of(connection, ticket, one) != conversation_of(uuid7(), ticket, one)
    assert conversation_of(connection, nothing, one) != conversation_of(connection, nothing, two)
    assert 0 <= conversation_of(connection, ticket, one) < 2**63


@given(body=st.binary(max_size=200), value=st.text(max_size=50))
def test_packed_request_comes_back_byte_for_byte(body: bytes, value: str) -> None:
    """Body and kept headers survive whatever is in them, repeated headers too."""
    headers = (("x-kept", value), ("authorization", "Bearer credential"), ("x-kept", "again"))
    packed = pack(Request("POST", "https://h/webhooks/zendesk/TOKEN?a=b", headers, body), {"x-kept"})
    found = unpack(packed)
    assert found.body == body
    assert found.headers == (("x-kept", value), ("x-kept", "again"))
    assert (found.method, found.url) == ("POST", "https://h/webhooks/zendesk")


def test_credentials_and_the_token_of_the_address_are_dropped_before_storing() -> None:
    """Only listed headers are kept; the address loses its secret part and its query."""
    headers = (("authorization", "Bearer credential"), ("cookie", "session"), ("content-type", "text/plain"))
    packed = pack(Request("POST", "https://h/webhooks/zendesk/TOKEN?key=QUERY", headers, b"body"), {"content-type"})
    for secret in (b"credential", b"session", b"TOKEN", b"QUERY"):
        assert secret not in packed


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS.keys())
@pytest.mark.parametrize("header", ["authorization", "cookie", "x-api-key", "proxy-authorization"])
def test_no_provider_keeps_headers_that_carry_credentials(provider: object, header: str) -> None:
    """A walk over all providers: live credentials never reach the store."""
    assert header not in provider.kept_headers  # type: ignore[attr-defined]  # every provider has them


@given(packed=st.binary(max_size=60))
def test_any_other_bytes_do_not_unpack_into_a_crash(packed: bytes) -> None:
    """Bytes that are no packed request are a ValueError and nothing else."""
    with contextlib.suppress(ValueError):
        unpack(packed)


@given(
    tenants=st.tuples(st.uuids(), st.uuids()),
    connections=st.tuples(st.uuids(), st.uuids()),
    names=st.tuples(st.sampled_from(["webhook_secret", "api_token"]), st.sampled_from(["webhook_secret", "api_token"])),
    versions=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_secret_opens_only_where_it_was_sealed(
    tenants: tuple[UUID, UUID], connections: tuple[UUID, UUID], names: tuple[str, str], versions: tuple[int, int]
) -> None:
    """A ciphertext that was moved to another tenant, connection, name or version does not open."""
    sealer = Sealer(new_data_key())
    here, there = (
        {"tenant_id": tenants[i], "connection": connections[i], "name": names[i], "version": versions[i]}
        for i in (0, 1)
    )
    sealed = seal_secret(sealer, "the secret", **here)  # type: ignore[arg-type]  # values of several types
    assert open_secret(sealer, sealed, **here) == "the secret"  # type: ignore[arg-type]  # the same
    if here != there:
        with pytest.raises(SealBrokenError):
            open_secret(sealer, sealed, **there)  # type: ignore[arg-type]  # the same
    with pytest.raises(SealBrokenError):
        open_secret(Sealer(new_data_key()), sealed, **here)  # type: ignore[arg-type]  # the same


@given(position=st.integers(0, 1000), bit=st.integers(0, 7))
def test_changed_payload_does_not_open(position: int, bit: int) -> None:
    """Any changed bit, another delivery or another tenant breaks the seal."""
    sealer, tenant, delivery = Sealer(new_data_key()), uuid7(), uuid7()
    sealed = seal_payload(sealer, b"payload", tenant_id=tenant, delivery=delivery)
    assert open_payload(sealer, sealed, tenant_id=tenant, delivery=delivery) == b"payload"
    place = position % len(sealed)
    changed = sealed[:place] + bytes([sealed[place] ^ (1 << bit)]) + sealed[place + 1 :]
    for attempt in ((changed, tenant, delivery), (sealed, uuid7(), delivery), (sealed, tenant, uuid7())):
        with pytest.raises(SealBrokenError):
            open_payload(sealer, attempt[0], tenant_id=attempt[1], delivery=attempt[2])
