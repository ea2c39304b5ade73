"""The isolation matrix: every RPC and every REST route, each with every kind of caller.

The rows are the methods that the descriptors list: a new method without a request in rows.py fails here.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from rapport.options.v1 import options_pb2

from tests.contract.descriptors import METHODS
from tests.e2e.isolation.rows import LAST, NOT_FOR_SHOPS, OWN_REFUSALS, REQUESTS
from tests.support.world import Shop, SuiteUnderTest, call, furnish, key_token, new_shop, operator_token

MAY_ANSWER = ("BatchGet", "GetArchetype")
PLACEHOLDER = re.compile(r'"\{[a-z_]+\}"')
GUARDED = {name for name, method in METHODS.items() if not method.GetOptions().Extensions[options_pb2.access].public}


def filled(request: Any, shop: Shop) -> Any:
    """Put a shop's ids in the place of `{name}`."""
    text = json.dumps(request)
    for name, value in {**shop.ids, "slug": shop.slug}.items():
        text = text.replace(f'"{{{name}}}"', json.dumps(value))
    assert not PLACEHOLDER.search(text), text
    return json.loads(text)


async def outcome(suite: SuiteUnderTest, method: str, request: Any, token: str) -> tuple[grpc.StatusCode, str]:
    """Call a method at its service's own port; return the code and all that came back, as text."""
    owner = {"TicketDesk": "tickets", "Assistant": "recommendations"}.get(method.split("/", 1)[0].rsplit(".", 1)[-1])
    address = suite.grpc[owner or method.split(".", 2)[1]]
    if method.endswith("/WatchTrust"):
        return await stream_outcome(address, method, token)
    try:
        answer: Any = await call(address, method, request, token)
    except grpc.aio.AioRpcError as error:
        return error.code(), f"{error.details()}"
    body = getattr(answer, "data", b"")
    return grpc.StatusCode.OK, f"{answer}{body.decode() if isinstance(body, bytes) else ''}"


async def stream_outcome(address: str, method: str, token: str) -> tuple[grpc.StatusCode, str]:
    """Open a stream and return how it ends, or OK with its first message."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(address) as channel:
        stream = channel.unary_stream(f"/{method}")(b"", metadata=metadata, timeout=10)
        try:
            first = await stream.read()
        except grpc.aio.AioRpcError as error:
            return error.code(), f"{error.details()}"
        stream.cancel()
        return grpc.StatusCode.OK, f"{first!r}"


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


@pytest.fixture
async def first(suite: SuiteUnderTest) -> Shop:
    """The shop whose things are asked for."""
    shop = await furnish(suite, await new_shop(suite, "first"))
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        profile = (await client.get(f"/api/customers/{shop.ids['customer']}")).json()
    shop.ids["archetype"] = profile["archetype"]["archetype_id"]
    return shop


@pytest.fixture
async def second(suite: SuiteUnderTest) -> Shop:
    """Another shop, which must see nothing of the first."""
    return await new_shop(suite, "second")


def test_every_guarded_method_has_its_row() -> None:
    """A new method must say what it is asked in the matrix."""
    assert set(REQUESTS) == GUARDED


async def test_own_credential_reaches_every_method(suite: SuiteUnderTest, first: Shop) -> None:
    """With its own key a shop is answered everywhere that is for shops, and refused for lack of scope elsewhere."""
    token = await key_token(suite, first.api_key)
    wrong = {}
    for method in sorted(REQUESTS, key=lambda name: name.endswith(LAST)):
        code, text = await outcome(suite, method, filled(REQUESTS[method], first), token)
        expected = OWN_REFUSALS.get(method, grpc.StatusCode.OK)
        if method in NOT_FOR_SHOPS:
            expected = grpc.StatusCode.PERMISSION_DENIED
        if code is not expected:
            wrong[method] = (code.name, text[:300])
    assert wrong == {}


async def test_another_shops_credential_sees_nothing(suite: SuiteUnderTest, first: Shop, second: Shop) -> None:
    """With the second shop's key, what is the first's is not found, and no answer holds a trace of it."""
    token = await key_token(suite, second.api_key)
    wrong = {}
    for method, request in REQUESTS.items():
        code, text = await outcome(suite, method, filled(request, first), token)
        refused = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}
        allowed = refused if names_another_shops_thing(method) else refused | {grpc.StatusCode.OK}
        if code not in allowed or first.marker in text:
            wrong[method] = (code.name, text[:300])
    assert wrong == {}
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


@pytest.mark.parametrize("caller", ["nobody", "forged", "suspended"])
async def test_no_credential_that_holds_reaches_nothing(suite: SuiteUnderTest, first: Shop, caller: str) -> None:
    """Without a token, with a forged one, and with a suspended shop's, every guarded method answers UNAUTHENTICATED."""
    token = "" if caller == "nobody" else forged_token(first)
    if caller == "suspended":
        token = await key_token(suite, first.api_key)
        unbound = await operator_token(suite)
        suspend = "rapport.tenant.v1.TenantService/SuspendTenant"
        await call(suite.grpc["tenant"], suspend, {"tenant": first.slug}, unbound)
        await refused_everywhere(suite, token)
    wrong = {}
    for method, request in REQUESTS.items():
        code, text = await outcome(suite, method, filled(request, first), token)
        if code is not grpc.StatusCode.UNAUTHENTICATED or first.marker in text:
            wrong[method] = (code.name, text[:300])
    assert wrong == {}


