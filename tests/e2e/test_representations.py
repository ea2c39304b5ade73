"""One thing, several forms: compressed or not, new or known already, over REST through the real gateway."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.world import SuiteUnderTest, new_shop

CARDS = "/api/tickets?limit=50&smart_order=true&status=open"
WORDS = "Hello, my parcel with the number {} has not arrived and I have been waiting for {} days. Where is order {}?"


@pytest.fixture
async def client(suite: SuiteUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of a new shop."""
    shop = await new_shop(suite, "form")
    async with suite.client(**{"x-api-key": shop.api_key}) as open_client:
        yield open_client


async def open_ticket(client: httpx.AsyncClient, number: int = 1) -> httpx.Response:
    """Open a ticket."""
    values = {
        "customer_id": f"customer-{number}",
        "channel": "email",
        "subject": f"Where is my order {number * 37}?",
        "initial_message": WORDS.format(number * 31337, number, number * 77),
    }
    return await client.post("/v1/tickets", json=values)


async def raw(client: httpx.AsyncClient, path: str, encodings: str) -> tuple[httpx.Headers, bytes]:
    """Get a page and return its headers and its bytes as they came."""
    async with client.stream("GET", path, headers={"accept-encoding": encodings}) as response:
        assert response.status_code == 200
        return response.headers, b"".join([piece async for piece in response.aiter_raw()])


async def test_a_page_of_the_inbox_is_a_tenth_for_who_takes_it_compressed(client: httpx.AsyncClient) -> None:
    """By gzip or brotli, whichever the client takes; brotli where it takes both; and caches are told."""
    for number in range(50):
        assert (await open_ticket(client, number)).status_code == 200
    plain, whole = await raw(client, CARDS, "identity")
    assert "content-encoding" not in plain
    assert plain["vary"] == "Accept-Encoding"
    sizes = {"identity": len(whole)}
    for encodings, chosen in (("gzip", "gzip"), ("br", "br"), ("gzip, deflate, br", "br"), ("zstd", None)):
        headers, body = await raw(client, CARDS, encodings)
        assert (headers.get("content-encoding"), headers["vary"]) == (chosen, "Accept-Encoding")
        sizes[encodings] = len(body)
        if chosen == "gzip":
            assert gzip.decompress(body).count(b'"ticket_number"') == 50
    print(f"bytes of a page of 50 cards: {sizes}")  # noqa: T201 - the figures of the drill
    assert sizes["gzip"] < sizes["identity"] / 5
    assert sizes["br"] < sizes["gzip"]


async def test_documents_are_compressed_and_what_is_short_or_has_an_etag_is_not(client: httpx.AsyncClient) -> None:
    """The OpenAPI document is long; a ticket has a strong etag, which names its very bytes."""
    headers, _ = await raw(client, "/openapi.json", "gzip, br")
    assert headers["content-encoding"] == "br"
    assert (await open_ticket(client)).status_code == 200
    headers, _ = await raw(client, "/v1/tickets/T-001", "gzip, br")
    assert "content-encoding" not in headers
    assert headers["etag"].startswith('"')
    headers, _ = await raw(client, "/v1/tickets/T-001/messages", "gzip, br")
    assert "content-encoding" not in headers


async def test_a_write_with_the_etag_of_the_answer_before_passes_once(client: httpx.AsyncClient) -> None:
    """The second one saw what is no longer so: 412, with the etag of now, and nothing is changed."""
    made = await open_ticket(client)
    seen = {"if-match": made.headers["etag"]}
    changed = await client.patch("/v1/tickets/T-001", json={"priority": "high"}, headers=seen)
    assert changed.status_code == 200
    refused = await client.patch("/v1/tickets/T-001", json={"priority": "low"}, headers=seen)
    assert (refused.status_code, refused.json()["reason"]) == (412, "ETAG_MISMATCH")
    assert refused.json()["title"] == "Precondition Failed"
    assert refused.headers["etag"] == changed.headers["etag"] != made.headers["etag"]
    closing = await client.post("/v1/tickets/T-001:close", json={}, headers={"if-match": refused.headers["etag"]})
    assert closing.status_code == 200
    in_the_body = await client.post("/v1/tickets/T-001:reopen", json={"etag": "stale"})
    assert (in_the_body.status_code, in_the_body.json()["reason"]) == (409, "ETAG_MISMATCH")


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
async def test_what_is_known_already_is_not_sent_again(suite: SuiteUnderTest, http2: bool) -> None:
    """304 without a body and with the etag, as long as it holds; then the ticket again."""
    shop = await new_shop(suite, "known")
    async with suite.client(http2=http2, **{"x-api-key": shop.api_key}) as client:
        etag = (await open_ticket(client)).headers["etag"]
        for form in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            known = await client.get("/v1/tickets/T-001", headers={"if-none-match": form})
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
            assert "content-type" not in known.headers
        assert (await client.get("/v1/tickets/T-001")).status_code == 200, "the connection still works"
        await client.post("/v1/tickets/T-001:close", json={})
        fresh = await client.get("/v1/tickets/T-001", headers={"if-none-match": etag})
    assert (fresh.status_code, fresh.json()["status"]) == (200, "closed")
    assert fresh.headers["etag"] != etag
