"""What surrounds every servicer method, one layer per file; the order stands here and nowhere else."""

import asyncio

from servicekit.audit import AuditTrail
from servicekit.identity import HostRules, TokenVerifier
from servicekit.layers.access_log import access_log
from servicekit.layers.audit import acts, refusals
from servicekit.layers.conditions import conditions
from servicekit.layers.deadline import deadline
from servicekit.layers.errors import errors
from servicekit.layers.identity import identity
from servicekit.layers.lasting import lasting
from servicekit.layers.metrics import metrics
from servicekit.layers.request_id import request_id
from servicekit.layers.scope import scope
from servicekit.layers.tracing import tracing
from servicekit.layers.validation import validation
from servicekit.pipeline import Layer

ORDER = (
    "request_id",
    "tracing",
    "metrics",
    "access_log",
    "errors",
    "deadline",
    "refusals",
    "identity",
    "lasting",
    "scope",
    "validation",
    "conditions",
    "acts",
)
"""Outermost first. Metrics and the log stand outside the errors, so that every status counts; who may call is settled
before the request is looked at."""


def layers(
    verifier: TokenVerifier,
    stopping: asyncio.Event,
    audit: AuditTrail | None = None,
    hosts: HostRules | None = None,
) -> list[Layer]:
    """Return the layers of a server in their order."""
    known: dict[str, Layer] = {
        "request_id": request_id,
        "tracing": tracing,
        "metrics": metrics,
        "access_log": access_log,
        "errors": errors(stopping),
        "deadline": deadline,
        "refusals": refusals(audit),
        "identity": identity(verifier, hosts or HostRules()),
        "lasting": lasting(verifier),
        "scope": scope,
        "validation": validation,
        "conditions": conditions,
        "acts": acts(audit),
    }
    return [known[name] for name in ORDER]
