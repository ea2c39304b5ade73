"""Settings that every service has; read from the environment once, in a service's `__main__`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from servicekit.identity.hosts import BASE_DOMAIN, HostRules
from servicekit.peer_settings import PeerSettings
from servicekit.trace_settings import TraceSettings


class ServiceSettings(PeerSettings, TraceSettings):
    """What a service process is told by its environment; a service subclasses it with its prefix and its own fields."""

    listen: str = "127.0.0.1:0"
    """The address `host:port` on which the process serves gRPC; port 0 takes a free one."""

    probe_listen: str = ""
    """The address `host:port` of a second port for a cluster's own probes, which show no certificate: it tells health
    (gRPC, without TLS) and nothing else. Empty means none."""

    database_url: SecretStr = SecretStr("")
    """The database with the runtime role, `postgresql://role:password@host:port/name`; `?host=/folder` for a socket."""

    migration_url: SecretStr = SecretStr("")
    """The database with the role that owns the schema; used by `migrate` only."""

    database_pool: int = Field(default=10, ge=1, le=200)
    """The most connections that the process keeps to the database, for each of its two pools."""

    valkey_url: SecretStr = SecretStr("")
    """Valkey, `redis://host:port` or `unix:///path`; empty means that there is none and everything still answers."""

    tenant_target: str = ""
    """The gRPC target of the tenant service, for example `ipv4:127.0.0.1:7001,127.0.0.1:7002`."""

    workload_secret: SecretStr = SecretStr("")
    """The secret by which this service proves who it is."""

    workload_secret_file: Path | None = None
    """A file that holds the workload secret; used when `workload_secret` is empty."""

    base_domain: str = BASE_DOMAIN
    """The domain whose subdomains are the tenants' (`<slug>.<base domain>`); itself it names no tenant."""

    neutral_hosts: tuple[str, ...] = ()
    """More hosts that name no tenant (a JSON list); any other host is some tenant's own domain."""

    kek_provider: Literal["file", "environment", "vault"] = "file"
    """Which provider of key-encryption keys wraps; all that are set unwrap (`servicekit.kek`)."""

    kek_file: Path | None = None
    """The file with the key-encryption keys (`servicekit.envelope`); it is read again when it changes."""

    kek_keys: SecretStr = SecretStr("")
    """Key-encryption keys in the environment: the JSON text that would stand in the file."""

    kek_vault_url: str = ""
    """HashiCorp Vault, for example `https://vault.internal:8200`; empty means that it is not asked."""

    kek_vault_mount: str = "transit"
    """Where Vault's transit engine is mounted."""

    kek_vault_key: str = "rapport"
    """The name of the key in the transit engine."""

    kek_vault_token_file: Path | None = None
    """The file with Vault's token; it is read for each call, so that an agent may renew it."""

    kek_vault_ca_file: Path | None = None
    """The certificates (PEM) that vouch for Vault; those of the system without it."""

    kek_vault_namespace: str = ""
    """Vault's namespace; empty for none."""

    metrics_listen: str = ""
    """The address `host:port` of the Prometheus page `/metrics`; empty means none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""

    environment: Literal["development", "production"] = "production"
    """Where the process runs; reflection is on in development only."""

    drain_seconds: float = Field(default=10.0, ge=0, le=300)
    """How long calls in flight may take to finish after SIGTERM."""

    def host_rules(self) -> HostRules:
        """Return what the hosts of requests are judged by."""
        return HostRules(self.base_domain, self.neutral_hosts)

    def workload_credential(self) -> str:
        """Return the workload secret from the environment or its file.

        Raises:
            ValueError: neither is set.
        """
        if secret := self.workload_secret.get_secret_value():
            return secret
        if self.workload_secret_file is None:
            raise ValueError("neither WORKLOAD_SECRET nor WORKLOAD_SECRET_FILE is set")
        return self.workload_secret_file.read_text(encoding="utf-8").strip()
