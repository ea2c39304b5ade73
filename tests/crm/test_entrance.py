"""Writing together what comes at the same time: nothing waits alone, nothing is mixed up, errors reach all."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from servicekit.errors import DatabaseUnavailableError
from servicekit.ids import uuid7
from services.crm.admission import Admission
from services.crm.entrance import LARGEST_GROUP, MOST_BYTES, Entrance


def admission(number: int, payload: bytes = b"payload") -> Admission:
    """Return an admission that is told apart by its key."""
    key = number.to_bytes(32, "big")
    now = datetime.now(UTC)
    return Admission(uuid7(), uuid7(), uuid7(), "zendesk", key, number, 1, 1, payload, now)


class Slow:
    """A write that takes until it is let go; even keys are new, odd ones copies."""

    def __init__(self) -> None:
        self.groups: list[Sequence[Admission]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, group: Sequence[Admission]) -> list[bool]:
        """Write a group."""
        self.groups.append(group)
        await self.go.wait()
        if self.error:
            raise self.error
        return [int.from_bytes(each.dedupe_key) % 2 == 0 for each in group]


async def test_each_caller_gets_its_own_answer_and_groups_stay_small() -> None:
    """Two hundred at once are written in few groups, in one order, and each learns what became of its own."""
    write = Slow()
    entrance = Entrance(write)
    calls = [asyncio.create_task(entrance.admit([admission(number)])) for number in range(200)]
    write.go.set()
    assert await asyncio.gather(*calls) == [[number % 2 == 0] for number in range(200)]
    assert sum(len(group) for group in write.groups) == 200
    assert len(write.groups) <= 200 // LARGEST_GROUP + 2
    for group in write.groups:
        places = [(each.tenant_id.bytes, each.dedupe_key) for each in group]
        assert len(group) <= LARGEST_GROUP
        assert places == sorted(places)


async def test_one_alone_is_written_at_once() -> None:
    """A webhook does not wait for company."""
    write = Slow()
    write.go.set()
    entrance = Entrance(write)
    assert await entrance.admit([admission(2)]) == [True]
    assert await entrance.admit([admission(3)]) == [False]
    assert [len(group) for group in write.groups] == [1, 1]


async def test_what_comes_meanwhile_waits_for_the_write_under_way_unless_a_whole_group_does() -> None:
    """A few wait and go together; when a group is full it is written beside the first, and never a third."""
    write = Slow()
    entrance = Entrance(write)
    calls: list[asyncio.Task[list[bool]]] = []
    steps = ((1, [1]), (LARGEST_GROUP - 1, [1]), (1, [1, LARGEST_GROUP]), (2 * LARGEST_GROUP, [1, LARGEST_GROUP]))
    for size, begun in steps:
        calls += [asyncio.create_task(entrance.admit([admission(number)])) for number in range(size)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert [len(group) for group in write.groups] == begun
    write.go.set()
    await asyncio.gather(*calls)
    assert [len(group) for group in write.groups] == [1, *[LARGEST_GROUP] * 3]


async def test_large_webhooks_are_not_written_all_together() -> None:
    """A group has a bound in bytes as well; a webhook that is larger than it goes alone."""
    write = Slow()
    write.go.set()
    entrance = Entrance(write, lanes=1)
    large = b"x" * (MOST_BYTES // 2)
    await asyncio.gather(*(entrance.admit([admission(number, large)]) for number in range(5)))
    assert [len(group) for group in write.groups] == [2, 2, 1]
    await entrance.admit([admission(9, b"x" * (MOST_BYTES + 1))])
    assert len(write.groups[-1]) == 1


async def test_failed_write_is_told_to_all_of_its_group_and_the_next_goes_on() -> None:
    """Nobody is told that a webhook is stored when it may not be."""
    write = Slow()
    entrance = Entrance(write, lanes=1)
    write.error = DatabaseUnavailableError("gone")
    write.go.set()
    calls = [entrance.admit([admission(number)]) for number in range(3)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, DatabaseUnavailableError) for answer in answers)
    write.error = None
    assert await entrance.admit([admission(4)]) == [True]


async def test_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    """One cancelled call leaves the group as it was."""
    write = Slow()
    entrance = Entrance(write)
    calls = [asyncio.create_task(entrance.admit([admission(number * 2)])) for number in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    write.go.set()
    assert list(await asyncio.gather(calls[0], calls[2])) == [[True], [True]]
    with pytest.raises(asyncio.CancelledError):
        await calls[1]


async def test_the_deliveries_of_one_request_are_never_apart() -> None:
    """Whatever comes beside it, a request is in one group as a whole, and learns of each delivery in its own order."""
    write = Slow()
    entrance = Entrance(write)
    requests = [[admission(size * 1000 + place) for place in range(size)] for size in (1, 40, 3, 63, 100, 2, 64)]
    calls = [asyncio.create_task(entrance.admit(parts)) for parts in requests]
    write.go.set()
    assert await asyncio.gather(*calls) == [
        [int.from_bytes(part.dedupe_key) % 2 == 0 for part in parts] for parts in requests
    ]
    for parts in requests:
        ids = {part.delivery_id for part in parts}
        assert [group for group in write.groups if ids & {each.delivery_id for each in group}] == [
            next(group for group in write.groups if ids <= {each.delivery_id for each in group})
        ]
    assert max(len(group) for group in write.groups) == 100


async def test_a_request_without_deliveries_writes_nothing() -> None:
    """There is nothing to wait for."""
    write = Slow()
    assert await Entrance(write).admit([]) == []
    assert write.groups == []
