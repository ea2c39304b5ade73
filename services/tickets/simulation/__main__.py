"""`python -m services.tickets.simulation`: simulate the order of the inbox and print what came of it.

Progress goes to standard error as lines `done total`; the result, one JSON object or a table, to standard output.
"""

import argparse
import json
import sys
from pathlib import Path

from services.tickets.policies import BASE_RANGE, DEFAULT
from services.tickets.simulation.report import plot, table
from services.tickets.simulation.scenarios import SCENARIOS
from services.tickets.simulation.study import EVERY, as_json, study


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.tickets.simulation")
    parser.add_argument("--scenario", action="append", choices=sorted(EVERY), help="may be repeated; A to F otherwise")
    parser.add_argument("--runs", type=int, default=30, choices=range(2, 1001), metavar="2…1000")
    parser.add_argument("--seed", type=int, default=0, metavar="0…", help="the first run's; further runs count on")
    parser.add_argument("--workers", type=int, default=2, choices=range(1, 65), metavar="1…64")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.seed < 0:
        parser.error("argument --seed: must not be negative")
    if given.plot:
        try:
            # Runs take minutes; a path that cannot be written is said before them.
            given.plot.open("a").close()
        except OSError as error:
            parser.error(f"argument --plot: {error.strerror}")
    letters = list(dict.fromkeys(given.scenario or SCENARIOS))
    found = study(letters, given.runs, first_seed=given.seed, workers=given.workers, told=_tell)
    if given.plot:
        given.plot.write_text(plot(found), encoding="utf-8")
    if given.json:
        bound = round(BASE_RANGE / DEFAULT.gamma, 2)
        told = {"ratios": found.ratios(), "runs": given.runs, "bound_hours": bound, **as_json(found)}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(table(found) + "\n")
    return 0


def _tell(done: int, total: int) -> None:
    sys.stderr.write(f"{done} {total}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
