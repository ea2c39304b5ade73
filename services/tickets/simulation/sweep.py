"""The ranges in which a shop may edit `rapport`, tried at their ends: one thing at a time, and everything at once."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product

from services.tickets.policies import DEFAULT, GAMMAS, WEIGHTS, shares
from services.tickets.policies import Policy as TenantPolicy
from services.tickets.simulation import policies
from services.tickets.simulation.policies import Policy
from services.tickets.simulation.study import COSTS, OURS, PREDECESSOR, Study

_EACH = 7
"""All combinations take many minutes; this has no divisor in common with their number, so all ends occur."""


def ends() -> dict[str, TenantPolicy]:
    """Return the default with one thing at an end of its range, without those that are the default."""
    found = {
        f"{name} {end:g}": replace(DEFAULT, weights=replace(DEFAULT.weights, **{name: end}))
        for name, borders in WEIGHTS.items()
        for end in borders
    }
    found |= {_ageing(gamma, share): replace(DEFAULT, gamma=gamma, sla_share=share) for gamma, share in _ageings()}
    return {name: policy for name, policy in found.items() if policy != DEFAULT}


def corners() -> dict[str, TenantPolicy]:
    """Return the default with everything at an end of its range at once: one in seven of the combinations."""
    found = {}
    every = product(product(*WEIGHTS.values()), _ageings())
    for chosen, (gamma, share) in islice(every, 0, None, _EACH):
        weights = replace(DEFAULT.weights, **dict(zip(WEIGHTS, chosen, strict=True)))
        name = " ".join([_ageing(gamma, share), *(f"{each:g}" for each in chosen)])
        found[name] = replace(DEFAULT, weights=weights, gamma=gamma, sla_share=share)
    return found


def swept() -> tuple[Policy, ...]:
    """Return the default, the predecessor, and all that is tried."""
    tried = ends() | corners()
    return (
        policies.rapport(),
        policies.predecessor(),
        *(replace(policies.of_tenant(policy), name=name) for name, policy in tried.items()),
    )


def not_better(found: Study, names: dict[str, TenantPolicy]) -> dict[str, list[str]]:
    """Return those that are not better than the predecessor on both costs beyond the intervals, and in which desks."""
    where = {name: [each for each in found.outcomes if not found.better(each, name, PREDECESSOR)] for name in names}
    return {name: letters for name, letters in where.items() if letters}


def as_text(found: Study) -> str:
    """Return the sweep as Markdown: each end against the default, and how many corners fail in which desk."""
    letters = list(found.outcomes)
    failing = not_better(found, corners())
    rows = [f"| wTard; CoD to the default | {' | '.join(letters)} |", "| --- |" + " --- |" * len(letters)]
    rows += [f"| {name} | " + " | ".join(_cell(found, letter, name) for letter in letters) + " |" for name in ends()]
    counts = ", ".join(f"{letter} {sum(letter in where for where in failing.values())}" for letter in letters)
    return "\n".join(
        [
            *rows,
            "",
            f"Ends not better than the predecessor on both: {', '.join(not_better(found, ends())) or 'none'}",
            f"Corners not better than it on both somewhere: {len(failing)} of {len(corners())} ({counts})",
        ]
    )


def _cell(found: Study, letter: str, name: str) -> str:
    told = "; ".join(f"{found.difference(letter, name, OURS, cost)[0]:+.2f}" for cost in COSTS)
    return told if found.better(letter, name, PREDECESSOR) else f"{told} (not better than the predecessor)"


def _ageings() -> Iterator[tuple[float, float]]:
    """Yield the corners of what may be set of `gamma` and `sla_share`."""
    least, most = GAMMAS[OURS]
    for gamma in (least, DEFAULT.gamma, most):
        yield from ((gamma, share) for share in dict.fromkeys(shares(OURS, gamma)))


def _ageing(gamma: float, share: float) -> str:
    return f"gamma {gamma:g} sla_share {share:g}"
