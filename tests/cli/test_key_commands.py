"""Keys from the command line, on a running suite."""

import uuid

import httpx
import pytest

from tests.support.suite import Ran, rapport
from tests.support.world import SuiteUnderTest


def run(suite: SuiteUnderTest, *arguments: str) -> Ran:
    """Run a command on the shared suite."""
    return rapport(*arguments, "--json", "--data", suite.data)


@pytest.fixture(scope="module")
def shop(suite: SuiteUnderTest) -> str:
    """The slug of a new shop, whose keys every test knows by itself."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    assert run(suite, "tenant", "create", "--slug", slug, "--name", "A shop").code == 0
    return slug


async def status(suite: SuiteUnderTest, key: str, **headers: str) -> int:
    """The answer to a key through the gateway."""
    async with suite.client(**{"x-api-key": key}) as client:
        response: httpx.Response = await client.get("/v1/tickets", headers=headers)
    return response.status_code


async def test_a_key_is_made_rotated_listed_and_revoked(suite: SuiteUnderTest, shop: str) -> None:
    """Each text is shown once and works; the list tells how the keys are related and never shows a text."""
    made = run(suite, "key", "create", "--tenant", shop, "--name", "till", "--scope", "tickets.read").value["api_key"]
    assert (made["kind"], made["scopes"], made["name"]) == ("KIND_SECRET", ["tickets.read"], "till")
    assert await status(suite, made["key"]) == 200
    rotated = run(suite, "key", "rotate", made["id"], "--tenant", shop, "--overlap", "2h").value["api_key"]
    assert rotated["rotated_from"] == made["id"]
    assert [await status(suite, key["key"]) for key in (made, rotated)] == [200, 200]
    revoked = run(suite, "key", "revoke", made["id"], "--tenant", shop).value["api_key"]
    assert "revoke_time" in revoked
    listed = run(suite, "key", "list", "--tenant", shop)
    names = {key["id"]: key["name"] for key in listed.value["api_keys"]}
    assert names[made["id"]] == names[rotated["id"]] == "till"
    assert not [key for key in (made["key"], rotated["key"]) if key in listed.output]
    table = rapport("key", "list", "--tenant", shop, "--data", suite.data)
    assert made["prefix"] in table.output


async def test_a_key_with_an_origin_is_a_browser_key(suite: SuiteUnderTest, shop: str) -> None:
    """It works from there only; without --json the text is on standard output and the warning beside it."""
    base = ("key", "create", "--tenant", shop, "--name", "desk", "--scope", "tickets.read", "--data", suite.data)
    ran = rapport(*base, "--origin", "https://*.example.com", "--expires-in", "30d")
    [line] = [line for line in ran.output.splitlines() if line.startswith("API key: ")]
    key = line.removeprefix("API key: ")
    assert key.startswith("rpb_")
    assert "once" in ran.messages
    assert await status(suite, key, origin="https://a.example.com") == 200
    assert await status(suite, key, origin="https://evil.example") == 403


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(
            ("create", "--name", "x", "--scope", "keys.read", "--origin", "https://a.example"),
            "SCOPE_NOT_FOR_BROWSERS",
            id="a browser's scope",
        ),
        pytest.param(
            ("create", "--name", "x", "--scope", "tickets.read", "--expires-in", "soon"), "USAGE", id="a span"
        ),
        pytest.param(
            ("create", "--name", "x", "--scope", "tickets.read", "--expires-in", "999999999d"), "USAGE", id="too long"
        ),
        pytest.param(("rotate", str(uuid.uuid4())), "API_KEY_NOT_FOUND", id="an unknown key"),
        pytest.param(("revoke", "no-id"), "REQUEST_INVALID", id="no id"),
    ],
)
def test_what_cannot_be_done_is_told_by_its_reason(
    suite: SuiteUnderTest, shop: str, arguments: tuple[str, ...], reason: str
) -> None:
    """With a code other than 0 and a reason for programs."""
    ran = run(suite, "key", *arguments, "--tenant", shop)
    assert ran.code in {1, 2}
    assert ran.value["error"]["reason"] == reason