async def refused_everywhere(suite: SuiteUnderTest, token: str) -> None:
    """Wait until each service has heard of the suspension, at most two seconds."""
    probes: dict[str, dict[str, Any]] = {
        "rapport.tickets.v1.TicketService/ListTickets": {},
        "rapport.crm.v1.ConnectionService/ListConnections": {},
        "rapport.recommendations.v1.OrderService/CreateOrderImport": {},
        "rapport.tenant.v1.ApiKeyService/ListApiKeys": {},
    }
    end = time.monotonic() + 2.0
    pending = set(probes)
    while pending and time.monotonic() < end:
        for method in list(pending):
            code, _ = await outcome(suite, method, probes[method], token)
            if code is grpc.StatusCode.UNAUTHENTICATED:
                pending.discard(method)
    assert pending == set(), "these had not heard of the suspension in time"


def rest_calls(method: MethodDescriptor, request: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Render a request for each REST route of a method: verb, path with query, body."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if not verb:
            continue
        rest = json.loads(json.dumps(request))

        def put(match: re.Match[str], rest: dict[str, Any] = rest) -> str:
            *parents, leaf = match.group(1).split(".")
            holder = rest
            for parent in parents:
                holder = holder[parent]
            return str(holder.pop(leaf))

        path = re.sub(r"\{([a-z_.]+)(?:=[^}]*)?\}", put, getattr(each, verb))
        if each.body == "*":
            yield verb, path, rest
        elif each.body:
            body = rest.pop(each.body, {})
            yield verb, f"{path}?{urlencode(rest, doseq=True)}" if rest else path, body
        else:
            yield verb, f"{path}?{urlencode(rest, doseq=True)}" if rest else path, None


async def rest_answer(
    client: httpx.AsyncClient, verb: str, path: str, body: dict[str, Any] | None, key: str | None
) -> httpx.Response:
    """Send one REST call."""
    headers = {} if key is None else {"x-api-key": key}
    return await client.request(verb.upper(), path, json=body, headers=headers)


async def test_rest_routes_show_nothing_of_another_shop(suite: SuiteUnderTest, first: Shop, second: Shop) -> None:
    """On every REST route: no key and a wrong key are 401, another shop's key finds nothing and shows nothing."""
    wrong = {}
    wrong_key = second.api_key[:-8] + "AAAAAAAA"
    async with suite.client() as client:
        for name, request in REQUESTS.items():
            for verb, path, body in rest_calls(METHODS[name], filled(request, first)):
                nobody = await rest_answer(client, verb, path, body, None)
                stranger = await rest_answer(client, verb, path, body, wrong_key)
                other = await rest_answer(client, verb, path, body, second.api_key)
                problems = [
                    f"{who}: {answer.status_code} {answer.text[:200]}"
                    for who, answer in (("nobody", nobody), ("stranger", stranger))
                    if answer.status_code != 401 or not answer.json()["detail"]
                ]
                allowed = {403, 404} if names_another_shops_thing(name) else {200, 400, 403, 404, 409}
                if other.status_code not in allowed or first.marker in other.text:
                    problems.append(f"other: {other.status_code} {other.text[:200]}")
                if problems:
                    wrong[f"{verb} {path}"] = problems
    assert wrong == {}
    assert await unchanged(suite, first)
