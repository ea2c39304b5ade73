"""A process that serves recommendations on a real database: `python -m tests.support.advice_process SETTINGS`.

SETTINGS is JSON, see `Settings`. It prints its address on a line and serves until its standard input ends.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from servicekit import logs
from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.identity import StaticTrust
from servicekit.pages import PageTokens
from servicekit.server import start_server
from services.recommendations import order_servicer
from services.recommendations.__main__ import registrations
from services.recommendations.customers import Customers
from services.recommendations.imports import OrderImports
from services.recommendations.kept_profiles import KeptProfiles
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """Whom the process talks to, and whom it believes."""

    database_url: str
    valkey_url: str
    tickets: str
    kid: str
    public_key: str


def settings_for(database_url: str, valkey_url: str, tickets: str, issuer: Issuer) -> Settings:
    """Return the settings of a process that believes an issuer."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    key = issuer.key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return Settings(database_url, valkey_url, tickets, issuer.kid, key.decode())


class AdviceProcess:
    """A process that serves, started again when it was killed."""

    def __init__(self, settings: Settings) -> None:
        """Start it."""
        self._settings = settings
        self.process, self.address = self._start(), ""

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.advice_process", json.dumps(asdict(self._settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPOSITORY,
            env={"PYTHONPATH": f"{_REPOSITORY}:{_REPOSITORY / 'gen'}"},
        )

    def ready(self) -> str:
        """Wait until it serves, starting it again if it is dead; return its address."""
        if self.process.poll() is not None:
            self.stop()
            self.process, self.address = self._start(), ""
        assert self.process.stdout is not None
        while not self.address:
            line = self.process.stdout.readline()
            assert line, "the process ended before it served"
            if line.startswith(b"address "):
                self.address = line.split()[1].decode()
        return self.address

    def stop(self) -> None:
        """End it, however it is."""
        with self.process:
            self.process.kill()


async def serve(settings: Settings) -> None:
    """Serve until the standard input ends."""
    # The log goes to the standard error: nobody reads on after the address.
    logs.configure("warning")
    async with AsyncExitStack() as stack:
        database = await Database.connect(settings.database_url, schema="recommendations", pool_size=8)
        stack.push_async_callback(database.close)
        cache = await Cache.connect(settings.valkey_url, service="recommendations")
        stack.push_async_callback(cache.close)
        doorbell = Doorbell(cache)
        stack.push_async_callback(doorbell.close)
        tickets = await stack.enter_async_context(open_channel(settings.tickets))
        key: Any = serialization.load_pem_public_key(settings.public_key.encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        customers = Customers(database, doorbell, kept=KeptProfiles(cache))
        imports = OrderImports(database, customers)
        stack.push_async_callback(imports.stop)
        served = (
            *registrations(database, customers, tickets),
            *order_servicer.registrations(database, customers, imports, PageTokens(bytes(32))),
        )
        server = await start_server(served, trust=StaticTrust(keys={settings.kid: key}), audit=kept_trail()[0])
        stack.push_async_callback(server.stop)
        sys.stdout.write(f"address {server.address}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Settings(**json.loads(sys.argv[1]))))
