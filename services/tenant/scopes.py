"""Who may hold which scopes: the one table of them."""

from collections.abc import Mapping

SHOP = frozenset(
    {
        "audit.read",
        "connections.read",
        "connections.write",
        "credentials.use",
        "customers.read",
        "customers.write",
        "deliveries.read",
        "domains.read",
        "domains.write",
        "keys.read",
        "keys.write",
        "policies.write",
        "recommendations.read",
        "recommendations.write",
        "tickets.read",
        "tickets.write",
    }
)
"""What a shop's API key may hold."""

BROWSER = frozenset(
    {"customers.read", "recommendations.read", "recommendations.write", "tickets.read", "tickets.write"}
)
"""What a browser key may hold: what the desk's pages need, for it stands in a public bundle."""

REGISTRY = frozenset({"tenants.read", "tenants.write"})
"""The registry of tenants; never held by a shop's key."""

DEPLOYMENT = frozenset(
    {
        "apps.read",
        "apps.write",
        "audit.read",
        "data_keys.read",
        "data_keys.write",
        "gateway.read",
        "gateway.write",
        "keks.write",
        "operators.read",
        "signing_keys.read",
        "signing_keys.write",
        "tenants.export",
    }
)
"""What concerns the deployment as a whole; never held by a shop's key."""

OPERATOR = REGISTRY | DEPLOYMENT
"""The most that an operator's token without a tenant holds."""

OPERATOR_IN_TENANT = SHOP | REGISTRY | {"data_keys.write", "tickets.import"}
"""The most that an operator's token holds that is bound to a tenant."""

ROLES: Mapping[str, frozenset[str]] = {
    "admin": OPERATOR | OPERATOR_IN_TENANT,
    "viewer": frozenset(scope for scope in OPERATOR | OPERATOR_IN_TENANT if scope.endswith(".read")),
}
"""What the roles of operators hold; a token has those that also fit where it works, unbound or in a tenant."""

WORKLOADS: Mapping[str, frozenset[str]] = {
    "crm": frozenset({"audit.record", "customers.write", "tickets.ingest", "trust.watch"}),
    "tickets": frozenset({"audit.record", "customers.read", "log.read", "recommendations.read", "trust.watch"}),
    "recommendations": frozenset({"audit.record", "log.read", "tickets.read", "trust.watch"}),
    "gateway": frozenset({"audit.record", "gateway.report", "trust.watch"}),
    "tenant": frozenset({"tenants.erase"}),
}
"""What each service's own token holds, by the service's name."""
