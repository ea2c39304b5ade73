"""Who is calling: the bearer token of each call is judged here, also behind a gateway that did so before.

The host that the client called and the origin of the page that calls narrow what the token opens; they never widen it.
"""

from collections.abc import Mapping
from typing import Any

from structlog.contextvars import bind_contextvars

from servicekit.errors import CredentialInvalidError, OriginNotAllowedError
from servicekit.identity import (
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
            value = call.metadata.get("authorization")
            if not isinstance(value, str) or value[: len(_PREFIX)].lower() != _PREFIX:
                raise CredentialInvalidError("The credential is missing or not valid.")
            principal = verifier.verify(value[len(_PREFIX) :])
            call.principal = principal
            narrow(principal, hosts, call.metadata)
            set_caller(principal)
            if principal.tenant_id is not None:
                bind_contextvars(tenant_id=str(principal.tenant_id))
            return await proceed(call)

        return handle

    return layer


def narrow(principal: Principal, hosts: HostRules, metadata: Mapping[str, str | bytes]) -> None:
    """Refuse a good token where it is not good: on another's host, or in a page that may not use it.

    Raises:
        HostMismatchError: the host is not one of the token's tenant.
        OriginNotAllowedError: the page's origin is none of the token's, or there is no page and the token is for pages.
    """
    error = refusal(decide(Credential.TOKEN, Standing.ACTIVE, hosts.judge(_text(metadata, HOST_HEADER), principal)))
    if error is not None:
        raise error
    if not origin_allowed(_text(metadata, "origin"), principal):
        raise OriginNotAllowedError("The credential may not be used by a page of this origin.")


def _text(metadata: Mapping[str, str | bytes], name: str) -> str | None:
    value = metadata.get(name)
    return value.decode("latin-1") if isinstance(value, bytes) else value
