"""The health probe of a container: exits 0 when the process at RAPPORT_PROBE_TARGET answers SERVING, else 1.

It runs in that process's container. Where the process has TLS, the probe shows the same certificate
(RAPPORT_PROBE_TLS_…_FILE), and who answers must prove that it is the one of that certificate.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from servicekit.peer_settings import PeerSettings
from servicekit.peers import CertificateUnusableError

TIMEOUT = 2.0
"""Seconds that the answer may take."""


class ProbeSettings(PeerSettings):
    """What the probe is told by its environment, `RAPPORT_PROBE_…`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_PROBE_")

    target: str = ""
    """The address `host:port` to ask."""


def main() -> None:
    """Ask once; say on standard error what is wrong."""
    try:
        settings = ProbeSettings()
        if not settings.target:
            sys.exit("RAPPORT_PROBE_TARGET names no address to ask")
        channel = _channel(settings)
    except (ValidationError, CertificateUnusableError) as error:
        sys.exit(f"the settings RAPPORT_PROBE_* are wrong: {error}")
    target = settings.target
    try:
        with channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    except grpc.RpcError as error:
        sys.exit(f"{target} did not answer: {error.code().name}")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"{target} is not serving")


def _channel(settings: ProbeSettings) -> grpc.Channel:
    tls = settings.peer_tls()
    if tls is None:
        return grpc.insecure_channel(settings.target)
    held = tls.held()
    credentials = grpc.ssl_channel_credentials(held.authorities, held.key, held.certificate)
    return grpc.secure_channel(settings.target, credentials, [("grpc.ssl_target_name_override", held.name)])


if __name__ == "__main__":
    main()
