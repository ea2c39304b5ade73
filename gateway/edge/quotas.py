"""How many requests callers may send, as numbers; how Envoy keeps to them stands in `gateway.edge.rates`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per minute where no token names them.

    `tenant`: of a tenant whose token has no quota. `webhook`: to one webhook address. `webhook_client`: from one
    client address to webhook addresses, all together. `stranger`: from one client address to other methods that ask for
    no credential. `shared` says that several Envoys keep to a tenant's together.
    """

    tenant: int = 12_000
    webhook: int = 12_000
    webhook_client: int = 120_000
    stranger: int = 600
    shared: bool = False
