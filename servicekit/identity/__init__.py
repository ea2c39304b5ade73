"""Who is calling: principals, signed tokens, what judges them, and the identity of a service itself."""

from servicekit.identity.principal import Principal, caller, caller_tenant, forwarded_metadata, set_caller
from servicekit.identity.tokens import AUDIENCE, ISSUER, TokenVerifier, keys_of, sign_token
from servicekit.identity.trust import StaticTrust, Trust
from servicekit.identity.watcher import TrustWatcher
from servicekit.identity.workload import Workload

__all__ = [
    "AUDIENCE",
    "ISSUER",
    "Principal",
    "StaticTrust",
    "TokenVerifier",
    "Trust",
    "TrustWatcher",
    "Workload",
    "caller",
    "caller_tenant",
    "forwarded_metadata",
    "keys_of",
    "set_caller",
    "sign_token",
]
