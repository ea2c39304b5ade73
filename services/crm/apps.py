"""Apps: what an operator registers once at a vendor that signs with one secret for all accounts that installed it.

An app is kept as a connection of nobody's shop. So its secret is sealed and rotated, and its address found, as those of
any connection, and row security hides it from every shop.
"""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from services.crm.admission import length_prefixed

DEPLOYMENT = UUID(int=0)
"""The tenant of what belongs to the deployment itself; no shop has this id."""


@dataclass(frozen=True, slots=True)
class Account:
    """A provider's account, by the id that its deliveries name."""

    provider: str
    id: str

    @property
    def hash(self) -> bytes:
        """The 32 bytes under which the account's owner is found."""
        parts = [b"rapport/crm/account", self.provider.encode(), self.id.encode("utf-8", "surrogatepass")]
        return sha256(length_prefixed(parts)).digest()
