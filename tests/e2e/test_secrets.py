"""Secrets stay where they belong: not in the database in clear, not in a log, not in Valkey."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import redis.asyncio

from cli.suite.folder import SuiteFolder
from cli.suite.postgres import prepare_postgres
from tests.support.world import SuiteUnderTest, furnish, new_shop, send_webhook, zendesk_event


async def dump(suite: SuiteUnderTest) -> bytes:
    """Dump the whole database as a superuser."""
    data = Path(suite.data)
    password = json.loads((data / "secrets" / "postgres.json").read_text())["postgres"]
    server = await asyncio.to_thread(prepare_postgres, data / "postgres", data / "pg", password)
    program = server.programs / "pg_dump"
    process = await asyncio.create_subprocess_exec(
        str(program),
        server.url("postgres", password, "rapport"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath},
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output


def logs(suite: SuiteUnderTest) -> dict[str, bytes]:
    """Read every log file of the suite, rotated ones too."""
    folder = SuiteFolder(Path(suite.data)).logs
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in folder.iterdir()
    }


def valkey_url(suite: SuiteUnderTest) -> str:
    """Read what the tickets service was told about Valkey."""
    environment = psutil.Process(suite.pid("tickets")).environ()
    return environment["RAPPORT_TICKETS_VALKEY_URL"]


async def valkey_content(suite: SuiteUnderTest) -> tuple[list[bytes], bytes]:
    """Return all keys and, joined, all values of the suite's Valkey."""
    client = redis.asyncio.from_url(valkey_url(suite))
    keys = [key async for key in client.scan_iter()]
    values = [await client.get(key) or b"" for key in keys if await client.type(key) == b"string"]
    await client.aclose()
    return keys, b"\n".join(values)


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
