"""What a refusal does, counted: nobody can tell by it whether there is a connection behind an address."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from servicekit.database import Database
from services.crm.credentials import seal_payload
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Request, WebhookSecret
from tests.crm.conftest import Crm
from tests.crm.connecting import connected
from tests.crm.test_webhooks import refusal
from tests.crm.zendesk_requests import event, headers

PROVIDERS_THAT_SIGN = ["zendesk", "hubspot", "intercom", "helpscout"]
HEADERS = {
    "zendesk": headers(event(), datetime.now(UTC), text="nobody's"),
    "hubspot": (("x-hubspot-signature-v3", "bm9ib2R5"), ("x-hubspot-request-timestamp", "1763600000000")),
    "intercom": (("x-hub-signature", f"sha1={'0' * 40}"),),
    "helpscout": (("x-helpscout-signature", "bm9ib2R5"),),
}


@dataclass
class Work:
    """What was done: statements and transactions of the database, judgements and the secrets compared, seals."""

    statements: int = 0
    transactions: int = 0
    judgements: int = 0
    secrets: int = 0
    seals: int = 0


@contextmanager
def counted(provider: str) -> Iterator[Work]:
    """Count the work that is done meanwhile."""
    work, kind = Work(), type(PROVIDERS[provider])
    fetch, tenant, authenticate = Database.fetch, Database.tenant, kind.authenticate

    async def counting_fetch(self: Database, query: str, *arguments: object) -> list[Any]:
        work.statements += 1
        return await fetch(self, query, *arguments)

    def counting_tenant(self: Database, tenant_id: Any) -> Any:
        work.transactions += 1
        return tenant(self, tenant_id)

    def counting_judge(self: Any, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Any:
        work.judgements += 1
        work.secrets += len(secrets)
        return authenticate(self, request, secrets, now)

    def counting_seal(*arguments: Any, **named: Any) -> bytes:
        work.seals += 1
        return seal_payload(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "fetch", counting_fetch)
        patch.setattr(Database, "tenant", counting_tenant)
        patch.setattr(kind, "authenticate", counting_judge)
        patch.setattr("services.crm.inbox.seal_payload", counting_seal)
        yield work


@pytest.mark.parametrize("provider", PROVIDERS_THAT_SIGN)
@pytest.mark.parametrize("remembered", [False, True], ids=["looked up", "remembered"])
async def test_an_unknown_address_and_a_bad_signature_do_the_same_work(
    crm: Crm, provider: str, remembered: bool
) -> None:
    """The same statements, judgements and comparisons, for a first request to an address and for a later one."""
    shop = await connected(crm, provider, {"webhook_secret": "a-secret-of-this-connection"})
    # The tenant's key is unwrapped once in five minutes, whatever comes in.
    await crm.main.keyring.newest(shop.tenant_id)
    seen = []
    for token in (shop.token, "nobody-lives-here-0123456789abcd"):
        crm.main.directory.forget()
        if remembered:
            await refusal(crm, provider, token, event(), HEADERS[provider])
        with counted(provider) as work:
            await refusal(crm, provider, token, event(), HEADERS[provider])
        seen.append(work)
    assert seen[0] == seen[1]
    assert (seen[0].statements, seen[0].transactions, seen[0].seals) == (0 if remembered else 1, 0, 0)


async def test_the_wrong_vendors_address_costs_what_an_unknown_one_costs(crm: Crm) -> None:
    """The token of a connection to another provider tells nothing, nor does a provider that does not exist."""
    shop = await crm.shop()
    seen = []
    for provider, token in (("intercom", shop.token), ("intercom", "nobody"), ("zendesk", shop.token)):
        crm.main.directory.forget()
        with counted(provider) as work:
            await refusal(crm, provider, token, event(), HEADERS[provider])
        seen.append(work)
    assert seen[0] == seen[1] == seen[2]
    await crm.main.refusals.flush()
    assert (await crm.balance(shop)).refused == 2


async def test_a_late_signature_costs_more_only_for_who_has_the_secret(crm: Crm) -> None:
    """What is kept in quarantine is sealed and written; a forged one with the same time is not."""
    shop = await crm.shop()
    body, then = event(), datetime.now(UTC) - timedelta(minutes=6)
    with counted("zendesk") as forged:
        await refusal(crm, "zendesk", shop.token, body, headers(body, then, text="nobody's"))
    with counted("zendesk") as late:
        await refusal(crm, "zendesk", shop.token, body, headers(body, then))
    assert (forged.seals, forged.transactions) == (0, 0)
    assert (late.seals, late.transactions) == (1, 1)
