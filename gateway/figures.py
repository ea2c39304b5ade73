"""What the control plane tells Prometheus about the Envoys; an alert belongs on every one of the refusing nodes."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from gateway.ads.cache import SnapshotCache


class Figures(Collector):
    """Reads the cache whenever it is asked."""

    def __init__(self, cache: SnapshotCache, registry: CollectorRegistry = REGISTRY) -> None:
        self._cache = cache
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
