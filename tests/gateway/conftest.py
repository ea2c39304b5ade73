"""Fixtures of the gateway's tests: one whole edge for all tests that leave it as it was."""

from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.stack import Stack
from tests.gateway.upstream import GOOD_KEY


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running edge, shared by all tests of this process: they must not break it."""
    whole = Stack()
    try:
        yield whole.start()
    finally:
        whole.stop()


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the edge with a good API key."""
    with stack.client() as open_client:
        open_client.headers["x-api-key"] = GOOD_KEY
        yield open_client


@pytest.fixture(scope="session")
def stranger(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the edge without any credential."""
    with stack.client() as open_client:
        yield open_client
