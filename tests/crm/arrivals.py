"""Webhooks as they come in, for tests that have no wire between."""

from services.crm.connections import token_hash
from services.crm.inbox import Arrival
from tests.crm.zendesk_requests import Pairs


def arrival(token: str, body: bytes, pairs: Pairs, *, provider: str = "zendesk") -> Arrival:
    """Return a webhook at a connection's address."""
    path = f"/webhooks/{provider}/{token}"
    return Arrival(provider, token, token_hash(token), method="POST", path=path, headers=pairs, body=body)
