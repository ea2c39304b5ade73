"""How the service stands: its queues, what died in them, its connections, and the keys that seal their secrets."""

from collections.abc import Sequence
from datetime import timedelta

from servicekit.diagnosis import Examination, Finding, State, graded
from servicekit.kek import KekProvider
from services.crm.condition_store import ConditionStore, FailingConnection, Queue
from services.crm.rotation_store import RotationStore

LATE_SECONDS = {"deliveries": (30.0, 300.0), "writes": (60.0, 600.0), "syncs": (900.0, 7200.0)}
"""How late the work of a queue is when somebody should look, and when something does not work."""

LATELY = timedelta(days=1)
FAILING_AFTER = timedelta(minutes=15)
"""How long a connection fails before it counts: a provider may be away for a moment."""

_NAMED = 10


def examinations(standing: ConditionStore, rotations: RotationStore, keks: KekProvider) -> dict[str, Examination]:
    """Return what is examined beside what every process has."""

    async def queues() -> Sequence[Finding]:
        return [judge_queue(queue) for queue in await standing.queues()]

    async def dead() -> Sequence[Finding]:
        return [judge_dead(*await standing.dead_deliveries(LATELY))]

    async def connections() -> Sequence[Finding]:
        return [judge_connections(await standing.failing_connections(FAILING_AFTER, _NAMED + 1))]

    async def keys() -> Sequence[Finding]:
        return await _keys(rotations, keks)

    return {"queues": queues, "deliveries.dead": dead, "connections": connections, "keys.data": keys}


def judge_queue(queue: Queue) -> Finding:
    """Judge how late the work of a queue is."""
    warning, failed = LATE_SECONDS[queue.name]
    state = graded(queue.oldest_seconds, warning=warning, failed=failed)
    summary = f"{queue.waiting} {queue.name} wait; the work is {queue.oldest_seconds:.0f} s late at most."
    remedy = ""
    if state is not State.OK:
        remedy = "see that crm's workers run and reach the other services: `rapport status`, `rapport logs crm`"
    evidence = {"waiting": str(queue.waiting), "late_seconds": f"{queue.oldest_seconds:.1f}"}
    return Finding(f"queue.{queue.name}", state, summary, remedy, evidence)


def judge_dead(dead: int, lately: int) -> Finding:
    """Judge dead deliveries: those of the last day are somebody's news."""
    state = State.FAILED if lately else State.WARNING if dead else State.OK
    summary = f"{dead} deliveries are dead, {lately} of them since a day ago." if dead else "No delivery is dead."
    remedy = "" if not dead else "`rapport deliveries list --tenant S --state dead` says why; mend it, then replay them"
    return Finding("deliveries.dead", state, summary, remedy, {"dead": str(dead), "lately": str(lately)})


def judge_connections(failing: Sequence[FailingConnection]) -> Finding:
    """Judge connections that fail."""
    if not failing:
        return Finding("connections", State.OK, "No provider has been failing for longer than a moment.")
    named = [f"{one.connection_id} of tenant {one.tenant_id} ({one.reason})" for one in failing[:_NAMED]]
    more = " and more" if len(failing) > _NAMED else ""
    return Finding(
        "connections",
        State.FAILED,
        f"{len(named)} connections{more} fail, the first since {failing[0].since:%Y-%m-%d %H:%M} UTC.",
        "`rapport connection test ID --tenant S` calls the provider and says what is wrong",
        {"failing": "; ".join(named)},
    )


async def _keys(rotations: RotationStore, keks: KekProvider) -> Sequence[Finding]:
    """Judge whether all data keys can be opened, and whether rotations go on."""
    active = await keks.active()
    uses, _ = await rotations.uses()
    lost = sorted(name for name in uses if not keks.holds(name))
    if lost:
        count = sum(uses[name] for name in lost)
        return [
            Finding(
                "keys.data",
                State.FAILED,
                f"{count} data keys are wrapped by {', '.join(lost)}, which no provider holds: their credentials are "
                "sealed for good without it.",
                "bring the key back: `rapport keys recover --escrow FILE`; never remove one before "
                "`rapport keys rotate-kek` is done",
                {"lost": ", ".join(lost)},
            )
        ]
    stuck = [one for one in await rotations.running() if one.problem]
    if stuck:
        problems = ", ".join(sorted({one.problem for one in stuck}))
        summary = f"A rotation of keys does not go on: {problems}."
        return [Finding("keys.data", State.WARNING, summary, "`rapport keys status`; see docs/runbook.md")]
    summary = f"{sum(uses.values())} data keys are wrapped by keys that are at hand; {active} is the active one."
    return [Finding("keys.data", State.OK, summary, "", {"active": active})]
