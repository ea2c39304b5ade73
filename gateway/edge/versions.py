"""Two versions of a service behind one route: who gets which share of the requests."""

from collections.abc import Iterable, Mapping

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, WeightedCluster, WeightedClusterClusterWeight

from gateway.shifts import WHOLE, Shift, base


def split(configuration: RouteConfiguration, shifts: Mapping[str, Shift]) -> None:
    """Let the routes to a service with a shift lead to both its versions; each request is decided anew.

    Nothing but the routes changes with a share: both versions' clusters are there all the time, healthy and warm, so a
    request finds either the old share or the new one.
    """
    for host in configuration.virtual_hosts:
        for route in host.routes:
            action = route.route
            shift = shifts.get(action.cluster or "") if action is not None else None
            if action is None or shift is None or not shift.percent:
                continue
            action.cluster = None
            action.weighted_clusters = WeightedCluster(
                clusters=[
                    WeightedClusterClusterWeight(name=name, weight=share) for name, share in shift.shares().items()
                ]
            )


def leading(names: Iterable[str], shifts: Mapping[str, Shift]) -> list[str]:
    """Return the cluster of each service that gets the larger share of its requests, in order; it must be healthy."""
    return sorted(
        shifts[name].name if name in shifts and shifts[name].percent * 2 > WHOLE else name
        for name in {base(name) for name in names}
    )
