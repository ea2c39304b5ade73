"""A tenant's own domains: which names can be one, and how a tenant proves that one is its own.

The proof is a text of ours at a path of ours, both random and both the tenant's own for this domain. That one domain is
that of one tenant is the store's affair.
"""

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.tenant.errors import DomainInvalidError

PROOF_FOLDER = "/.well-known/rapport-domain-verification/"
"""Where the proof is looked for."""

AWAITED = timedelta(days=7)
"""How long a proof is awaited."""

_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# What two editions of the standard encode differently: whoever means such a name says its ASCII form.
_AMBIGUOUS = re.compile("[\u00df\u03c2\u200c\u200d]")
# Names that are nobody's, or that mean the network that we stand in.
_RESERVED = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa", "onion", "invalid")


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain that a tenant says is its own; `verify_time` says since when it is known to be."""

    tenant_id: UUID
    name: str
    proof_name: str
    proof_text: str = field(repr=False)
    create_time: datetime
    verify_time: datetime | None = None

    @property
    def proof_path(self) -> str:
        """The path under which the domain must serve the proof."""
        return PROOF_FOLDER + self.proof_name

    @property
    def expire_time(self) -> datetime | None:
        """Until when the proof is awaited; None once it was found."""
        return None if self.verify_time else self.create_time + AWAITED

    def is_live(self, now: datetime) -> bool:
        """Tell whether the domain is verified or its proof still awaited."""
        return self.expire_time is None or now < self.expire_time


def new_domain(tenant_id: UUID, name: str, now: datetime) -> Domain:
    """Return a domain whose proof is awaited from now on; the name is a canonical one."""
    return Domain(tenant_id, name, secrets.token_hex(16), secrets.token_urlsafe(32), now)


def verified(domain: Domain, now: datetime) -> Domain:
    """Return the domain as one whose proof was found."""
    return replace(domain, verify_time=now)


def canonical(name: str, base_domain: str, taken: Collection[str] = ()) -> str:
    """Return the one form of a domain's name: ASCII, lower case, no dot at its end.

    `taken` are names that belong to the deployment, as do the base domain and everything below it.

    Raises:
        DomainInvalidError: the name is none, or it cannot be a tenant's own.
    """
    plain = _ascii(name.removesuffix(".")).lower()
    labels = plain.split(".")
    if len(plain) > _LONGEST_NAME or "." not in plain or not all(map(_LABEL.fullmatch, labels)):
        raise DomainInvalidError("is no full name of a domain, such as support.example.com (no port, no path)")
    if labels[-1].isdigit() or not _decodes(plain):
        raise DomainInvalidError("is no name of a domain")
    if labels[-1] in _RESERVED:
        raise DomainInvalidError(f"ends in .{labels[-1]}, which is nobody's")
    if plain in taken or f".{plain}".endswith(f".{base_domain}"):
        raise DomainInvalidError("belongs to this deployment")
    return plain


def _ascii(name: str) -> str:
    if name.isascii():
        return name
    if _AMBIGUOUS.search(name):
        raise DomainInvalidError("has a letter with two ASCII forms; write the form that is meant (xn--…)")
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise DomainInvalidError("has letters that a domain cannot have, or a part that is too long") from error


def _decodes(plain: str) -> bool:
    """Tell whether the parts that say that they stand for other letters do so."""
    try:
        return all(label[4:].encode().decode("punycode") for label in plain.split(".") if label.startswith("xn--"))
    except UnicodeError:
        return False
