"""Allow-lists: from where a connection's webhooks may come, judged by what the gateway says of the client."""

import asyncio
from datetime import UTC, datetime

import grpc
import pytest

from services.crm.allowed import MOST_NETWORKS, allows, networks
from tests.crm.conftest import Crm
from tests.crm.connecting import connected
from tests.crm.test_webhooks import look, refusal
from tests.crm.zendesk_requests import SECRET, event, headers

LIST = "203.0.113.7, 198.51.100.0/24,2001:db8::/32"


@pytest.mark.parametrize(
    ("client", "allowed"),
    [
        ("203.0.113.7", True),
        ("203.0.113.8", False),
        ("198.51.100.255", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:203.0.113.7", True),
        ("", False),
        ("203.0.113.7, 198.51.100.1", False),
        ("not an address", False),
        (None, False),
    ],
)
def test_a_client_is_looked_for_in_the_networks(client: str | None, allowed: bool) -> None:
    """Whoever is not known is in none of them."""
    assert allows(LIST, client) is allowed


def test_without_a_list_everybody_may() -> None:
    """The list narrows only where there is one; one that cannot be read allows nobody."""
    assert allows("", None)
    assert not allows("everybody", "203.0.113.7")


@pytest.mark.parametrize("text", ["", "x", "203.0.113.7/24", "203.0.113.0/33", "1.2.3.4,,5.6.7.8", "203.0.113.07"])
def test_what_is_no_list_of_networks_is_refused(text: str) -> None:
    """An address with bits behind its prefix is a mistake too."""
    with pytest.raises(ValueError, match=r".*"):
        networks(text)


async def test_a_connection_takes_a_list_that_can_be_read(crm: Crm) -> None:
    """Every provider's connection may have one; a wrong one is told by the name of the setting."""
    await connected(crm, "helpshift", allowed_addresses=LIST)
    for wrong in ("all", ",".join(f"10.0.{number}.1" for number in range(MOST_NETWORKS + 1))):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connected(crm, "helpshift", allowed_addresses=wrong)
        assert b"config.allowed_addresses" in look(raised.value)[2]


async def test_webhooks_from_elsewhere_are_refused_as_all_that_prove_nothing(crm: Crm) -> None:
    """A right signature from a wrong address, and one of whom nothing is said, look as an unknown address."""
    shop = await crm.shop(allowed_addresses=LIST)
    body = event()
    signed = headers(body, datetime.now(UTC), text=SECRET)
    stranger = look(await refusal(crm, "zendesk", "no-such-token", body, signed))
    for said in ((), (("x-rapport-client", "192.0.2.1"),), (("x-forwarded-for", "203.0.113.7"),)):
        assert look(await refusal(crm, "zendesk", shop.token, body, (*signed, *said))) == stranger
    await crm.main.refusals.flush()
    assert (await crm.balance(shop)).refused == 3
    await crm.post("zendesk", shop.token, body, (*signed, ("x-rapport-client", "198.51.100.9")))
    assert (await crm.balance(shop)).admitted == 1


async def test_lists_are_each_connections_own(crm: Crm) -> None:
    """One shop's list says nothing about another's webhooks."""
    listed, other = await crm.shop(allowed_addresses="203.0.113.7"), await crm.shop()
    body = event()
    await asyncio.gather(crm.deliver(other, body), refusal(crm, "zendesk", listed.token, body, ()))
    assert (await crm.balance(other)).admitted == 1
