"""The isolation matrix: every RPC through every door into the suite, each with every kind of caller.

The rows are the methods that the descriptors list: a new method without a request in isolation/rows.py fails here. Of
a method that streams its answers the first one counts. The doors are the services' own ports, and at the edge gRPC,
gRPC-Web (binary and text) and REST; a method without a REST route must not exist at the edge for anybody.
"""

import asyncio
import json
import re
import time
from typing import Any
from uuid import uuid4

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from rapport.options.v1 import options_pb2

from tests.contract.descriptors import METHODS
from tests.e2e.isolation.doors import DOORS, Answer, Ask, Caller, ask_all, exposed, opened
from tests.e2e.isolation.rows import LAST, MAY_ANSWER, NOT_FOR_SHOPS, OWN_REFUSALS, REQUESTS
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, call, furnish, key_token, new_shop, operator_token

PLACEHOLDER = re.compile(r'"\{[a-z_]+\}"')
GUARDED = {name for name, method in METHODS.items() if not method.GetOptions().Extensions[options_pb2.access].public}
TENANTS = "rapport.tenant.v1.TenantService/"
OK, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND
DENIED, UNKNOWN_CALLER = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
NOWHERE = grpc.StatusCode.UNIMPLEMENTED
PROBES = (
    "rapport.tickets.v1.TicketService/ListTickets",
    "rapport.crm.v1.ConnectionService/ListConnections",
    "rapport.recommendations.v1.CustomerService/GetCustomer",
    "rapport.tenant.v1.ApiKeyService/ListApiKeys",
)
"""One method of each service, to see whether all have heard that a shop is refused."""


def filled(request: Any, shop: Shop) -> Any:
    """Put a shop's ids in the place of `{name}`."""
    text = json.dumps(request)
    for name, value in {**shop.ids, "slug": shop.slug, "tenant_id": shop.tenant_id}.items():
        text = text.replace(f'"{{{name}}}"', json.dumps(value))
    assert not PLACEHOLDER.search(text), text
    return json.loads(text)


def questions(shop: Shop, methods: set[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Return what is asked about a shop's things."""
    return [(method, filled(request, shop)) for method, request in REQUESTS.items() if not methods or method in methods]


def forged_token(shop: Shop) -> str:
    """Sign a token for the shop with a key that is not the suite's."""
    now = int(time.time())
    claims = {
        "iss": "rapport",
        "aud": "rapport",
        "sub": f"key:{uuid4()}",
        "tid": shop.tenant_id,
        "slug": shop.slug,
        "scope": " ".join(sorted({m.GetOptions().Extensions[options_pb2.access].scope for m in METHODS.values()})),
        "iat": now,
        "exp": now + 100,
        "jti": str(uuid4()),
    }
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "forged"})


async def furnished(suite: SuiteUnderTest, name: str) -> Shop:
    """Make a shop that has something of everything."""
    shop = await furnish(suite, await new_shop(suite, name))
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        profile = (await client.get(f"/api/customers/{shop.ids['customer']}")).json()
    shop.ids["archetype"] = profile["archetype"]["archetype_id"]
    return shop


async def caller_of(suite: SuiteUnderTest, shop: Shop) -> Caller:
    """Return a shop's own credential in both forms."""
    return Caller(token=await key_token(suite, shop.api_key), key=shop.api_key)


@pytest.fixture(scope="module")
def first(suite: SuiteUnderTest) -> Shop:
    """The shop whose things others ask for; nobody may change it."""
    return asyncio.run(furnished(suite, "first"))


@pytest.fixture(scope="module")
def second(suite: SuiteUnderTest) -> Shop:
    """Another shop, which must see nothing of the first."""
    return asyncio.run(new_shop(suite, "second"))


def test_every_guarded_method_has_its_row() -> None:
    """A new method must say what it is asked in the matrix."""
    assert set(REQUESTS) == GUARDED


def unexpected(
    door: str,
    shop: Shop,
    answers: dict[str, list[Answer]],
    allowed: dict[str, set[grpc.StatusCode]],
    *,
    own: bool = False,
) -> dict[str, str]:
    """Return the answers that are not as they must be, or that show what is the shop's to another."""
    wrong = {}
    for method, several in answers.items():
        expected = allowed[method]
        if door != "port" and not exposed(method):
            expected = {NOWHERE}
            assert door != "rest" or not several
        for answer in several:
            if answer.code not in expected or (not own and shop.marker.encode() in answer.content):
                wrong[f"{method} by {answer.route}"] = answer.words
    return wrong


