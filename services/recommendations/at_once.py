"""Several things side by side, of which nothing goes on after one of them failed."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

_T = TypeVar("_T")


async def every(works: Iterable[Coroutine[None, None, _T]]) -> list[_T]:
    """Return what all of them return, in their order; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
