"""What a running suite holds: its database, its logs and its Valkey, seen from outside of all services."""

import asyncio
import gzip
import json
import os
from pathlib import Path

import asyncpg
import psutil
import redis.asyncio

from cli.suite.folder import SuiteFolder
from cli.suite.postgres import PostgresServer, prepare_postgres
from tests.support.world import SuiteUnderTest


async def _server(suite: SuiteUnderTest) -> tuple[PostgresServer, str]:
    data = Path(suite.data)
    password = json.loads((data / "secrets" / "postgres.json").read_text())["postgres"]
    return await asyncio.to_thread(prepare_postgres, data / "postgres", data / "pg", password), password


async def superuser(suite: SuiteUnderTest) -> asyncpg.Connection:
    """Connect to the suite's database as the superuser, who sees around row-level security."""
    server, password = await _server(suite)
    return await asyncpg.connect(server.url("postgres", password, "rapport"))


async def dump(suite: SuiteUnderTest) -> bytes:
    """Dump the whole database as a superuser."""
    server, password = await _server(suite)
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
    return keys, b"\n".join(value if isinstance(value, bytes) else value.encode() for value in values)