@pytest.mark.parametrize("door", DOORS)
async def test_own_credential_reaches_every_method(suite: SuiteUnderTest, door: str) -> None:
    """With its own key a shop is answered everywhere that is for shops, and refused for lack of scope elsewhere."""
    shop = await furnished(suite, "own")
    caller = await caller_of(suite, shop)
    late = {method for method in REQUESTS if method.endswith(LAST)}
    async with opened(suite, door) as ask:
        answers = await ask_all(ask, questions(shop, set(REQUESTS) - late), caller)
        for method, request in sorted(questions(shop, late)):
            answers[method] = await ask(method, request, caller)
    allowed = {method: {DENIED if method in NOT_FOR_SHOPS else OWN_REFUSALS.get(method, OK)} for method in REQUESTS}
    assert unexpected(door, shop, answers, allowed, own=True) == {}


@pytest.mark.parametrize("door", DOORS)
async def test_another_shops_credential_sees_nothing(
    suite: SuiteUnderTest, first: Shop, second: Shop, door: str
) -> None:
    """With the second shop's key, what is the first's is not found, and no answer holds a trace of it."""
    async with opened(suite, door) as ask:
        answers = await ask_all(ask, questions(first), await caller_of(suite, second))
    refused = {NOT_FOUND, DENIED}
    # What names nothing of the first shop is the second's own affair: over REST 400 and 409 tell of its own state.
    own_state = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS}
    harmless = refused | own_state | {OK}
    allowed = {method: refused if names_another_shops_thing(method) else harmless for method in REQUESTS}
    assert unexpected(door, first, answers, allowed) == {}
    assert await unchanged(suite, first)


def names_another_shops_thing(method: str) -> bool:
    """Tell whether the request names what is the first shop's, so that another shop's call must fail.

    A batch leaves out what it does not find; an archetype is a combination of segments that two shops may share.
    """
    return bool(PLACEHOLDER.search(json.dumps(REQUESTS[method]))) and not method.split("/")[1].startswith(MAY_ANSWER)


async def unchanged(suite: SuiteUnderTest, shop: Shop) -> bool:
    """Tell whether the shop's ticket and key are as they were made."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        ticket = (await client.get(f"/api/tickets/{shop.ids['ticket']}")).json()
    return (
        ticket["status"] == "open"
        and ticket["priority"] == "normal"
        and shop.marker in ticket["subject"]
        and len(ticket["messages"]) == 1
        and len(ticket["notes"]) == 1
    )


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["nobody", "stranger", "forged"])
async def test_no_credential_that_was_not_given_out_reaches_anything(
    suite: SuiteUnderTest, first: Shop, kind: str, door: str
) -> None:
    """Without any, with a wrong key, and with a token that somebody else signed, everything is UNAUTHENTICATED."""
    wrong_key = first.api_key[:-8] + "AAAAAAAA"
    caller = {
        "nobody": Caller(),
        "stranger": Caller(token=wrong_key, key=wrong_key),
        "forged": Caller(token=forged_token(first)),
    }[kind]
    async with opened(suite, door) as ask:
        answers = await ask_all(ask, questions(first), caller)
    assert unexpected(door, first, answers, {method: {UNKNOWN_CALLER} for method in REQUESTS}) == {}
    assert await unchanged(suite, first)


@pytest.mark.parametrize("end", ["SuspendTenant", "DeleteTenant"])
async def test_the_credential_of_a_shop_that_is_refused_reaches_nothing(suite: SuiteUnderTest, end: str) -> None:
    """A suspended or deleted shop's key and token, good a moment ago, are worth nothing at any door."""
    shop = await furnished(suite, "refused")
    caller = await caller_of(suite, shop)
    async with opened(suite, "rest") as ask:
        # The gateway has exchanged the key and would do without asking again.
        assert {answer.code for answer in await ask(PROBES[0], {}, caller)} == {OK}
    await call(suite.grpc["tenant"], TENANTS + end, {"tenant": shop.slug}, await operator_token(suite))
    async with opened(suite, "port") as ask:
        await eventually(lambda: refused_everywhere(ask, shop, caller), within=2.0)
    for door in DOORS:
        async with opened(suite, door) as ask:
            answers = await ask_all(ask, questions(shop), caller)
        assert unexpected(door, shop, answers, {method: {UNKNOWN_CALLER} for method in REQUESTS}) == {}, door


async def refused_everywhere(ask: Ask, shop: Shop, caller: Caller) -> bool:
    """Tell whether each service refuses the shop."""
    answers = await ask_all(ask, questions(shop, set(PROBES)), caller)
    return all(answer.code is UNKNOWN_CALLER for several in answers.values() for answer in several)
