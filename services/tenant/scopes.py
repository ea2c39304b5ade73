"""Who may hold which scopes: the one table of them."""

from collections.abc import Mapping

SHOP = frozenset(
    {
        "connections.read",
        "connections.write",
        "customers.read",
        "customers.write",
        "deliveries.read",
        "keys.read",
        "keys.write",
        "recommendations.read",
        "recommendations.write",
        "tickets.read",
        "tickets.write",
    }
)
"""What a shop's API key may hold."""

REGISTRY = frozenset({"tenants.read", "tenants.write"})
"""The registry of tenants; never held by a shop's key."""

OPERATOR = REGISTRY | {"operators.read"}
"""An operator's token without a tenant."""

OPERATOR_IN_TENANT = SHOP | REGISTRY
"""An operator's token that is bound to a tenant."""

WORKLOADS: Mapping[str, frozenset[str]] = {
    "crm": frozenset({"tickets.ingest", "trust.watch"}),
    "tickets": frozenset({"customers.read", "log.read", "recommendations.read", "trust.watch"}),
    "recommendations": frozenset({"log.read", "tickets.read", "trust.watch"}),
    "gateway": frozenset({"gateway.report", "trust.watch"}),
}
"""What each service's own token holds, by the service's name."""
