"""What the caller may do: the scope that the contract names, and a tenant wherever the method works inside one."""

from typing import Any

from servicekit.errors import ScopeMissingError, TenantRequiredError
from servicekit.pipeline import Call, Handler, Method


def scope(method: Method, proceed: Handler) -> Handler:
    """Refuse callers whose token lacks the method's scope, or its tenant."""
    if method.public:
        return proceed

    async def handle(call: Call) -> Any:
        principal = call.principal
        if principal is None or method.scope not in principal.scopes:
            raise ScopeMissingError(f"The credential lacks the scope {method.scope}.", metadata={"scope": method.scope})
        if principal.tenant_id is None and not method.across_tenants:
            raise TenantRequiredError("The method works inside one tenant; the credential is bound to none.")
        return await proceed(call)

    return handle
