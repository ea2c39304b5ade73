"""How much better the inbox's default order is than the predecessor's, and whether any policy is better than it.

Simulated (services/tickets/simulation): 60 runs of each scenario, every policy on the same tickets, two processes, some
minutes. The ratios are the predecessor's costs divided by ours. It fails when the bound on overtaking does not hold,
when ours does not beat the predecessor on both costs somewhere, or when a policy is better than ours on both in A, B
or C. With --sweep it tries `rapport` at the ends of the ranges in which a shop may edit it, and fails when one thing at
an end does not beat the predecessor. `python -m bench.ordering [--sweep] [--json]`
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from services.tickets.policies import BASE_RANGE, DEFAULT
from services.tickets.simulation.report import table
from services.tickets.simulation.scenarios import SCENARIOS
from services.tickets.simulation.study import OURS, PREDECESSOR, Study, as_json, study
from services.tickets.simulation.sweep import as_text, corners, ends, not_better, swept

RUNS, SWEEP_RUNS = 60, 24
UNBEATEN = "ABC"
"""Where nothing may be better than the default on both costs."""


def main() -> None:
    """Print the table and what follows from it, or with --json one JSON object on one line."""
    as_one_line, sweeping = "--json" in sys.argv, "--sweep" in sys.argv
    if sweeping:
        found = study(list(SCENARIOS), SWEEP_RUNS, swept, told=_tell)
        print(json.dumps(as_sweep(found)) if as_one_line else as_text(found))
        failed = [f"{name} does not beat the predecessor" for name in not_better(found, ends())]
    else:
        found = study(list(SCENARIOS), RUNS, told=_tell)
        print(json.dumps(as_report(found)) if as_one_line else table(found))
        failed = failures(found)
    if failed:
        sys.exit("\n".join(f"ordering: {each}" for each in failed))


def failures(found: Study) -> list[str]:
    """Return what is claimed of the default and does not hold."""
    bound, overtaken = BASE_RANGE / DEFAULT.gamma, found.overtaken()
    failed = []
    if overtaken > bound:
        failed.append(f"overtaken by a message that began to wait {overtaken:.1f} h later; the bound is {bound:.1f}")
    for letter in found.outcomes:
        if not found.better(letter, OURS, PREDECESSOR):
            failed.append(f"{letter}: does not beat the predecessor on both costs")
        dominating = found.dominating(letter)
        if letter in UNBEATEN and dominating:
            failed.append(f"{letter}: {', '.join(dominating)} is better on both costs")
    return failed


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


def as_sweep(found: Study) -> dict[str, Any]:
    """Return what of the ranges does not beat the predecessor, by its name and where, and all that was measured."""
    return {
        "name": "ordering-sweep",
        "runs": SWEEP_RUNS,
        "tried": {"ends": len(ends()), "corners": len(corners())},
        "not_better": {"ends": not_better(found, ends()), "corners": not_better(found, corners())},
        **as_json(found),
    }


def _tell(done: int, total: int) -> None:
    if done % (total // len(SCENARIOS)) == 0:
        print(f"{done} of {total} runs", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
