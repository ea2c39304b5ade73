"""Several things side by side: all of them, or none that goes on."""

import asyncio

import pytest

from services.recommendations import at_once


async def test_what_all_return_comes_in_their_order() -> None:
    """Whoever is done first, the results stand as the works do."""
    first_waits = asyncio.Event()

    async def first() -> int:
        await first_waits.wait()
        return 1

    async def second() -> int:
        first_waits.set()
        return 2

    assert await at_once.every([first(), second()]) == [1, 2]


async def test_a_failure_ends_the_others_and_is_raised_as_it_is() -> None:
    """Nothing goes on behind the back of whoever was told of the failure."""
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fails() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await at_once.every([waits(), waits(), fails()])
    assert ended == [True, True]
