"""How the quota of one tenant is divided among several Envoys, by what each of them was asked for."""

from collections.abc import Mapping

RESERVE = 0.1
"""The part of an equal share that an Envoy keeps while nobody asks it, so that the first requests there are served."""


def divide(quota: float, demands: Mapping[str, float]) -> dict[str, float]:
    """Return each Envoy's share of a quota, max-min fair: nobody gets more by taking from who has less.

    Who asks for little gets what it asks for; those who ask for more share the rest alike. What nobody asks for is
    given to all alike, so that a sudden rush finds room. The shares add up to the quota.

    Args:
        quota: Requests per second, more than zero.
        demands: Requests per second that each Envoy saw, refused ones included.
    """
    if not demands:
        return {}
    equal = quota / len(demands)
    shares: dict[str, float] = {}
    left, waiting = quota, len(demands)
    for name in sorted(demands, key=lambda one: demands[one]):
        wanted = max(demands[name], equal * RESERVE)
        shares[name] = min(wanted, left / waiting)
        left, waiting = left - shares[name], waiting - 1
    spare = max(0.0, left) / len(shares)
    return {name: share + spare for name, share in shares.items()}
