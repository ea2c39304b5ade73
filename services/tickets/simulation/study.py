"""Many runs under many policies, and what follows from them: means, paired intervals, who is better than whom."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import numpy as np

from services.tickets.simulation import policies
from services.tickets.simulation.clock import Clock
from services.tickets.simulation.desk import serve
from services.tickets.simulation.measures import Outcome, interval, outcome
from services.tickets.simulation.policies import Policy
from services.tickets.simulation.scenarios import SCENARIOS, VARIANTS
from services.tickets.simulation.world import Numbers, draw

OURS, PREDECESSOR = "rapport", "predecessor"
COSTS = ("wtard", "cod")
EVERY = SCENARIOS | VARIANTS


def compared() -> tuple[Policy, ...]:
    """Return the policies of the table, ours first."""
    return (
        policies.rapport(),
        *policies.presets(),
        policies.predecessor(),
        policies.repaired_predecessor(),
        policies.fifo(),
        policies.strict_priority(),
        policies.edf(),
        policies.sjf(),
        policies.c_mu(),
        policies.atc(),
        *(policies.generalised_c_mu(beta) for beta in (0.5, 1.0, 2.0)),
        *(policies.class_rate(rate) for rate in (0.25, 0.5, 0.6, 1.0, 2.0)),
        *(policies.due(gamma, share) for gamma, share in ((0.05, 1.0), (0.1, 0.0), (0.1, 0.5), (0.1, 1.0), (0.2, 0.5))),
    )


@dataclass(frozen=True, slots=True)
class Study:
    """What came of all runs.

    Attributes:
        outcomes: by scenario and policy, one for each run; runs of the same place had the same tickets.
    """

    outcomes: dict[str, dict[str, list[Outcome]]]

    def values(self, letter: str, policy: str, measure: str) -> Numbers:
        """Return one measure of all runs."""
        return np.array([getattr(run, measure) for run in self.outcomes[letter][policy]])

    def mean(self, letter: str, policy: str, measure: str) -> float:
        """Return the mean of one measure over all runs."""
        return float(np.mean(self.values(letter, policy, measure)))

    def difference(self, letter: str, policy: str, other: str, measure: str) -> tuple[float, float]:
        """Return by how much a policy's measure is above the other's, and half the width of the 95 % interval."""
        return interval(self.values(letter, policy, measure) - self.values(letter, other, measure))

    def better(self, letter: str, policy: str, other: str) -> bool:
        """Return whether both costs of a policy are below the other's, beyond the intervals."""
        pairs = (self.difference(letter, policy, other, cost) for cost in COSTS)
        return all(mean + half < 0 for mean, half in pairs)

    def dominating(self, letter: str, policy: str = OURS) -> list[str]:
        """Return the policies that are better than this one on both costs, beyond the intervals."""
        return [other for other in self.outcomes[letter] if other != policy and self.better(letter, other, policy)]

    def overtaken(self, policy: str = OURS) -> float:
        """Return the most hours by which a later message was answered before an earlier one, in all runs."""
        return max(float(np.max(self.values(letter, policy, "overtaken"))) for letter in self.outcomes)

    def ratios(self) -> dict[str, float]:
        """Return each cost of the predecessor divided by ours: above 1 ours is better."""
        return {
            f"{letter}.{cost}": round(self.mean(letter, PREDECESSOR, cost) / self.mean(letter, OURS, cost), 3)
            for letter in self.outcomes
            for cost in COSTS
        }


def runs_of(letter: str, seed: int, which: Sequence[Policy]) -> list[Outcome]:
    """Return the outcome of each policy on the same tickets."""
    scenario = EVERY[letter]
    world, clock = draw(scenario, seed), Clock.of(scenario)
    return [outcome(world, serve(world, policy, clock), scenario.tickets) for policy in which]


Which = Callable[[], tuple[Policy, ...]]
"""What makes the policies to compare: policies hold functions, so a process makes its own."""
_Task = tuple[str, int, Which]


def _run(task: _Task) -> tuple[str, list[Outcome]]:
    """Return the outcomes of one run, perhaps in a process of its own."""
    letter, seed, which = task
    return letter, runs_of(letter, seed, which())


def study(
    letters: Sequence[str],
    runs: int,
    which: Which = compared,
    *,
    first_seed: int = 0,
    workers: int = 2,
    told: Callable[[int, int], None],
) -> Study:
    """Simulate policies, those of the table unless told otherwise; `told` hears how many runs of how many are done.

    Fresh processes share the work; with one worker all is done in this one.
    """
    names = [policy.name for policy in which()]
    outcomes: dict[str, dict[str, list[Outcome]]] = {letter: {name: [] for name in names} for letter in letters}
    tasks = [(letter, first_seed + run, which) for letter in letters for run in range(runs)]
    for done, (letter, found) in enumerate(_mapped(tasks, workers), start=1):
        for name, each in zip(names, found, strict=True):
            outcomes[letter][name].append(each)
        told(done, len(tasks))
    return Study(outcomes)


def _mapped(tasks: Sequence[_Task], workers: int) -> Iterator[tuple[str, list[Outcome]]]:
    if workers == 1:
        yield from map(_run, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_run, tasks)


def as_json(found: Study) -> dict[str, object]:
    """Return all that was found as plain JSON values: means, differences to the predecessor, and who dominates ours."""
    scenarios = {
        letter: {
            "summary": EVERY[letter].summary,
            "dominating": found.dominating(letter),
            "beats_predecessor": found.better(letter, OURS, PREDECESSOR),
            "policies": {
                name: {
                    **{measure: round(found.mean(letter, name, measure), 4) for measure in asdict(runs[0])},
                    "to_predecessor": {cost: _rounded(found, letter, name, PREDECESSOR, cost) for cost in COSTS},
                    "to_ours": {cost: _rounded(found, letter, name, OURS, cost) for cost in COSTS},
                }
                for name, runs in by_policy.items()
            },
        }
        for letter, by_policy in found.outcomes.items()
    }
    return {"overtaken_hours": round(found.overtaken(), 2), "scenarios": scenarios}


def _rounded(found: Study, letter: str, policy: str, other: str, cost: str) -> dict[str, float]:
    mean, half = found.difference(letter, policy, other, cost)
    return {"difference": round(mean, 4), "half": round(half, 4)}
