"""What became of recommendations: tokens that name one, and events of which the newest of a kind counts.

A token holds a secret of the recommendation that it names, which is kept with the recommendation: it cannot be guessed,
it names nothing at another tenant, and it is gone with the recommendation.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

_SECRET_BYTES = 16
_ID_BYTES = 16

MADE, SHOWN, DECISION, MATTER, CUSTOMER = "made", "shown", "decision", "matter", "customer"
"""What there is one newest event of, for each action of a recommendation."""

ACCEPTED, EDITED, REJECTED, WITHDRAWN = "accepted", "edited", "rejected", "withdrawn"
"""What an agent decides about an action; a decision may be withdrawn."""

DONE = frozenset({ACCEPTED, EDITED})
"""The decisions with which an action was done."""

RESOLVED, UNRESOLVED, RETURNED, LOST = "resolved", "unresolved", "returned", "lost"
"""How the matter ended, and what the customer did."""

SLOTS = {
    SHOWN: SHOWN,
    **dict.fromkeys((ACCEPTED, EDITED, REJECTED, WITHDRAWN), DECISION),
    **dict.fromkeys((RESOLVED, UNRESOLVED), MATTER),
    **dict.fromkeys((RETURNED, LOST), CUSTOMER),
}
"""The slot of each value."""

WHOLE = ""
"""The action of what concerns a recommendation as a whole."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a token names."""

    ticket_id: UUID
    recommendation_id: UUID
    secret: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that became of an action of a recommendation, or (`WHOLE`) of the recommendation.

    Without `timed` nobody told when: `when` is when it was told.
    """

    recommendation_id: UUID
    action: str
    value: str
    policy_version: int
    when: datetime
    timed: bool = True

    @property
    def slot(self) -> str:
        """What it is the newest event of, unless there is a newer one."""
        return SLOTS.get(self.value, MADE)


def new_secret() -> str:
    """Return a secret for a recommendation."""
    return secrets.token_hex(_SECRET_BYTES)


def token(ticket_id: UUID, recommendation_id: UUID, secret: str) -> str:
    """Return the token that names a recommendation."""
    return urlsafe_b64encode(ticket_id.bytes + recommendation_id.bytes + bytes.fromhex(secret)).decode()


def opened(given: str) -> Named:
    """Return what a token names, if it names anything.

    Raises:
        ValueError: it is no token.
    """
    content = urlsafe_b64decode(given.encode("ascii"))
    if len(content) != 2 * _ID_BYTES + _SECRET_BYTES:
        raise ValueError("a token has another length")
    ticket, recommendation = content[:_ID_BYTES], content[_ID_BYTES : 2 * _ID_BYTES]
    return Named(UUID(bytes=ticket), UUID(bytes=recommendation), content[2 * _ID_BYTES :].hex())


def fits(named: Named, secret: str) -> bool:
    """Tell whether a token holds the secret of the recommendation that it names."""
    return bool(secret) and hmac.compare_digest(named.secret, secret)
