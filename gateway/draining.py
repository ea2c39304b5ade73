"""Lets Envoy finish what it is answering before it is stopped; for orchestrators, as `python -m gateway drain`."""

import sys
import time

import httpx

NOTICE_SECONDS = 3.0
"""How long at least: as long as others may take to hear that nothing shall be sent here any more."""

LONGEST_SECONDS = 12.0
"""How long at most: a little longer than Envoy takes to ask all its clients to go (`--drain-time-s`)."""

_LOOK_SECONDS = 0.2


def drain(admin: str, *, notice: float = NOTICE_SECONDS, longest: float = LONGEST_SECONDS) -> None:
    """Have Envoy ask its clients to go, and wait until it has no request under way; `admin` is where it listens.

    It goes on to answer who still comes, so that nothing fails before it is stopped.

    Raises:
        SystemExit: its admin interface does not answer.
    """
    path = admin.removeprefix("unix:")
    transport = httpx.HTTPTransport(uds=path if path != admin else None)
    started = time.monotonic()
    try:
        with httpx.Client(
            transport=transport, base_url="http://envoy" if path != admin else f"http://{admin}", timeout=5
        ) as client:
            client.post("/drain_listeners?graceful&skip_exit").raise_for_status()
            while (waited := time.monotonic() - started) < longest and (waited < notice or _busy(client)):
                time.sleep(_LOOK_SECONDS)
    except httpx.HTTPError as error:
        sys.exit(f"Envoy cannot be drained: {error}")


def _busy(client: httpx.Client) -> bool:
    stats = client.get("/stats?filter=downstream_rq_active$&format=json").json()["stats"]
    return any(entry.get("value") for entry in stats if ".admin." not in entry.get("name", ""))
