"""What an operator does with a running suite."""

import asyncio
import uuid
from pathlib import Path

import pytest

from tests.support.proof_server import proof_server
from tests.support.suite import Ran, domain_hosts_of, rapport
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest

HEADER = "order_id,customer_id,ordered_at,product_id,product_name,quantity,unit_price,currency\n"


@pytest.fixture
def shop(suite: SuiteUnderTest) -> str:
    """A new shop's slug."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    created = run(suite, "tenant", "create", "--slug", slug, "--name", "A shop").value
    assert created["tenant"]["slug"] == slug
    assert created["api_key"].startswith("rpk_")
    return slug


def run(suite: SuiteUnderTest, *arguments: str, text: str = "") -> Ran:
    """Run a command on the shared suite."""
    return rapport(*arguments, "--json", "--data", suite.data, text=text)


def audit_log(suite: SuiteUnderTest, *arguments: str) -> list[dict[str, str]]:
    """Read an audit log."""
    entries: list[dict[str, str]] = run(suite, "audit", *arguments).value["audit_entries"]
    return entries


def test_a_shop_is_suspended_resumed_and_deleted(suite: SuiteUnderTest, shop: str) -> None:
    """Each command answers with the shop as it is then, and the list shows it until it is deleted."""
    for command, state in (("suspend", "STATE_SUSPENDED"), ("resume", "STATE_ACTIVE"), ("show", "STATE_ACTIVE")):
        assert run(suite, "tenant", command, shop).value["tenant"]["state"] == state
    assert shop in [tenant["slug"] for tenant in run(suite, "tenant", "list").value["tenants"]]
    assert run(suite, "tenant", "delete", shop).value["tenant"]["state"] == "STATE_DELETED"
    assert shop not in [tenant["slug"] for tenant in run(suite, "tenant", "list").value["tenants"]]
    refused = run(suite, "tenant", "create", "--slug", shop, "--name", "Again")
    assert refused.code == 1
    assert refused.value["error"]["reason"] == "TENANT_ALREADY_EXISTS"


def test_a_shop_is_changed_by_what_is_named(suite: SuiteUnderTest, shop: str) -> None:
    """Values get the types of their settings, what is not named stays, and what is unset goes back to its default."""
    update = ("tenant", "update", shop)
    origins = "cors_origins=https://desk.example.com,https://*.example.org"
    features = ("--feature", "demo=on", "--setting", "requests_per_minute=600", "--setting", origins)
    changed = run(suite, *update, "--name", "Wool & Sons", "--environment", "staging", *features).value["tenant"]
    assert (changed["name"], changed["environment"]) == ("Wool & Sons", "ENVIRONMENT_STAGING")
    assert changed["features"]["demo"] is True
    assert changed["settings"]["requests_per_minute"] == 600
    assert changed["settings"]["cors_origins"] == ["https://desk.example.com", "https://*.example.org"]
    again = run(suite, *update, "--unset", "demo", "--unset", "cors_origins").value["tenant"]
    assert (again["name"], again["features"]["demo"]) == ("Wool & Sons", False)
    assert again["settings"] == {"cors_origins": [], "requests_per_minute": 600}
    assert run(suite, *update, "--name", "Late", "--etag", changed["etag"]).value["error"]["reason"] == "ETAG_MISMATCH"
    assert run(suite, *update, "--setting", "colour=red").value["error"]["reason"] == "SETTING_UNKNOWN"


def test_a_deleted_shop_is_brought_back(suite: SuiteUnderTest, shop: str) -> None:
    """A person is told until when that works; before the deletion there is nothing to bring back."""
    assert run(suite, "tenant", "undelete", shop).value["error"]["reason"] == "TENANT_NOT_DELETED"
    assert run(suite, "tenant", "erase", shop).value["error"]["reason"] == "USAGE"
    assert run(suite, "tenant", "erase", shop, "--yes").value["error"]["reason"] == "TENANT_NOT_DELETED"
    assert run(suite, "tenant", "delete", shop).value["tenant"]["purge_time"]
    assert "erased    from" in rapport("tenant", "show", shop, "--data", suite.data).output
    back = run(suite, "tenant", "undelete", shop).value["tenant"]
    assert back["state"] == "STATE_ACTIVE"
    assert "purge_time" not in back


def test_a_connection_takes_its_secret_from_standard_input(suite: SuiteUnderTest, shop: str, tmp_path: Path) -> None:
    """The secret comes from a file or a pipe, and no answer holds more than its end."""
    secret = uuid.uuid4().hex
    base = ("connection", "create", "--tenant", shop, "--provider", "zendesk", "--config", "subdomain=acme")
    piped = run(suite, *base, "--secret-stdin", "webhook_secret", text=f"{secret}\n")
    assert piped.value["webhook_url"].startswith(f"{suite.https_url}/webhooks/zendesk/")
    path = tmp_path / "secret"
    path.write_text(secret, encoding="utf-8")
    filed = run(suite, *base, "--secret-file", f"webhook_secret={path}")
    assert filed.value["connection"]["secrets"][0]["last_four"] == secret[-4:]
    listed = run(suite, "connection", "list", "--tenant", shop)
    assert len(listed.value["connections"]) == 2
    assert secret not in piped.output + piped.messages + filed.output + listed.output


def test_orders_come_in_once_however_often_they_are_imported(suite: SuiteUnderTest, shop: str, tmp_path: Path) -> None:
    """A second import of the same file finds every order known."""
    path = tmp_path / "orders.csv"
    lines = "".join(f"o{n // 2},c{n // 4},2026-01-{n // 2 + 1:02}T10:00:00Z,p{n},Wool,1,2.50,EUR\n" for n in range(40))
    path.write_text(HEADER + lines, encoding="utf-8")
    first = run(suite, "orders", "import", "--tenant", shop, str(path)).value
    assert first["lines"] == 40
    assert (first["import"]["new_order_count"], first["import"]["customer_count"]) == (20, 10)
    second = run(suite, "orders", "import", "--tenant", shop, str(path)).value
    assert (second["import"]["new_order_count"], second["import"]["changed_order_count"]) == (0, 0)


def test_a_bad_row_goes_to_the_rejects_and_the_others_go_in(suite: SuiteUnderTest, shop: str, tmp_path: Path) -> None:
    """The bad lines are told by number; with --strict the good ones stay out as well."""
    path = tmp_path / "orders.csv"
    path.write_text(
        f"{HEADER}o1,c1,2026-01-01,p1,Wool,1,2.50,EUR\no2,c1,yesterday,p1,Wool,1,2.50,EUR\n", encoding="utf-8"
    )
    ran = run(suite, "orders", "import", "--tenant", shop, str(path), "--strict")
    assert ran.code == 1
    error = ran.value["error"]
    assert (error["reason"], error["bad_row_count"], error["bad_rows"][0]["line"]) == ("ROWS_INVALID", 1, 3)
    assert "line 3" in ran.messages
    ran = run(suite, "orders", "import", "--tenant", shop, str(path))
    assert (ran.code, ran.value["import"]["new_order_count"]) == (0, 1)
    assert (ran.value["rejected"]["lines"], ran.value["rejected"]["bad_rows"][0]["line"]) == (1, 3)
    assert "yesterday" in Path(ran.value["rejected"]["file"]).read_text(encoding="utf-8")
    path.write_text(f"{HEADER}o2,c1,yesterday,p1,Wool,1,2.50,EUR\n", encoding="utf-8")
    assert run(suite, "orders", "import", "--tenant", shop, str(path)).value["error"]["reason"] == "ROWS_INVALID"
    path.write_text(HEADER, encoding="utf-8")
    assert run(suite, "orders", "import", "--tenant", shop, str(path)).value["error"]["reason"] == "NOTHING_TO_IMPORT"


async def test_the_audit_log_tells_acts_and_refusals_apart(suite: SuiteUnderTest, shop: str) -> None:
    """With a slug it is the shop's log, without one the deployment's, in which no shop's refusals stand."""
    key = run(suite, "key", "create", "--tenant", shop, "--name", "till", "--scope", "tickets.read").value["api_key"]
    for command in (("key", "revoke", key["id"], "--tenant", shop), ("tenant", "suspend", shop)):
        assert run(suite, *command).code == 0
    assert run(suite, "tenant", "resume", shop).code == 0
    async with suite.client(**{"x-api-key": key["key"]}) as client:
        assert (await client.get("/v1/tickets")).status_code == 401

    async def refusals() -> list[dict[str, str]]:
        return audit_log(suite, shop, "--refusals")

    [refusal] = await eventually(refusals)
    assert (refusal["kind"], refusal["subject"]) == ("KIND_REFUSAL", f"key:{key['id']}")
    acts = ["ResumeTenant", "SuspendTenant", "RevokeApiKey", "CreateApiKey", "CreateTenant"]
    found = audit_log(suite, shop, "--acts")
    assert [(entry["method"].rpartition("/")[2], entry["outcome"]) for entry in found] == [(act, "OK") for act in acts]
    assert audit_log(suite, shop) == [refusal, *found]
    assert audit_log(suite, shop, "--limit", "2") == [refusal, found[0]]
    of_shop = [entry["id"] for entry in audit_log(suite, "--limit", "1000") if shop in entry["resource"]]
    assert of_shop == [found[0]["id"], found[1]["id"], found[4]["id"]]
    table = rapport("audit", shop, "--data", suite.data).output
    assert "refused 1 x: CREDENTIAL_INVALID" in table
    assert key["key"] not in table


