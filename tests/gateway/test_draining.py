"""An orchestrator can let Envoy finish before it stops it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.stack import Stack, wait_until
from tests.gateway.upstream import GOOD_KEY, HANGING, ROOT


@pytest.fixture
def leaving() -> Iterator[Stack]:
    """An edge that is about to be stopped."""
    whole = Stack()
    try:
        yield whole.start()
    finally:
        whole.stop()


def command(stack: Stack) -> "subprocess.Popen[bytes]":
    """Start the command that drains this edge's Envoy."""
    environment = os.environ | {f"RAPPORT_GATEWAY_{key}": value for key, value in stack.settings.items()}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'gen'}"
    return subprocess.Popen([sys.executable, "-m", "gateway", "drain"], env=environment, cwd=stack.folder)


def test_draining_waits_for_what_is_under_way_and_serves_who_still_comes(leaving: Stack) -> None:
    """A request that began before it is answered; without an Envoy the command fails."""
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(leaving.status, f"/v1/things/{HANGING}", GOOD_KEY)
        wait_until(lambda: leaving.hanging() == 1, "a request is under way")
        draining = command(leaving)
        with pytest.raises(subprocess.TimeoutExpired):
            draining.wait(timeout=5)
        assert leaving.status("/v1/things/1", GOOD_KEY) == 200
        leaving.loop.run(leaving.release())
        assert (under_way.result(), draining.wait(timeout=20)) == (200, 0)
    leaving.kill("envoy")
    assert command(leaving).wait(timeout=20) == 1
