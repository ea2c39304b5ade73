"""What somebody learns who has a full dump of the database and no key: none of the secrets entrusted to it."""

import base64
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, new_data_key
from services.crm.data_keys import WrappedKey, open_all
from tests.support.contents import dump, superuser
from tests.support.world import Shop, SuiteUnderTest, call, furnish, new_shop, operator_token

CONNECTIONS: list[dict[str, Any]] = [
    {
        "provider": "zendesk",
        "config": {"subdomain": "acme", "email": "a@example.com"},
        "secrets": ("webhook_secret", "api_token"),
    },
    {"provider": "freshdesk", "config": {"domain": "acme"}, "secrets": ("webhook_secret", "api_key")},
    {
        "provider": "gorgias",
        "config": {"domain": "acme", "client_id": "client"},
        "secrets": ("webhook_secret", "client_secret", "refresh_token"),
    },
    {"provider": "helpscout", "config": {"app_id": "app"}, "secrets": ("webhook_secret", "app_secret")},
]


def forms(secret: bytes) -> dict[str, bytes]:
    """Return how bytes may stand in a dump: as they are, in hex as Postgres writes bytes, in base64 at any offset."""
    found = {
        "clear": secret,
        "reversed": secret[::-1],
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "hex of hex": secret.hex().encode().hex().encode(),
        "hex of UTF-16": secret.decode("latin-1").encode("utf-16-le").hex().encode(),
    }
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + secret)[4 if offset else 0 : -4].rstrip(b"=")
        found[f"base64 at {offset}"] = text
        found[f"base64url at {offset}"] = text.replace(b"+", b"-").replace(b"/", b"_")
        found[f"hex of base64 at {offset}"] = text.hex().encode()
    return found


def seen_in(database: bytes, secret: bytes) -> list[str]:
    """Return the forms in which a secret stands in a dump."""
    return [name for name, form in forms(secret).items() if form in database]


async def planted(suite: SuiteUnderTest, shop: Shop) -> list[str]:
    """Entrust secrets of every kind to the service: credentials, several versions, an app's; return them."""
    token = await operator_token(suite, shop.slug)
    secrets = [shop.webhook_secret]

    def fresh() -> str:
        secrets.append(f"planted-{uuid4().hex}-{uuid4().hex}")
        return secrets[-1]

    for wanted in CONNECTIONS:
        request = {**wanted, "secrets": {name: fresh() for name in wanted["secrets"]}}
        made: Any = await call(suite.grpc["crm"], "rapport.crm.v1.ConnectionService/CreateConnection", request, token)
        await call(
            suite.grpc["crm"],
            "rapport.crm.v1.ConnectionService/RotateWebhookSecret",
            {"connection": made.connection.id, "webhook_secret": fresh()},
            token,
        )
        secrets.append(made.webhook_url.rpartition("/")[2])
    app: Any = await call(
        suite.grpc["crm"],
        "rapport.crm.v1.AppService/CreateApp",
        {"provider": "intercom", "webhook_secret": fresh()},
        await operator_token(suite),
    )
    secrets.append(app.webhook_url.rpartition("/")[2])
    # A replaced data key stands in the database as well, wrapped by the one that took its place.
    await call(suite.grpc["crm"], "rapport.crm.v1.DataKeyService/RotateDataKeys", {}, token)
    return secrets


async def test_a_dump_without_the_key_yields_no_secret(suite: SuiteUnderTest) -> None:
    """Neither a planted secret nor any data key stands in it, in any encoding; and another key opens nothing."""
    shop = await furnish(suite, await new_shop(suite, "dump"))
    secrets = await planted(suite, shop)
    database = await dump(suite)
    # The search finds what is there: text in clear, and the name of the key in front of wrapped bytes.
    assert "clear" in seen_in(database, shop.marker.encode())
    assert "hex" in seen_in(database, b"kek-")
    keks = KeyEncryptionKeys.load(Path(suite.data) / "secrets" / "key-encryption-keys.json")
    data_keys = await _data_keys(suite, keks)
    assert len(data_keys) >= 3
    texts = json.loads(keks.text())["keys"].values()
    for secret in (*(text.encode() for text in secrets), *data_keys, *(base64.b64decode(text) for text in texts)):
        assert seen_in(database, secret) == []
    print(f"{len(secrets)} planted secrets and {len(data_keys)} data keys in {len(database)} bytes: none found")  # noqa: T201


async def _data_keys(suite: SuiteUnderTest, keks: KeyEncryptionKeys) -> list[bytes]:
    """Open all data keys with the suite's key; with another key none of them opens."""
    connection = await superuser(suite)
    rows = await connection.fetch("SELECT tenant_id, version, wrapped FROM crm.data_keys ORDER BY version DESC")
    await connection.close()
    stranger = KeyEncryptionKeys("kek-1", {"kek-1": new_data_key()})
    found: list[bytes] = []
    for tenant_id in {row["tenant_id"] for row in rows}:
        wrapped = [WrappedKey(row["version"], row["wrapped"]) for row in rows if row["tenant_id"] == tenant_id]
        newest = await keks.unwrap(wrapped[0].wrapped, tenant_id)
        found += open_all(newest, wrapped, tenant_id).keys.values()
        try:
            await stranger.unwrap(wrapped[0].wrapped, tenant_id)
        except SealBrokenError:
            continue
        raise AssertionError("a key-encryption key that is not the suite's opened a data key")
    return found
