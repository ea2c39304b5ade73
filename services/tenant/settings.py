"""The settings of the tenant service."""

import json
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings
from services.tenant.operators import ADMIN, Operator, admin, operators_of


class TenantSettings(ServiceSettings):
    """What the environment tells the tenant service, `RAPPORT_TENANT_…`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_TENANT_")

    operator_key_file: Path | None = None
    """A file that holds the key of the operator `admin`, `rpo_…`; without it there is no such operator."""

    operators_file: Path | None = None
    """A JSON file of further operators, `{"anna": {"key_sha256": "…", "role": "viewer"}}`: each has a `key` or its
    SHA-256 in hexadecimal as `key_sha256`, and a `role` (`admin`, `viewer`) or a list of `scopes`."""

    workload_secrets_file: Path | None = None
    """A JSON file with the secret of each service by its name; without it no service can get a token."""

    max_api_keys: int = Field(default=50, ge=1, le=10_000)
    """How many API keys a tenant can have that are neither revoked nor expired."""

    signing_key_days: float = Field(default=30.0, gt=0, le=3650)
    """After how many days the key that signs tokens is replaced by the next one."""

    purge_grace_days: float = Field(default=30.0, ge=0, le=3650)
    """For how many days a deleted tenant can be brought back before everything of it is erased."""

    erase_settle_seconds: float = Field(default=35.0, ge=0, le=3600)
    """How long calls for a tenant may still be running after its deletion; only then an erasure can be complete."""

    max_domains: int = Field(default=10, ge=1, le=20)
    """How many own domains a tenant can have; they stand in each of its tokens."""

    domain_hosts_file: Path | None = None
    """For tests only, refused in production: a JSON file of addresses by own domains, which are asked for the proof
    instead of what the domains resolve to."""

    crm_target: str = ""
    """The gRPC target of the crm service; without the targets of all services nothing is erased."""

    tickets_target: str = ""
    """The gRPC target of the tickets service."""

    recommendations_target: str = ""
    """The gRPC target of the recommendations service."""

    def operators(self) -> tuple[Operator, ...]:
        """Return the operators of both files.

        Raises:
            ValueError: a file does not hold what it should, or the two name the same operator.
        """
        found: dict[str, Operator] = {}
        if self.operators_file is not None:
            try:
                found |= operators_of(json.loads(self.operators_file.read_text(encoding="utf-8")))
            except ValueError as error:
                reason = "is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else error
                raise ValueError(f"OPERATORS_FILE: {reason}") from None
        if self.operator_key_file is not None:
            key = self.operator_key_file.read_text(encoding="utf-8").strip()
            if not key:
                raise ValueError("OPERATOR_KEY_FILE holds no key")
            if ADMIN in found:
                raise ValueError(f"OPERATORS_FILE names {ADMIN}, whose key stands in OPERATOR_KEY_FILE")
            found[ADMIN] = admin(key)
        return tuple(found.values())

    def domain_hosts(self) -> Path | None:
        """Return the file of addresses that stand in for the resolver in tests.

        Raises:
            ValueError: there is one in production, where it would lead into our own network.
        """
        if self.domain_hosts_file is not None and self.environment == "production":
            raise ValueError("DOMAIN_HOSTS_FILE is for tests and refused in production")
        return self.domain_hosts_file

    def workload_secrets(self) -> dict[str, str]:
        """Return the services' secrets by the services' names.

        Raises:
            ValueError: the file is not a JSON object of texts that are not empty.
        """
        if self.workload_secrets_file is None:
            return {}
        secrets = json.loads(self.workload_secrets_file.read_text(encoding="utf-8"))
        if not isinstance(secrets, dict) or not all(isinstance(secret, str) and secret for secret in secrets.values()):
            raise ValueError("WORKLOAD_SECRETS_FILE must be a JSON object of secrets")
        return secrets
