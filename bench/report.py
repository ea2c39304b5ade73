"""How a benchmark tells what it measured."""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.load import Result

ROUNDS = 3


@dataclass
class Report:
    """Figures of one benchmark: medians over the rounds, and ratios of ours to each other contender (higher is better).

    Attributes:
        name: The benchmark's name.
        rounds: Results by contender, one for each round.
        extra: Whatever else was measured.
        own: Ratios that are not of rates.
    """

    name: str
    rounds: dict[str, list[Result]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)

    def measure(self, contenders: dict[str, Callable[[], Result]]) -> None:
        """Measure every contender once a round, in turn, so that a machine that drifts does so for all of them."""
        for number in range(ROUNDS):
            for contender, run in contenders.items():
                result = run()
                bad = {status: count for status, count in result.statuses.items() if not status.startswith("2")}
                if bad:
                    sys.exit(f"{self.name}: {contender} answered {bad}; nothing is compared with errors in it")
                self.rounds.setdefault(contender, []).append(result)
                print(f"round {number + 1}: {contender:24} {result.rate:8.0f}/s", file=sys.stderr, flush=True)

    def rate(self, contender: str) -> float:
        """Return a contender's median rate."""
        return statistics.median(result.rate for result in self.rounds[contender])

    def p50(self, contender: str) -> float:
        """Return a contender's median latency in milliseconds."""
        return statistics.median(result.p50 for result in self.rounds[contender])

    def write_p50(self, contender: str) -> float:
        """Return the median latency of a contender's writes in milliseconds."""
        return round(statistics.median(result.write_p50 for result in self.rounds[contender]), 2)

    def ratios(self) -> dict[str, float]:
        """Return ours divided by each other contender, and the ratios that are not of rates."""
        ours = self.rate("ours")
        others = {name: round(ours / self.rate(name), 3) for name in self.rounds if name != "ours"}
        return {**others, **self.own}

    def figures(self) -> dict[str, dict[str, float]]:
        """Return each contender's median rate and latencies."""
        return {
            name: {
                "rate": round(self.rate(name)),
                "p50_ms": round(statistics.median(result.p50 for result in results), 2),
                "p99_ms": round(statistics.median(result.p99 for result in results), 2),
            }
            for name, results in self.rounds.items()
        }

    def show(self) -> None:
        """Print the table, or with --json one JSON object on one line."""
        figures = self.figures()
        if "--json" in sys.argv:
            print(json.dumps({"name": self.name, "ratios": self.ratios(), "figures": figures, **self.extra}))
            return
        print(f"| {self.name} | requests/s | p50 ms | p99 ms | ours ÷ it |\n| --- | --- | --- | --- | --- |")
        for name, row in figures.items():
            ratio = self.ratios().get(name, "")
            print(f"| {name} | {row['rate']} | {row['p50_ms']} | {row['p99_ms']} | {ratio} |")
        for name, value in self.extra.items():
            print(f"{name}: {value}")
