"""Settings of the gateway's two processes; read from the environment once, in `gateway.__main__`."""

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.addresses import HostPort


class GatewaySettings(BaseSettings):
    """What the control plane (`serve`) and Envoy (`envoy`, `bootstrap`) are told by their environment."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_GATEWAY_", frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path(".rapport/gateway")
    """The folder of the TLS files (`tls/`) and of Envoy's bootstrap (`envoy.json`); made (0700) when missing."""

    ads_listen: str = "127.0.0.1:18000"
    """The address `host:port` on which the control plane serves ADS."""

    ads_target: str = ""
    """The address `host:port` where Envoy finds the control plane; empty means the same as `ads_listen`."""

    services: dict[str, list[str]] = Field(default_factory=dict)
    """The addresses `host:port` of each service, as JSON: `{"tenant": ["127.0.0.1:7001"]}`. Names are resolved again
    every five seconds; each address that a name has is one endpoint."""

    https_listen: str = "127.0.0.1:8443"
    """The address `host:port` on which Envoy serves."""

    http_listen: str = "127.0.0.1:8080"
    """The address `host:port` on which Envoy redirects to HTTPS."""

    https_port: int = Field(default=0, ge=0, le=65535)
    """The port of HTTPS as clients see it, for redirects; 0 means that of `https_listen`."""

    cors_origins: list[str] = Field(default_factory=list)
    """The web origins whose pages may call the API, as JSON; `*` stands for one label of the host or for the port:
    `["https://*.example.com", "http://localhost:*"]`. Empty means none."""

    tenant_target: str = "ipv4:127.0.0.1:7001"
    """The gRPC target of the tenant service, from which the keys come that tokens are judged by."""

    workload_secret: SecretStr = SecretStr("")
    """The secret by which the gateway proves to the tenant service who it is."""

    workload_secret_file: Path | None = None
    """A file that holds the workload secret; used when `workload_secret` is empty."""

    certificate_file: Path | None = None
    """The server's own certificate chain (PEM); with `key_file` it takes the place of the local CA's."""

    key_file: Path | None = None
    """The private key (PEM) of `certificate_file`."""

    tls_names: list[str] = Field(default_factory=list)
    """Further host names and addresses that the local CA's certificate shall hold, as JSON."""

    public_url: str = ""
    """The address of the API as clients see it, for the OpenAPI document; empty means the page's own origin."""

    descriptors: Path | None = None
    """The descriptor image of the services' contracts; unset means `gen/rapport.binpb` of the repository."""

    node_id: str = "gateway"
    """Envoy's name towards the control plane."""

    admin_listen: str = ""
    """Envoy's admin interface, `host:port` or `unix:/path`; empty means the socket `admin.sock` in `data_dir`."""

    envoy_concurrency: int = Field(default=0, ge=0, le=1024)
    """Envoy's worker threads; 0 means one per core."""

    metrics_listen: str = ""
    """The address `host:port` of the control plane's Prometheus page; empty means none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""

    @field_validator("ads_listen", "https_listen", "http_listen")
    @classmethod
    def _is_address(cls, text: str) -> str:
        HostPort.parse(text)
        return text

    @field_validator("services")
    @classmethod
    def _are_addresses(cls, services: dict[str, list[str]]) -> dict[str, list[str]]:
        for addresses in services.values():
            for address in addresses:
                HostPort.parse(address)
        return services

    def workload_credential(self) -> str:
        """Return the workload secret from the environment or its file; empty when neither is set."""
        if secret := self.workload_secret.get_secret_value():
            return secret
        return self.workload_secret_file.read_text(encoding="utf-8").strip() if self.workload_secret_file else ""

    def endpoints(self) -> dict[str, tuple[HostPort, ...]]:
        """Return the services' addresses, sorted by service."""
        return {name: tuple(map(HostPort.parse, self.services[name])) for name in sorted(self.services)}

    def image(self) -> Path:
        """Return the file of the descriptor image."""
        return self.descriptors or Path(__file__).resolve().parent.parent / "gen" / "rapport.binpb"

    def admin(self) -> str:
        """Return where Envoy's admin interface listens."""
        return self.admin_listen or f"unix:{self.data_dir.absolute() / 'admin.sock'}"

    def make_data_dir(self) -> Path:
        """Make the data folder when it is missing and return it.

        Raises:
            SystemExit: it cannot be made.
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            sys.exit(f"cannot make the folder {self.data_dir}: {error.strerror}")
        return self.data_dir
