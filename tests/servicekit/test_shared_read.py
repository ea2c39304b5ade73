"""A read that a crowd shares."""

import asyncio

from servicekit.shared_read import SharedRead


async def test_a_shared_read_begins_after_everybody_who_shares_it_asked() -> None:
    """Whoever asks while a read is on its way waits for the next one, together with all the others."""
    began: list[int] = []
    gate = asyncio.Event()

    async def read() -> str:
        began.append(len(began))
        number = len(began)
        await gate.wait()
        return str(number)

    shared = SharedRead(read)
    first = asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert began
    later = [asyncio.create_task(shared.get()) for _ in range(50)]
    await asyncio.sleep(0)
    gate.set()
    assert await first == "1"
    assert await asyncio.gather(*later) == ["2"] * 50
    assert len(began) == 2


async def test_reads_of_a_crowd_keep_their_distance_and_a_lone_reader_waits_for_nobody() -> None:
    """The first read begins at once, the next one no sooner than the spacing after it."""
    began: list[float] = []
    clock = asyncio.get_running_loop().time

    async def read() -> str:
        began.append(clock())
        return "read"

    shared = SharedRead(read, spacing=0.05)
    asked = clock()
    await shared.get()
    await shared.get()
    assert began[0] - asked < 0.05 <= began[1] - began[0] + 0.001
