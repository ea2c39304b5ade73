"""The service as a process of its own: it starts, serves and stops, refuses bad settings, and logs no secret."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from rapport.tenant.v1 import api_key_service_pb2, oauth_service_pb2, token_service_pb2

from servicekit.envelope import KeyEncryptionKeys
from services.tenant import keys
from services.tenant.__main__ import wired
from services.tenant.settings import TenantSettings
from tests.support.servers import ServiceDatabase
from tests.tenant.side import OPERATOR_KEY, WORKLOADS, Side, write_files

START_SECONDS = 60


def environment(database: ServiceDatabase, folder: Path, **changes: str) -> dict[str, str]:
    """What the process is told."""
    values = {"DATABASE_URL": database.app_url, "MIGRATION_URL": database.owner_url, "LOG_LEVEL": "debug"}
    values |= {name.upper(): str(path) for name, path in write_files(folder).items()} | changes
    return {**os.environ, **{f"RAPPORT_TENANT_{name}": value for name, value in values.items()}}


async def run(action: str, log: Path, told: dict[str, str]) -> asyncio.subprocess.Process:
    """Start the service's command with its standard error in a file."""
    with log.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.tenant", action, env=told, stderr=file
        )


@contextlib.asynccontextmanager
async def serving(log: Path, told: dict[str, str]) -> AsyncIterator[str]:
    """Run the service until the end of the context, and yield its address once it has said it."""
    process = await run("serve", log, told)
    try:
        async with asyncio.timeout(START_SECONDS):
            while not (address := started_address(log)):
                assert process.returncode is None, text_of(log)
                await asyncio.sleep(0.05)
        yield address
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0


def text_of(log: Path) -> str:
    """What the process has written so far."""
    return log.read_text()


def started_address(log: Path) -> str:
    """The address in the log line that tells of the start; empty before it is there."""
    lines = [json.loads(line) for line in text_of(log).splitlines() if line.startswith("{") and line.endswith("}")]
    return next((str(line["address"]) for line in lines if line["event"] == "server_started"), "")


async def oauth_secrets(side: Side, text: str) -> list[str]:
    """Ask the token endpoint in both ways with a good key and with bad ones; return what must not be logged of it."""
    told = []
    for secret in (text, keys.new_text(), "guess-of-a-client-secret"):
        encoded = base64.b64encode(f"acme:{secret}".encode()).decode()
        form = f"grant_type=client_credentials&client_id=acme&client_secret={secret}"
        for body, metadata in ((form, ()), ("grant_type=client_credentials", (("authorization", f"Basic {encoded}"),))):
            message = HttpBody(content_type="application/x-www-form-urlencoded", data=body.encode())
            with contextlib.suppress(grpc.aio.AioRpcError):
                await side.oauth.IssueToken(oauth_service_pb2.IssueTokenRequest(form=message), metadata=metadata)
        told += [secret, encoded]
    return told


async def test_no_credential_stands_in_the_log_of_any_exchange(
    tenant_database: ServiceDatabase, files: Path, tmp_path: Path
) -> None:
    """Good and bad keys, secrets and tokens pass through at the most talkative level, and none is written down."""
    log = tmp_path / "log"
    secrets = [OPERATOR_KEY, *WORKLOADS.values(), keys.new_text(), "rpk_" + "x" * 39, "wrong-workload-secret"]
    unknown, malformed, wrong = secrets[-3:]
    async with serving(log, environment(tenant_database, files)) as address, grpc.aio.insecure_channel(address) as way:
        side = Side.on(way)
        _, text = await side.create()
        for credential in (text, unknown, malformed, OPERATOR_KEY):
            with contextlib.suppress(grpc.aio.AioRpcError):
                secrets.append((await side.exchange(credential)).token)
        secrets += [text, keys.hash_of(text).hex(), (await side.operator())[0][1].removeprefix("Bearer ")]
        for secret in (WORKLOADS["crm"], wrong):
            request = token_service_pb2.ExchangeWorkloadRequest(service="crm", secret=secret)
            with contextlib.suppress(grpc.aio.AioRpcError):
                secrets.append((await side.tokens.ExchangeWorkload(request)).token)
        secrets += await oauth_secrets(side, text)
        holder = await side.shop(text)
        await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)
        secrets.append(holder[0][1].removeprefix("Bearer "))
    written = text_of(log)
    assert "ExchangeApiKey" in written
    assert "ExchangeWorkload" in written
    assert "IssueToken" in written
    assert [secret for secret in secrets if secret in written] == []


async def test_migrating_what_is_migrated_changes_nothing(
    tenant_database: ServiceDatabase, files: Path, tmp_path: Path
) -> None:
    """The command may be repeated before every start."""
    process = await run("migrate", tmp_path / "log", environment(tenant_database, files))
    assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"kek_file": None}, "KEK_FILE", id="no key-encryption keys"),
        pytest.param({"kek_file": "others"}, "KEK_FILE", id="key-encryption keys of another suite"),
        pytest.param({"workload_secrets_file": "broken"}, "WORKLOAD_SECRETS_FILE", id="secrets that are no object"),
        pytest.param({"workload_secrets_file": "stranger"}, "stranger", id="a workload without scopes"),
        pytest.param({"operator_key_file": "empty"}, "OPERATOR_KEY_FILE", id="an empty operator key"),
        pytest.param({"database_url": ""}, "postgresql://", id="no database"),
    ],
)
async def test_a_wrong_setting_is_refused_by_name(
    side: Side, tenant_database: ServiceDatabase, files: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    """Nothing starts, and the refusal quotes no secret; `side` has made the signing keys of the database before."""
    assert await side.operator()
    for name, content in (("broken", '["crm"]'), ("stranger", '{"stranger": "secret-of-a-stranger"}'), ("empty", "\n")):
        (tmp_path / name).write_text(content)
    KeyEncryptionKeys.create(tmp_path / "others")
    filled = {name: tmp_path / value if value else value for name, value in changes.items()}
    told = {"database_url": tenant_database.app_url, **write_files(files), **filled}
    with pytest.raises(ValueError, match=said) as refusal:
        async with wired(TenantSettings(**told)):  # type: ignore[arg-type] # pydantic converts
            pass
    assert "secret-of-a-stranger" not in str(refusal.value)


async def test_a_process_with_a_role_that_owns_the_tables_does_not_start(
    tenant_database: ServiceDatabase, files: Path, tmp_path: Path
) -> None:
    """The process ends by itself and the last line on standard error says why."""
    log = tmp_path / "log"
    told = environment(tenant_database, files, DATABASE_URL=tenant_database.owner_url)
    process = await run("serve", log, told)
    assert await asyncio.wait_for(process.wait(), START_SECONDS) != 0
    assert "may act as the owner" in text_of(log).splitlines()[-1]
