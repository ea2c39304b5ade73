"""Addresses are parsed strictly, and names are resolved without losing what was known."""

import pytest

from gateway.addresses import HostPort, resolve


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:443", "::1", 443), ("tenant:7000", "tenant", 7000)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    """And is written as it was read."""
    parsed = HostPort.parse(text)
    assert (parsed.host, parsed.port, str(parsed)) == (host, port, text)


@pytest.mark.parametrize("text", ["", "localhost", ":80", "localhost:", "localhost:http"])
def test_anything_else_is_refused(text: str) -> None:
    """The error quotes it."""
    with pytest.raises(ValueError, match="host:port"):
        HostPort.parse(text)


async def test_names_become_addresses_and_addresses_stay() -> None:
    """Each address of a name is one endpoint."""
    found = await resolve({"a": [HostPort("localhost", 1), HostPort("127.0.0.9", 2)]}, {})
    assert found["a"] == (HostPort("127.0.0.1", 1), HostPort("127.0.0.9", 2))


async def test_a_name_that_does_not_resolve_keeps_what_was_known() -> None:
    """A failing name server takes no service away."""
    known = {"a": (HostPort("127.0.0.1", 1),)}
    services = {"a": [HostPort("no-such-name.invalid", 1)], "b": [HostPort("no-such-name.invalid", 1)]}
    assert await resolve(services, known) == {"a": known["a"], "b": ()}
