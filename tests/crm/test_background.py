"""Background work: none of it ends unseen, and a doorbell that fails ends none of it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from servicekit.background import Background
from services.crm.worker import Worker
from tests.crm.conftest import Crm
from tests.crm.zendesk_requests import event
from tests.support.waiting import eventually


async def forever() -> None:
    """Go on until cancelled."""
    await asyncio.Event().wait()


async def fail() -> None:
    """End at once with an error."""
    raise RuntimeError


async def end() -> None:
    """End at once without one."""


@pytest.mark.parametrize("ending", [fail, end])
async def test_work_that_ends_makes_the_process_unhealthy_and_is_told(ending: object) -> None:
    """The health component is up while all goes on, and down once a piece of work is over."""
    background = Background()
    background.start("steady", forever())
    assert background.ready()

    async def told() -> bool:
        return bool(logs)

    with capture_logs() as logs:
        background.start("weak", (fail if ending is fail else end)())
        await eventually(told)
        assert not background.ready()
        await background.stop()
    assert [(entry["event"], entry["work"]) for entry in logs] == [("background_ended", "weak")]


async def test_a_doorbell_that_fails_ends_no_worker(crm: Crm) -> None:
    """The worker polls on, and listens again after a moment."""
    rings: list[float] = []

    async def broken(seconds: float) -> None:
        rings.append(seconds)
        raise RuntimeError

    made = crm.main.worker
    worker = Worker(made._store, made._reader, made._fetching, made._effects, doorbell=broken)
    shop = await crm.shop()
    async with crm.working(worker):
        await crm.deliver(shop, event())
        assert (await crm.settled(shop)).processed == 1

        async def twice() -> bool:
            return len(rings) > 1

        await eventually(twice)
