"""Settings of the gateway's two processes; read from the environment once, in `gateway.__main__`."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from gateway.addresses import HostPort
from gateway.edge.clients import USUAL_PORT, Patience, Proxies
from gateway.edge.quotas import Rates
from gateway.predecessor import KEY_VARIABLE, Predecessor
from servicekit.peer_settings import PeerSettings
from servicekit.trace_settings import TraceSettings

YEAR_SECONDS = 365 * 24 * 3600


class GatewaySettings(PeerSettings, TraceSettings):
    """What the control plane (`serve`) and Envoy (`envoy`, `bootstrap`) are told by their environment."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_GATEWAY_")

    data_dir: Path = Path(".rapport/gateway")
    """The folder of the TLS files (`tls/`), of the domains' certificates (`certificates/<domain>/`), of ACME challenges
    (`acme-challenge/`) and of Envoy's bootstrap (`envoy.json`); made (0700) when missing."""

    ads_listen: str = "127.0.0.1:18000"
    """The address `host:port` on which the control plane serves ADS."""

    probe_listen: str = ""
    """The address `host:port` of a second port for a cluster's own probes, which show no certificate: it tells health
    (gRPC, without TLS) and nothing else. Empty means none."""

    ads_target: str = ""
    """The address `host:port` where Envoy finds the control plane; empty means the same as `ads_listen`."""

    ads_protocol: Literal["delta", "sotw"] = "delta"
    """How Envoy asks for its configuration: `delta` for what changed, `sotw` for the whole state of each type."""

    services: dict[str, list[str]] = Field(default_factory=dict)
    """The addresses `host:port` of each service, as JSON: `{"tenant": ["127.0.0.1:7001"]}`. Names are resolved again
    every five seconds; each address that a name has is one endpoint."""

    https_listen: str = "127.0.0.1:8443"
    """The address `host:port` on which Envoy serves."""

    http_listen: str = "127.0.0.1:8080"
    """The address `host:port` on which Envoy redirects to HTTPS."""

    https_port: int = Field(default=0, ge=0, le=65535)
    """The port of HTTPS as clients see it, for redirects; 0 means that of `https_listen`, behind a proxy 443."""

    cors_origins: list[str] = Field(default_factory=list)
    """The web origins whose pages may call the API, as JSON; `*` stands for one label of the host or for the port:
    `["https://*.example.com", "http://localhost:*"]`. Empty means none."""

    tenant_target: str = "ipv4:127.0.0.1:7001"
    """The gRPC target of the tenant service, from which the keys come that tokens are judged by."""

    workload_secret: SecretStr = SecretStr("")
    """The secret by which the gateway proves to the tenant service who it is."""

    workload_secret_file: Path | None = None
    """A file that holds the workload secret; used when `workload_secret` is empty."""

    mode: Literal["direct", "behind-proxy"] = "direct"
    """Where TLS ends: `direct` at Envoy, to which clients connect; `behind-proxy` at the platform's proxy, which
    connects to `http_listen` and says in `x-forwarded-proto` by which scheme it was asked."""

    trusted_hops: int = Field(default=1, ge=1, le=16)
    """With `behind-proxy`: how many proxies stand one behind the other, each of which adds to `x-forwarded-for` the
    address that connected to it. What stands further left in that header was said by the client and is not believed."""

    trusted_proxies: list[IPvAnyNetwork] = Field(default_factory=list)
    """With `behind-proxy`: the networks from which the last proxy connects, as JSON: `["10.0.0.0/8"]`. Empty means
    from anywhere but this machine: loopback is trusted only where it is named."""

    trust_forwarded_host: bool = False
    """With `behind-proxy`: whether the host is the one that the proxy names in `x-forwarded-host`. Turn it on only
    where every proxy sets that header itself, because many pass on what the client wrote there; otherwise it is
    dropped, and the host is that of the request."""

    base_domain: str = "localhost"
    """The domain below which every tenant has a name of its own."""

    hsts_max_age: int | None = Field(default=None, ge=0, le=63_072_000)
    """For how many seconds browsers shall come by HTTPS only (HSTS), 0 for not saying so. Unset means a year, but 0
    where `base_domain` is `localhost`: a browser would keep to it for whatever else a developer runs there."""

    handshake_timeout: float = Field(default=10, gt=0, le=3600)
    """Seconds that a client may take for its TLS handshake."""

    headers_timeout: float = Field(default=10, gt=0, le=3600)
    """Seconds that a client may take to send the headers of a request."""

    request_timeout: float = Field(default=60, gt=0, le=3600)
    """Seconds that a client may take to send a whole request."""

    idle_timeout: float = Field(default=300, gt=0, le=86_400)
    """Seconds after which a connection or a stream is closed on which nothing happens."""

    requests_per_minute: int = Field(default=12_000, ge=6, le=10_000_000)
    """How many requests per minute a tenant may send whose setting `requests_per_minute` says nothing. A sixth of it
    may come at once."""

    shared_quotas: bool = False
    """Whether several Envoys keep to a tenant's quota together, each to a share of it that follows what it is asked
    for. Without it every Envoy gives every tenant the whole quota. All Envoys must report to one control plane."""

    webhook_requests_per_minute: int = Field(default=12_000, ge=6, le=10_000_000)
    """How many requests per minute one webhook address takes."""

    webhook_client_requests_per_minute: int = Field(default=120_000, ge=6, le=10_000_000)
    """How many requests per minute a client address may send to webhook addresses, known or not, all together; vendors
    send everybody's webhooks from few addresses (an IPv6 network of 64 bits counts as one address)."""

    public_requests_per_minute: int = Field(default=600, ge=6, le=10_000_000)
    """How many requests per minute a client address may send to methods that ask for no credential, such as the token
    endpoint (an IPv6 network of 64 bits counts as one address)."""

    certificate_file: Path | None = None
    """The server's own certificate chain (PEM); with `key_file` it takes the place of the local CA's."""

    key_file: Path | None = None
    """The private key (PEM) of `certificate_file`."""

    tls_names: list[str] = Field(default_factory=list)
    """Further host names and addresses that the local CA's certificate shall hold, as JSON."""

    predecessor_url: str = ""
    """The address `http(s)://host:port` of the predecessor while shops move from it; empty means that there is none.
    Nothing goes there before `rapport migrate cutover` says so."""

    predecessor_key: SecretStr = SecretStr("")
    """The predecessor's own API key, which takes the place of a shop's key in what is sent there; only Envoy's
    environment holds it."""

    predecessor_key_file: Path | None = None
    """A file that holds the predecessor's key; used when `predecessor_key` is empty."""

    predecessor_authorities: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    """The authorities (PEM) that prove the predecessor when its address begins with `https`."""

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

    edge_metrics_listen: str = ""
    """The address `host:port` of Envoy's own Prometheus page `/metrics`; empty means none. Nothing else of its
    admin interface can be reached there."""

    trace_callers_decide: bool = False
    """Whether a caller says by `traceparent` that its trace is recorded. Otherwise `trace_ratio` decides by the trace's
    id, which is the caller's either way: who chooses ids with care is recorded more often, or never. Turn it on where
    all callers are known: some vendors have every trace recorded."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""

    @field_validator("ads_listen", "https_listen", "http_listen")
    @classmethod
    def _is_address(cls, text: str) -> str:
        HostPort.parse(text)
        return text

    @field_validator("edge_metrics_listen")
    @classmethod
    def _is_address_or_empty(cls, text: str) -> str:
        return cls._is_address(text) if text else text

    @field_validator("predecessor_url")
    @classmethod
    def _is_url(cls, text: str) -> str:
        if text:
            Predecessor.parse(text, Path(), has_key=False)
        return text

    @field_validator("services")
    @classmethod
    def _are_addresses(cls, services: dict[str, list[str]]) -> dict[str, list[str]]:
        for addresses in services.values():
            for address in addresses:
                HostPort.parse(address)
        return services

    def rates(self) -> Rates:
        """Return the limits of requests per minute."""
        return Rates(
            tenant=self.requests_per_minute,
            webhook=self.webhook_requests_per_minute,
            webhook_client=self.webhook_client_requests_per_minute,
            stranger=self.public_requests_per_minute,
            shared=self.shared_quotas,
        )

    def visible_https_port(self) -> int:
        """Return the port of HTTPS as clients see it."""
        return self.https_port or (
            USUAL_PORT if self.mode == "behind-proxy" else HostPort.parse(self.https_listen).port
        )

    def proxies(self) -> Proxies | None:
        """Return the proxies in front of the gateway, None without any."""
        if self.mode == "direct":
            return None
        return Proxies(self.trusted_hops, tuple(self.trusted_proxies), self.trust_forwarded_host)

    def patience(self) -> Patience:
        """Return how long clients may take."""
        times = (self.handshake_timeout, self.headers_timeout, self.request_timeout, self.idle_timeout)
        return Patience(*(timedelta(seconds=seconds) for seconds in times))

    def hsts(self) -> int:
        """Return for how many seconds browsers shall come by HTTPS only; 0 means that they are not told so."""
        if self.hsts_max_age is not None:
            return self.hsts_max_age
        return 0 if self.base_domain == "localhost" else YEAR_SECONDS

    def workload_credential(self) -> str:
        """Return the workload secret from the environment or its file; empty when neither is set."""
        if secret := self.workload_secret.get_secret_value():
            return secret
        return self.workload_secret_file.read_text(encoding="utf-8").strip() if self.workload_secret_file else ""

    def predecessor(self) -> Predecessor | None:
        """Return where the predecessor is, None when there is none."""
        if not self.predecessor_url:
            return None
        has_key = bool(self.predecessor_key.get_secret_value() or self.predecessor_key_file)
        return Predecessor.parse(self.predecessor_url, self.predecessor_authorities, has_key=has_key)

    def envoy_environment(self) -> dict[str, str]:
        """Return what Envoy's environment holds beside that of this process.

        Raises:
            OSError: the file of the predecessor's key cannot be read.
        """
        key = self.predecessor_key.get_secret_value()
        if not key and self.predecessor_key_file:
            key = self.predecessor_key_file.read_text(encoding="utf-8").strip()
        return {KEY_VARIABLE: key} if key else {}

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
