"""Who is calling: the bearer token of each call is judged here, also behind a gateway that did so before."""

from typing import Any

from structlog.contextvars import bind_contextvars

from servicekit.errors import CredentialInvalidError
from servicekit.identity import TokenVerifier, set_caller
from servicekit.pipeline import Call, Handler, Layer, Method

_PREFIX = "bearer "


def identity(verifier: TokenVerifier) -> Layer:
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
            set_caller(principal)
            if principal.tenant_id is not None:
                bind_contextvars(tenant_id=str(principal.tenant_id))
            return await proceed(call)

        return handle

    return layer