async def test_a_domain_is_added_proven_listed_and_removed(suite: SuiteUnderTest, shop: str) -> None:
    """The command tells what to serve, finds it where it is served, and lets the domain go again."""
    name = f"support.{shop}.example.com"

    async def on_domain(*arguments: str) -> Ran:
        # In a thread, because the domain's own web server runs in this one.
        return await asyncio.to_thread(run, suite, "domain", *arguments, "--tenant", shop)

    async with proof_server(domain_hosts_of(Path(suite.data))) as owner:
        added = (await on_domain("add", name)).value["domain"]
        assert (added["name"], added["state"]) == (name, "STATE_PENDING")
        owner.stand_for(name)
        early = await on_domain("verify", name)
        assert (early.code, early.value["error"]["reason"]) == (1, "DOMAIN_NOT_PROVEN")
        owner.serve(name, added["proof_path"], added["proof_text"])
        assert (await on_domain("verify", name)).value["domain"]["state"] == "STATE_VERIFIED"
    listed = (await on_domain("list")).value["domains"]
    assert [(domain["name"], domain["state"]) for domain in listed] == [(name, "STATE_VERIFIED")]
    assert (await on_domain("remove", name)).value == {"removed": name}
    assert (await on_domain("list")).value == {"domains": []}
    wrong = await on_domain("add", "localhost")
    assert (wrong.code, wrong.value["error"]["reason"]) == (1, "DOMAIN_INVALID")
