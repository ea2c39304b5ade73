"""What the control plane tells Prometheus about the Envoys; an alert belongs on every one of the refusing nodes."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from gateway.ads.cache import SnapshotCache
from gateway.control import ControlPlane


class Figures(Collector):
    """Reads the cache and the control plane whenever it is asked."""

    def __init__(self, cache: SnapshotCache, plane: ControlPlane, registry: CollectorRegistry = REGISTRY) -> None:
        self._cache = cache
        self._plane = plane
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        # The page is served by another thread: a copy cannot change while it is walked.
        nodes, wanted = list(self._cache.nodes.values()), self._cache.wanted
        yield CounterMetricFamily(
            "rapport_gateway_snapshots_refused", "Configurations that an Envoy refused.", value=self._cache.refused
        )
        gauges = {
            "connected": ("Envoys that have a stream open.", sum(node.streams > 0 for node in nodes)),
            "refusing": (
                "Envoys that refuse what is wanted and serve on with what they had.",
                sum(bool(node.refusals(wanted)) for node in nodes),
            ),
            "outdated": (
                "Connected Envoys that do not have all that is wanted.",
                sum(node.streams > 0 and not node.has(wanted) for node in nodes),
            ),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(f"rapport_gateway_nodes_{name}", meaning, value=value)
        yield from self._sides()

    def _sides(self) -> Iterator[Metric]:
        """Yield what each side of a cut-over answered; nothing where there is none."""
        cutover, sides = self._plane.cutover, self._plane.sides
        if cutover is None:
            return
        yield GaugeMetricFamily(
            "rapport_gateway_cutover_percent", "Rapport's share of the requests of shops that move.", cutover.percent
        )
        requests = CounterMetricFamily(
            "rapport_gateway_cutover_requests",
            "Requests of shops that move, by the side that answers.",
            labels=["side"],
        )
        failures = CounterMetricFamily(
            "rapport_gateway_cutover_failures", "Those of them that failed (5xx).", labels=["side"]
        )
        for name, (asked, failed) in sides.totals.items():
            requests.add_metric([name], asked)
            failures.add_metric([name], failed)
        yield requests
        yield failures
