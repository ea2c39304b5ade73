"""Secrets stay where they belong: not in the database in clear, not in a log, not in Valkey."""

import json
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.contents import dump, logs, valkey_content
from tests.support.world import SuiteUnderTest, furnish, new_shop, send_webhook, zendesk_event


async def test_no_secret_is_anywhere_in_clear(suite: SuiteUnderTest) -> None:
    """After a shop's whole life the dump, the logs and Valkey hold neither its secrets nor, in logs, its words."""
    shop = await furnish(suite, await new_shop(suite, "secret"))
    token = urlsplit(shop.webhook_url).path.rsplit("/", 1)[1]
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        assert (await send_webhook(client, shop, b"{}")).status_code == 200
        assert (await client.post(shop.webhook_url, content=zendesk_event(shop, "1"))).status_code == 401
        assert (await client.get("/api/tickets?status=lost")).status_code == 400
    files = {path.name: path.read_text() for path in (Path(suite.data) / "secrets").iterdir()}
    passwords = [*json.loads(files["postgres.json"]).values(), *json.loads(files["workloads.json"]).values()]
    key_encryption_keys = json.loads(files["key-encryption-keys.json"])["keys"].values()
    secrets = [shop.api_key, shop.webhook_secret, token, suite.operator_key, files["valkey"].strip()]
    secrets += [*passwords, *key_encryption_keys]
    database = await dump(suite)
    keys, values = await valkey_content(suite)
    for secret in secrets:
        assert secret.encode() not in database
        assert secret.encode() not in values
    for name, content in logs(suite).items():
        for secret in (*secrets, shop.marker):
            assert secret.encode() not in content, f"{name} holds a secret or a shop's words"
    assert keys
    assert all(key.startswith(b"tenant:{") for key in keys), keys
