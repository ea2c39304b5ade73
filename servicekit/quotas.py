"""Quotas, in requests per minute: what they come to at the edge, and what tokens say of them (ADR 0007)."""

from typing import Any

BURST_SECONDS = 10
"""How many seconds' worth of its quota a caller may send at once."""

LEAST_QUOTA = 6
"""The least quota that is kept exactly, in requests per minute: one request each `BURST_SECONDS`."""

FILL = 100_000_000
"""How much flows into each bucket a second. It is large so that prices are whole numbers without much rounding."""

TENANT_POLICY, KEY_POLICY, KEY_PRICE = "rate_policy", "key_policy", "key_price"
"""Claims that the edge takes as they are, because an expression per request costs it more than a longer token."""


def price(quota: int) -> int:
    """Return what a request costs: as much as flows into a bucket until the next one is due."""
    return FILL * 60 // max(quota, LEAST_QUOTA)


def policy(name: str, quota: int) -> str:
    """Return a quota as the header `RateLimit-Policy` has it: how many requests in how many seconds."""
    return f'"{name}";w={BURST_SECONDS};q={max(quota, LEAST_QUOTA) * BURST_SECONDS // 60}'


def tenant_claims(quota: int) -> dict[str, Any]:
    """Return what a token says of its tenant's own quota."""
    return {"quota": quota, TENANT_POLICY: policy("tenant", quota)}


def key_claims(quota: int) -> dict[str, Any]:
    """Return what a token says of the quota that its key has beside its tenant's."""
    return {"key_quota": quota, KEY_POLICY: policy("key", quota), KEY_PRICE: str(price(quota))}
