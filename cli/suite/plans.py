"""Which processes a suite has, and what each is told by its environment."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.suite import certificates
from cli.suite.child import ProcessPlan
from cli.suite.folder import SuiteFolder
from cli.suite.names import DATABASE, SERVICES
from cli.suite.postgres import PostgresServer
from cli.suite.secret_files import SuiteSecrets
from cli.suite.sockets import socket_folder
from cli.suite.valkey import ValkeyServer

_ADMIN_SOCKET = "envoy.sock"
_LOCAL_ORIGINS = ("http://localhost:*", "http://127.0.0.1:*")


@dataclass(frozen=True)
class SuiteOptions:
    """What the operator chose.

    Attributes:
        host: the address on which the gateway listens.
        https_port: its HTTPS port; 0 for a free one.
        http_port: the port that redirects to it; 0 for a free one.
        processes: how many processes a service has, by service; one where it is not named.
        also: how many processes a further version of a service has, by its name (`tickets@green`).
        mtls: whether the processes prove themselves to one another; None for what the data folder remembers.
        through: the address by which the others reach a service instead of its processes' own, by service.
    """

    host: str = "127.0.0.1"
    https_port: int = 8443
    http_port: int = 8080
    processes: Mapping[str, int] = field(default_factory=dict)
    also: Mapping[str, int] = field(default_factory=dict)
    mtls: bool | None = None
    through: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Addresses:
    """Where everything listens, as `host:port`.

    Attributes:
        services: gRPC addresses by service or further version of one (`tickets@green`), one for each process.
        control_plane: the gateway's control plane.
        https: the gateway's HTTPS listener.
        http: its redirecting listener.
        through: where services are reached instead, by service.
    """

    services: dict[str, list[str]]
    control_plane: str
    https: str
    http: str
    through: Mapping[str, str] = field(default_factory=dict)

    @property
    def reached(self) -> dict[str, list[str]]:
        """Where the other processes reach each service."""
        return self.services | {service: [address] for service, address in self.through.items()}

    def target(self, service: str) -> str:
        """Return the gRPC target that spreads over a service's processes."""
        return f"ipv4:{','.join(self.reached[service])}"

    @property
    def https_url(self) -> str:
        """What clients on this machine call."""
        return f"https://localhost:{self.https.rpartition(':')[2]}"

    @property
    def http_url(self) -> str:
        """What redirects to `https_url`."""
        return f"http://localhost:{self.http.rpartition(':')[2]}"


def server_plans(postgres: PostgresServer, valkey: ValkeyServer) -> list[ProcessPlan]:
    """Return the plans of the two servers; they see nothing of the caller's environment."""
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}
    return [
        ProcessPlan(
            name="postgres",
            command=postgres.command(),
            environment=environment,
            account=postgres.account,
            death_signal=postgres.death_signal,
            stop_signal=postgres.death_signal,
            stop_seconds=60,
            before_start=postgres.forget_dead_server,
        ),
        ProcessPlan(
            name="valkey",
            command=valkey.command(),
            environment=environment,
            account=valkey.account,
            death_signal=valkey.death_signal,
        ),
    ]


def service_plans(
    folder: SuiteFolder, addresses: Addresses, secrets: SuiteSecrets, postgres: PostgresServer, valkey: ValkeyServer
) -> list[ProcessPlan]:
    """Return a plan for each process of each service and of each further version of one."""
    plans = []
    for version, listening in addresses.services.items():
        service = version.partition("@")[0]
        shared = _service_environment(service, addresses, secrets, postgres, valkey)
        shared |= certificates.environment(folder, service)
        for number, address in enumerate(listening, start=1):
            plans.append(
                ProcessPlan(
                    name=version if len(listening) == 1 else f"{version}-{number}",
                    command=module_command(f"services.{service}", "serve"),
                    environment=_environment(service, {**shared, "LISTEN": address}),
                )
            )
    return plans


def migration_environment(secrets: SuiteSecrets, postgres: PostgresServer) -> dict[str, str]:
    """Return the environment of the process that migrates every service's schema with that service's owner role."""
    values: dict[str, str] = {}
    for service in SERVICES:
        owner = f"{service}_owner"
        url = postgres.url(owner, secrets.postgres[owner], DATABASE)
        values |= _environment(service, {"MIGRATION_URL": url})
    return values


def gateway_plans(folder: SuiteFolder, admin: Path, addresses: Addresses, secrets: SuiteSecrets) -> list[ProcessPlan]:
    """Return the plans of the control plane and of Envoy."""
    environment = _environment(
        "gateway",
        {
            "DATA_DIR": str(folder.gateway),
            "ADS_LISTEN": addresses.control_plane,
            "SERVICES": json.dumps(addresses.reached),
            "HTTPS_LISTEN": addresses.https,
            "HTTP_LISTEN": addresses.http,
            "CORS_ORIGINS": json.dumps(_LOCAL_ORIGINS),
            "TENANT_TARGET": addresses.target("tenant"),
            "WORKLOAD_SECRET_FILE": str(secrets.workload_files["gateway"]),
            "PUBLIC_URL": addresses.https_url,
            "ADMIN_LISTEN": f"unix:{admin}",
            **certificates.environment(folder, "gateway"),
        },
    )
    return [
        ProcessPlan("control-plane", module_command("gateway", "serve"), environment),
        ProcessPlan("envoy", module_command("gateway", "envoy"), environment),
    ]


def admin_socket(folder: SuiteFolder) -> Path:
    """Return where Envoy's admin interface listens: on a private socket."""
    return socket_folder(folder.run / "envoy", _ADMIN_SOCKET, None) / _ADMIN_SOCKET


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the argument list that runs an installed module; the current folder stays out of the import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def _service_environment(
    service: str, addresses: Addresses, secrets: SuiteSecrets, postgres: PostgresServer, valkey: ValkeyServer
) -> dict[str, str]:
    app = f"{service}_app"
    values = {
        "DATABASE_URL": postgres.url(app, secrets.postgres[app], DATABASE),
        "VALKEY_URL": valkey.url(secrets.valkey),
        "TENANT_TARGET": addresses.target("tenant"),
        "KEK_FILE": str(secrets.key_encryption_file),
        "ENVIRONMENT": "development",
    }
    if service in secrets.workload_files:
        values["WORKLOAD_SECRET_FILE"] = str(secrets.workload_files[service])
    special = {
        "tenant": {
            "OPERATOR_KEY_FILE": str(secrets.operator_key_file),
            "WORKLOAD_SECRETS_FILE": str(secrets.workloads_file),
            **{f"{peer.upper()}_TARGET": addresses.target(peer) for peer in SERVICES if peer != "tenant"},
        },
        "crm": {
            "TICKETS_TARGET": addresses.target("tickets"),
            "RECOMMENDATIONS_TARGET": addresses.target("recommendations"),
            "PUBLIC_URL": addresses.https_url,
        },
        "tickets": {"RECOMMENDATIONS_TARGET": addresses.target("recommendations")},
        "recommendations": {"TICKETS_TARGET": addresses.target("tickets")},
    }
    return values | special[service]


def _environment(owner: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment with these settings of a service; libpq's variables are kept out of it."""
    prefix = f"RAPPORT_{owner.upper()}_"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {prefix + name: value for name, value in values.items()}
