"""What a credential is exchanged for. Whoever brings a bad one learns only that it is bad.

A key that has not the form of one is refused before the database is asked. From there on a refused key costs the same
round trips as a good one, so that the time of the answer does not tell an unknown key from a revoked one.
"""

import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from servicekit.errors import CredentialInvalidError
from services.tenant import scopes
from services.tenant.errors import TenantNotFoundError, TenantSuspendedError
from services.tenant.keys import ApiKey, hash_of, is_well_formed
from services.tenant.registry import State, Tenant
from services.tenant.signing import SigningKey
from services.tenant.tokens import AccessToken, issue


class KeyDirectory(Protocol):
    """Where keys are looked up."""

    async def find_api_key(self, key_hash: bytes) -> tuple[ApiKey, Tenant] | None:
        """Return the key with this hash and its tenant; None when there is none."""


class TenantDirectory(Protocol):
    """Where tenants are looked up."""

    async def find_tenant(self, reference: str) -> Tenant | None:
        """Return the tenant with this slug or id; None when there is none."""


class Exchange:
    """Makes tokens of credentials."""

    def __init__(
        self,
        keys: KeyDirectory,
        tenants: TenantDirectory,
        signing_key: SigningKey,
        *,
        operators: Mapping[str, str],
        workloads: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        """Hold the credentials that come from files: operators' keys and services' secrets, by name.

        Raises:
            ValueError: a service has a secret and no row in the table of scopes.
        """
        if strangers := set(workloads) - set(scopes.WORKLOADS):
            raise ValueError(f"no scopes are declared for the workloads {', '.join(sorted(strangers))}")
        self._keys = keys
        self._tenants = tenants
        self._signing_key = signing_key
        self._operators = {name: _digest(key) for name, key in operators.items()}
        self._workloads = {name: _digest(secret) for name, secret in workloads.items()}
        self._clock = clock

    async def api_key(self, text: str) -> AccessToken:
        """Return a token of the key's tenant with the key's scopes.

        Raises:
            CredentialInvalidError: the key or its tenant is not good.
        """
        if not is_well_formed(text):
            raise _invalid()
        found = await self._keys.find_api_key(hash_of(text))
        now = self._clock()
        if found is None:
            raise _invalid()
        key, tenant = found
        expired = key.expire_time is not None and key.expire_time <= now
        if expired or key.revoke_time is not None or tenant.state is not State.ACTIVE:
            raise _invalid()
        return issue(
            self._signing_key,
            subject=f"key:{key.key_id}",
            scopes=key.scopes,
            tenant=tenant,
            now=now,
            key_id=key.key_id,
            no_later_than=key.expire_time,
        )

    async def operator_key(self, text: str, reference: str) -> AccessToken:
        """Return an operator's token, bound to the tenant of this slug or id, or unbound when it is empty.

        Raises:
            CredentialInvalidError: the key is not an operator's.
            TenantNotFoundError, TenantSuspendedError: the tenant cannot be worked in.
        """
        digest = _digest(text)
        names = [name for name, known in self._operators.items() if hmac.compare_digest(known, digest)]
        if not names:
            raise _invalid()
        tenant = await self._open_tenant(reference) if reference else None
        held = scopes.OPERATOR_IN_TENANT if tenant else scopes.OPERATOR
        return issue(self._signing_key, subject=f"operator:{names[0]}", scopes=held, tenant=tenant, now=self._clock())

    async def workload(self, service: str, secret: str, tenant_id: str) -> AccessToken:
        """Return a service's token, bound to the tenant of this id, or unbound when it is empty.

        Raises:
            CredentialInvalidError: the service or its secret is not known.
            TenantNotFoundError, TenantSuspendedError: the tenant cannot be worked in.
        """
        known = self._workloads.get(service, b"")
        if not hmac.compare_digest(known, _digest(secret)):
            raise _invalid()
        tenant = await self._open_tenant(tenant_id) if tenant_id else None
        return issue(
            self._signing_key,
            subject=f"service:{service}",
            scopes=scopes.WORKLOADS[service],
            tenant=tenant,
            now=self._clock(),
        )

    async def _open_tenant(self, reference: str) -> Tenant:
        """Return a tenant that a trusted party may work in."""
        tenant = await self._tenants.find_tenant(reference)
        if tenant is None or tenant.state is State.DELETED:
            raise TenantNotFoundError
        if tenant.state is State.SUSPENDED:
            raise TenantSuspendedError
        return tenant


def _digest(secret: str) -> bytes:
    """Return a hash of a fixed length, so that comparing tells nothing about the secret's own length."""
    return sha256(secret.encode()).digest()


def _invalid() -> CredentialInvalidError:
    return CredentialInvalidError("The credential is missing or not valid.")
