"""Who is calling: principals, signed tokens, what judges them, and the identity of a service itself."""

from servicekit.identity.decision import Credential, Host, Standing, Verdict, decide, refusal
from servicekit.identity.hosts import EXCHANGED_HEADER, HOST_HEADER, HostRules, hostname, origin_allowed
from servicekit.identity.principal import Principal, caller, caller_tenant, forwarded_metadata, set_caller
from servicekit.identity.tokens import AUDIENCE, ISSUER, TokenVerifier, keys_of, sign_token
from servicekit.identity.trust import StaticTrust, Trust
from servicekit.identity.watcher import TrustWatcher
from servicekit.identity.workload import Workload

__all__ = [
    "AUDIENCE",
    "EXCHANGED_HEADER",
    "HOST_HEADER",
    "ISSUER",
    "Credential",
    "Host",
    "HostRules",
    "Principal",
    "Standing",
    "StaticTrust",
    "TokenVerifier",
    "Trust",
    "TrustWatcher",
    "Verdict",
    "Workload",
    "caller",
    "caller_tenant",
    "decide",
    "forwarded_metadata",
    "hostname",
    "keys_of",
    "origin_allowed",
    "refusal",
    "set_caller",
    "sign_token",
]
