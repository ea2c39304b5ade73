"""How much better the inbox's default order is than the predecessor's, and whether any policy is better than it.

Simulated (services/tickets/simulation): 60 runs of each scenario, every policy on the same tickets, two processes, some
minutes. The ratios are the predecessor's costs divided by ours. It fails when the bound on overtaking does not hold.
`python -m bench.ordering [--json]`
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from services.tickets.policies import BASE_RANGE, DEFAULT
from services.tickets.simulation.report import table
from services.tickets.simulation.scenarios import SCENARIOS
from services.tickets.simulation.study import Study, as_json, study

RUNS = 60


def main() -> None:
    """Print the table and what follows from it, or with --json one JSON object on one line."""
    found = study(list(SCENARIOS), RUNS, told=_tell)
    bound, overtaken = BASE_RANGE / DEFAULT.gamma, found.overtaken()
    if overtaken > bound:
        sys.exit(
            f"ordering: overtaken by a message that began to wait {overtaken:.1f} h later; the bound is {bound:.1f}"
        )
    print(json.dumps(as_report(found)) if "--json" in sys.argv else table(found))


def as_report(found: Study) -> dict[str, Any]:
    """Return the figures as the other benchmarks do: flat ratios, and beside them all that was measured."""
    policy = {"name": DEFAULT.name, "gamma": DEFAULT.gamma, "sla_share": DEFAULT.sla_share}
    return {
        "name": "ordering",
        "ratios": found.ratios(),
        "runs": RUNS,
        "policy": {**policy, **asdict(DEFAULT.weights)},
        "bound_hours": BASE_RANGE / DEFAULT.gamma,
        **as_json(found),
    }


def _tell(done: int, total: int) -> None:
    if done % RUNS == 0:
        print(f"{done} of {total} runs", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
