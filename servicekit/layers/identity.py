"""Who is calling: the bearer token of each call is judged here, also behind a gateway that did so before.

The host that the client called and the origin of the page that calls narrow what the token opens; they never widen it.
"""

from collections.abc import Mapping
from typing import Any

from structlog.contextvars import bind_contextvars

from servicekit.errors import CredentialInvalidError, OriginNotAllowedError
from servicekit.identity import (
    EXCHANGED_HEADER,
    HOST_HEADER,
    Credential,
    HostRules,
    Principal,
    Standing,
    TokenVerifier,
    decide,
    origin_allowed,
    refusal,
    set_caller,
)
from servicekit.pipeline import Call, Handler, Layer, Method

_PREFIX = "bearer "


def identity(verifier: TokenVerifier, hosts: HostRules) -> Layer:
    """Return the layer; public methods pass it without a caller."""

    def layer(method: Method, proceed: Handler) -> Handler:
        if method.public:
            return proceed

        async def handle(call: Call) -> Any:
            value = call.metadata.get(EXCHANGED_HEADER) or call.metadata.get("authorization")
            if not isinstance(value, str) or value[: len(_PREFIX)].lower() != _PREFIX:
                raise CredentialInvalidError("The credential is missing or not valid.")
            principal = verifier.verify(value[len(_PREFIX) :])
            call.principal = principal
            origin = _text(call.metadata, "origin")
            narrow(principal, hosts, _text(call.metadata, HOST_HEADER), origin)
            set_caller(principal, origin)
            if principal.tenant_id is not None:
                bind_contextvars(tenant_id=str(principal.tenant_id))
            return await proceed(call)

        return handle

    return layer


def narrow(principal: Principal, hosts: HostRules, authority: str | None, origin: str | None) -> None:
    """Refuse a good token where it is not good: on another's host, or in a page that may not use it.

    Raises:
        HostMismatchError: the host is not one of the token's tenant.
        OriginNotAllowedError: the page's origin is none of the token's, or there is no page and the token is for pages.
    """
    host = hosts.judge(authority, principal.slug, principal.hosts)
    error = refusal(decide(Credential.TOKEN, Standing.ACTIVE, host))
    if error is not None:
        raise error
    if not origin_allowed(origin, principal):
        raise OriginNotAllowedError("The credential may not be used by a page of this origin.")


def _text(metadata: Mapping[str, str | bytes], name: str) -> str | None:
    value = metadata.get(name)
    return value.decode("latin-1") if isinstance(value, bytes) else value
