"""UUIDv7 ids."""

import threading
import time

from servicekit.ids import uuid7


def test_ids_of_one_process_increase_strictly() -> None:
    """Ids sort in the order in which they were made, also faster than the clock ticks."""
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_of_several_threads_are_all_different() -> None:
    """Threads share the clock and never make the same id."""
    made: list[list[object]] = []

    def make() -> None:
        made.append([uuid7() for _ in range(2_000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({value for part in made for value in part}) == 8_000


def test_an_id_carries_version_variant_and_the_time() -> None:
    """An id is a version 7 UUID of RFC 9562 whose first 48 bits are milliseconds since 1970."""
    before = time.time_ns() // 1_000_000
    value = uuid7()
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"
    assert before <= value.int >> 80 <= time.time_ns() // 1_000_000 + 1
