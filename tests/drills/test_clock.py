"""Clocks that jump: those of all services and of the control plane, while everybody else's go on."""

import asyncio
import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.drilling import Report, drilled, during
from tests.support.suite import own_suite
from tests.support.world import SuiteUnderTest

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

SECONDS = 6.0
JUMPS = {"+2 min": 120, "-2 min": -120, "+1 h": 3600}


@dataclass(frozen=True)
class Jumping:
    """A suite and the file that says how far off its clock is."""

    suite: SuiteUnderTest
    file: Path

    def jump(self, seconds: int) -> None:
        """Put the clock so far off, at once."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="utf-8")
        new.replace(self.file)


def _elsewhere() -> list[str]:
    """Return where Python is told to look besides."""
    return [path for path in [os.environ.get("PYTHONPATH", "")] if path]


@pytest.fixture(scope="module")
def jumping() -> Iterator[Jumping]:
    """A suite whose clock can jump: libfaketime stands between its processes and the system's clock."""
    spec = importlib.util.find_spec("libfaketime")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("libfaketime's package brings its library for Linux on x86-64 only")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clock"
        told = {
            "LD_PRELOAD": str(library),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("jumping_clock")), *_elsewhere()]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        file.write_text("+0\n", encoding="utf-8")
        with own_suite(servers.new_folder(), told=told) as described:
            yield Jumping(SuiteUnderTest.of(described), file)


@pytest.mark.parametrize("name", JUMPS)
async def test_a_jump_of_the_clock_and_back(jumping: Jumping, drill_report: Report, name: str) -> None:
    """What seems too old, or to come from the future, is refused and comes again; what was taken is worked off.

    What was put into the queue by the clock that was ahead waits until its time comes.
    """
    fault = during(
        lambda: asyncio.to_thread(jumping.jump, JUMPS[name]),
        lambda: asyncio.to_thread(jumping.jump, 0),
    )
    outcome = await drilled(jumping.suite, f"clock jumps {name}, and back", fault, seconds=SECONDS, settling=150)
    drill_report.add(outcome)
