"""What a credential is exchanged for. Whoever brings a bad one learns only that it is bad.

A key that has not the form of one is refused before the database is asked. From there on a refused key costs the same
round trips as a good one, so that the time of the answer does not tell an unknown key from a revoked one.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from servicekit.errors import CredentialInvalidError
from servicekit.identity import Credential, Host, HostRules, Standing, Verdict, decide
from services.tenant import oauth, scopes
from services.tenant.errors import TenantNotFoundError, TenantSuspendedError
from services.tenant.keys import FoundKey, Kind, hash_of, is_well_formed
from services.tenant.operators import Operator, digest
from services.tenant.registry import State, Tenant, is_slug
from services.tenant.signing import SigningKey
from services.tenant.tokens import AccessToken, issue

_NOBODY = str(UUID(int=0))
_STANDINGS = {
    State.ACTIVE: Standing.ACTIVE,
    State.SUSPENDED: Standing.SUSPENDED,
    State.DELETED: Standing.DELETED,
}


class KeyDirectory(Protocol):
    """Where keys are looked up."""

    async def find_api_key(self, key_hash: bytes) -> FoundKey | None:
        """Return the key with this hash and its tenant; None when there is none."""


class TenantDirectory(Protocol):
    """Where tenants are looked up."""

    async def find_tenant(self, reference: str) -> Tenant | None:
        """Return the tenant with this slug or id; None when there is none."""


class Signer(Protocol):
    """What signs."""

    @property
    def current(self) -> SigningKey:
        """The key that signs now."""


class Exchange:
    """Makes tokens of credentials."""

    def __init__(
        self,
        keys: KeyDirectory,
        tenants: TenantDirectory,
        signer: Signer,
        *,
        operators: Sequence[Operator],
        workloads: Mapping[str, str],
        note_use: Callable[[UUID, UUID, datetime], None],
        clock: Callable[[], datetime],
        hosts: HostRules,
    ) -> None:
        """Hold the credentials that come from files: operators, and services' secrets by the services' names.

        `note_use` is told the tenant, the key and the time whenever a key was exchanged.

        Raises:
            ValueError: a service has a secret and no row in the table of scopes.
        """
        if strangers := set(workloads) - set(scopes.WORKLOADS):
            raise ValueError(f"no scopes are declared for the workloads {', '.join(sorted(strangers))}")
        self._keys = keys
        self._tenants = tenants
        self._signer = signer
        self._operators = operators
        self._workloads = {name: digest(secret) for name, secret in workloads.items()}
        self._note_use = note_use
        self._clock = clock
        self._hosts = hosts

    async def api_key(self, text: str) -> AccessToken:
        """Return a token of the key's tenant with the key's scopes.

        Raises:
            CredentialInvalidError: the key or its tenant is not good.
        """
        now = self._clock()
        found = await self._good_key(text, now)
        return self._token_of(found, found.key.scopes, now)

    async def client_credentials(self, request: oauth.TokenRequest, authority: str | None = None) -> AccessToken:
        """Return a token for a client of OAuth 2.0: its id is the shop's slug, its secret is a secret key of the shop.

        `authority` is the host that was called; None where that is not known.

        Raises:
            OAuthError: invalid_client, unauthorized_client (a browser key, another shop's host), or invalid_scope.
        """
        now = self._clock()
        try:
            found = await self._good_key(request.client.secret, now)
        except CredentialInvalidError as error:
            named = await self._names_of_client(request.client.client_id)
            raise oauth.invalid_client(error.names or named) from None
        names = (found.tenant.tenant_id, f"key:{found.key.key_id}")
        if found.tenant.slug != request.client.client_id:
            # The same work as for an unknown key, so that the time does not tell which of the two is wrong.
            await self._names_of_client(request.client.client_id)
            raise oauth.invalid_client(names)
        host = self._hosts.judge(authority, found.tenant.slug, found.tenant.hosts)
        if decide(Credential.KEY, Standing.ACTIVE, host) is not Verdict.ALLOWED:
            raise oauth.OAuthError("unauthorized_client", "The client is not good on this host.", names)
        if found.key.kind is Kind.BROWSER:
            text = "A browser key is no client secret; use a secret key."
            raise oauth.OAuthError("unauthorized_client", text, names)
        return self._token_of(found, oauth.granted(request.scopes, found.key.scopes), now)

    async def operator_key(self, text: str, reference: str) -> AccessToken:
        """Return an operator's token, bound to the tenant of this slug or id, or unbound when it is empty.

        Raises:
            CredentialInvalidError: the key is not an operator's.
            TenantNotFoundError, TenantSuspendedError: the tenant cannot be worked in.
        """
        shown = digest(text)
        # All are compared, so that the time does not tell which one it was.
        found = [operator for operator in self._operators if hmac.compare_digest(operator.key_digest, shown)]
        if not found:
            raise _invalid()
        tenant = await self._open_tenant(reference) if reference else None
        held = found[0].scopes & (scopes.OPERATOR_IN_TENANT if tenant else scopes.OPERATOR)
        subject = f"operator:{found[0].name}"
        return issue(self._signer.current, subject=subject, scopes=held, tenant=tenant, now=self._clock())

    async def workload(self, service: str, secret: str, tenant_id: str) -> AccessToken:
        """Return a service's token, bound to the tenant of this id, or unbound when it is empty.

        Raises:
            CredentialInvalidError: the service or its secret is not known.
            TenantNotFoundError, TenantSuspendedError: the tenant cannot be worked in.
        """
        known = self._workloads.get(service, b"")
        if not hmac.compare_digest(known, digest(secret)):
            raise _invalid()
        tenant = await self._open_tenant(tenant_id) if tenant_id else None
        return issue(
            self._signer.current,
            subject=f"service:{service}",
            scopes=scopes.WORKLOADS[service],
            tenant=tenant,
            now=self._clock(),
        )

    async def _good_key(self, text: str, now: datetime) -> FoundKey:
        """Return the key with this text, if it and its tenant are good.

        Raises:
            CredentialInvalidError: they are not.
        """
        if not is_well_formed(text):
            raise _invalid()
        found = await self._keys.find_api_key(hash_of(text))
        if found is None:
            raise _invalid()
        standing = _STANDINGS[found.tenant.state] if found.key.is_live(now) else Standing.UNKNOWN
        # The gateway keeps the token and asks for no host: that is judged where the token is used.
        if decide(Credential.KEY, standing, Host.AGREES) is not Verdict.ALLOWED:
            raise _invalid().naming(found.tenant.tenant_id, f"key:{found.key.key_id}")
        return found

    async def _names_of_client(self, client_id: str) -> tuple[UUID, str] | None:
        """Return the tenant that a client named and the subject of its refusal; a name of nobody costs as much.

        An erased tenant is nobody.
        """
        tenant = await self._tenants.find_tenant(client_id if is_slug(client_id) else "")
        if tenant is None:
            await self._tenants.find_tenant(_NOBODY)
        if tenant is None or tenant.erase_time is not None:
            return None
        return tenant.tenant_id, f"client:{tenant.slug}"

    def _token_of(self, found: FoundKey, held: Sequence[str] | frozenset[str], now: datetime) -> AccessToken:
        self._note_use(found.tenant.tenant_id, found.key.key_id, now)
        return issue(
            self._signer.current,
            subject=f"key:{found.key.key_id}",
            scopes=held,
            tenant=found.tenant,
            now=now,
            key=found.key,
        )

    async def _open_tenant(self, reference: str) -> Tenant:
        """Return a tenant that a trusted party may work in."""
        tenant = await self._tenants.find_tenant(reference)
        if tenant is None or tenant.state is State.DELETED:
            raise TenantNotFoundError
        if tenant.state is State.SUSPENDED:
            raise TenantSuspendedError
        return tenant


def _invalid() -> CredentialInvalidError:
    return CredentialInvalidError("The credential is missing or not valid.")
