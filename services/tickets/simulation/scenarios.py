"""What kind of desk is simulated: how many agents, when they work, how busy it gets, and what customers do."""

from dataclasses import dataclass, replace

HOURS_A_DAY = 24.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A desk and its customers.

    Attributes:
        letter: its name in tables and ratios.
        summary: what it is, in a few words.
        load: arriving work as a share of what the agents can do.
        opens: hour of the day at which agents begin; None for a desk that never closes.
        closes: hour of the day from which no new ticket is begun.
        working_time: whether waiting, ageing and targets count in the desk's hours only.
        burst: how much faster tickets arrive during the middle `BURST_SHARE` of the run; 1 for no burst.
        returns: the probability that an answer brings another message of the customer, at most `MAX_RETURNS` times.
        patience: how many answer targets a customer waits on average before leaving; 0 when nobody leaves.
        misjudged: the standard deviation of a lognormal error of the true cost that no policy sees; 0 for none.
        noise: how far what policies see is off: 1 for the usual errors, 0 for exact knowledge.
        tickets: how many are opened in a run.
    """

    letter: str
    summary: str
    load: float
    opens: float | None = None
    closes: float = HOURS_A_DAY
    working_time: bool = False
    burst: float = 1.0
    returns: float = 0.0
    patience: float = 0.0
    misjudged: float = 0.0
    noise: float = 1.0
    tickets: int = 4000


AGENTS = 8
BURST_SHARE = 0.15
MAX_RETURNS = 3
RETURN_HOURS = 3.0
"""How long a customer takes to write again, on average."""
LEAVING_HOURS = 24.0
"""What a customer who leaves costs besides the waiting: as much as this many further hours of it."""

SCENARIOS: dict[str, Scenario] = {
    each.letter: each
    for each in (
        Scenario("A", "desk around the clock, load .97", 0.97),
        Scenario("B", "desk around the clock, load .90, a burst", 0.90, burst=1.6),
        Scenario("C", "desk from 9 to 17, targets by the calendar, load .95", 0.95, opens=9.0, closes=17.0),
        Scenario("D", "the same desk on its own hours, load .90", 0.90, opens=9.0, closes=17.0, working_time=True),
        Scenario("E", "several messages per ticket, load .95", 0.95, returns=0.35),
        Scenario("F", "customers who leave, load 1.05", 1.05, patience=3.0),
    )
}
_D = SCENARIOS["D"]
VARIANTS: dict[str, Scenario] = {
    each.letter: each
    for each in (
        replace(SCENARIOS["B"], letter="B-misjudged", summary="B with true costs off by a factor e", misjudged=1.0),
        replace(_D, letter="D-misjudged", summary="D with true costs off by a factor e", misjudged=1.0),
        replace(_D, letter="D-exact", summary="D, policies know everything exactly", noise=0.0),
        replace(_D, letter="D-rough", summary="D, errors of what is known doubled", noise=2.0),
    )
}
"""What the scenarios leave out: how much hangs on the world being as it is assumed."""
