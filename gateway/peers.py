"""How Envoy proves itself to the services and to the control plane, and knows them: mutual TLS inside the suite.

Envoy reads its certificate and the trusted authorities itself. They are secrets that come from a file (SDS by path),
because static ones would never be read again: when the files change, new connections use them, and no call is lost.
"""

import json
from pathlib import Path
from typing import Any

from servicekit.authority import identity_uri
from servicekit.certificates import write
from servicekit.peers import PeerFiles

_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_CERTIFICATE = "suite_certificate"
_AUTHORITIES = "suite_authorities"


def secrets_folder(data_dir: Path) -> Path:
    """Return the folder of the two files that tell Envoy where its certificate and the authorities stand."""
    return data_dir.absolute() / "suite-secrets"


def write_secrets(folder: Path, files: PeerFiles) -> None:
    """Write these files; they hold paths only."""
    certificate = {
        "certificate_chain": {"filename": str(files.certificate)},
        "private_key": {"filename": str(files.key)},
        "watched_directory": {"path": str(files.certificate.parent)},
    }
    authorities = {
        "trusted_ca": {"filename": str(files.authorities)},
        "watched_directory": {"path": str(files.authorities.parent)},
    }
    folder.mkdir(exist_ok=True, mode=0o700)
    for name, value in (
        (_CERTIFICATE, {"tls_certificate": certificate}),
        (_AUTHORITIES, {"validation_context": authorities}),
    ):
        secret = {"@type": f"{_TYPES}.Secret", "name": name, **value}
        # One to a file: that is what Envoy expects of a secret that comes from a file.
        write(_file(folder, name), json.dumps({"version_info": "1", "resources": [secret]}, indent=2).encode())


def transport_socket(service: str, secrets: Path) -> dict[str, Any]:
    """Return the transport socket, as JSON values, of connections to a service that must prove that it is the one."""
    name = {"san_type": "URI", "matcher": {"exact": identity_uri(service)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.UpstreamTlsContext",
            "sni": service,
            # Each connection shows its certificate: one that was resumed would be judged by what stood in an older one.
            "max_session_keys": 0,
            "common_tls_context": {
                # By default Envoy, as a client, stops at 1.2.
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [_source(secrets, _CERTIFICATE)],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [name]},
                    "validation_context_sds_secret_config": _source(secrets, _AUTHORITIES),
                },
            },
        },
    }


def _source(secrets: Path, name: str) -> dict[str, Any]:
    path = {"path_config_source": {"path": str(_file(secrets, name))}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": path}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"
