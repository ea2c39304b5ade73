"""`rapport simulate`: the tickets service's own simulation, in a process of its own."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cli.errors import CommandError
from cli.suite.plans import module_command

_USAGE = 2


def simulated(
    scenarios: list[str], runs: int, seed: int, plot: Path | None, *, as_json: bool, told: Callable[[int, int], None]
) -> str:
    """Return what the simulation prints; `told` hears how many runs of how many are done.

    Raises:
        CommandError: there is no such scenario, the plot cannot be written, or the simulation failed.
    """
    arguments = ["--runs", str(runs), "--seed", str(seed), *(["--json"] if as_json else [])]
    arguments += [word for scenario in scenarios for word in ("--scenario", scenario)]
    arguments += ["--plot", str(plot.absolute())] if plot else []
    complaint = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        command = module_command("services.tickets.simulation", *arguments)
        with subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, encoding="utf-8") as process:
            for line in process.stderr or ():
                done, _, total = line.strip().partition(" ")
                if done.isdecimal() and total.isdecimal():
                    told(int(done), int(total))
                else:
                    complaint = line.strip()
            code = process.wait()
        if code == _USAGE:
            raise CommandError(complaint.partition("error: ")[2] or complaint, reason="USAGE")
        if code:
            raise CommandError(f"The simulation failed: {complaint}", reason="SIMULATION_FAILED")
        output.seek(0)
        return output.read()
