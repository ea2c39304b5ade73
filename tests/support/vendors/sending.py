"""A vendor's side of webhooks: signs, sends, and sends again what was not acknowledged, twice what it likes."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from tests.support.vendors.server import Vendor

_MOST_TRIES = 5


@dataclass
class Sender:
    """Sends to one address. `secret` may be changed at any time, as at a vendor; `statuses` counts the answers."""

    vendor: Vendor
    client: httpx.AsyncClient
    url: str
    secret: str
    statuses: Counter[int] = field(default_factory=Counter)

    async def send(self, body: bytes) -> int:
        """Send one webhook, signed now with the present secret; return the status of the answer."""
        headers = self.vendor.sign(body, self.secret, datetime.now(UTC), self.url)
        answer = await self.client.post(self.url, content=body, headers=dict(headers))
        self.statuses[answer.status_code] += 1
        return answer.status_code

    async def deliver(self, body: bytes) -> None:
        """Send a webhook until it is acknowledged, byte for byte the same.

        Raises:
            AssertionError: it never is.
        """
        for _ in range(_MOST_TRIES):
            if await self.send(body) < 300:
                return
        raise AssertionError(f"not acknowledged in {_MOST_TRIES} tries: {self.statuses}")

    async def deliver_in_disorder(self, bodies: Sequence[bytes], *, copies: int, chance: random.Random) -> None:
        """Deliver every body as often as `copies` says, all at once and in any order."""
        every = list(bodies) * copies
        chance.shuffle(every)
        await asyncio.gather(*(self.deliver(body) for body in every))
