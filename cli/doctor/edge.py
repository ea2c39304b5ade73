"""What clients meet: the gateway's readiness, its configuration, and the certificate that it shows."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from cryptography import x509
from rapport.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc

from cli.gateway_status import problems
from cli.operator import Operator, as_dict
from cli.suite.health import is_ready
from servicekit.diagnosis import DAY, Finding, State, graded

_ANSWER_SECONDS = 5.0
_WARNING_DAYS = 21.0
_FAILED_DAYS = 3.0


async def ready(https_url: str, ca_file: Path) -> list[Finding]:
    """Judge whether the gateway says that every service can be reached through it."""
    if await is_ready(https_url, ca_file):
        return [Finding("gateway.ready", State.OK, "Every service can be reached through the gateway.")]
    return [
        Finding(
            "gateway.ready",
            State.FAILED,
            f"{https_url}/readyz does not say yes.",
            "`rapport status` names what is not healthy; `rapport logs envoy`",
        )
    ]


async def configuration(operator: Operator) -> list[Finding]:
    """Judge what the control plane says about every Envoy."""
    stub = operator.stub(gateway_service_pb2_grpc.GatewayServiceStub, "gateway")
    try:
        answer = await stub.GetStatus(
            gateway_service_pb2.GetStatusRequest(), metadata=await operator.metadata(), timeout=_ANSWER_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        summary = f"The control plane does not answer: {error.code().name}."
        remedy = "Envoy serves on with what it has; `rapport logs control-plane`"
        return [Finding("gateway.configuration", State.FAILED, summary, remedy)]
    status: dict[str, Any] = as_dict(answer)
    wrong = problems(status)
    if wrong:
        remedy = "`rapport gateway status`; undo the change of settings, addresses or certificates that it names"
        return [Finding("gateway.configuration", State.FAILED, " ".join(wrong), remedy)]
    return [Finding("gateway.configuration", State.OK, f"Every Envoy serves configuration {status['wanted_version']}.")]


async def certificate(https_url: str, clock: Callable[[], datetime]) -> list[Finding]:
    """Judge until when the certificate is valid that the gateway shows."""
    remedy = "put a new pair in its place (docs/gateway.md); `certificate_refused` in `rapport logs control-plane`"
    try:
        shown = await asyncio.to_thread(_shown, https_url)
    except (OSError, ValueError) as error:
        summary = f"No certificate could be seen at {https_url}: {type(error).__name__}."
        return [Finding("certificate.edge", State.FAILED, summary, remedy)]
    left = (shown.not_valid_after_utc - clock()).total_seconds() / DAY
    state = graded(-left, warning=-_WARNING_DAYS, failed=-_FAILED_DAYS)
    summary = f"The certificate that clients see ends in {left:.1f} days."
    ends = {"ends": shown.not_valid_after_utc.isoformat(timespec="seconds")}
    return [Finding("certificate.edge", state, summary, "" if state is State.OK else remedy, ends)]


def _shown(https_url: str) -> x509.Certificate:
    """Return what the gateway shows, whoever vouches for it: only its end is of interest."""
    parts = urlsplit(https_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (parts.hostname or "localhost", parts.port or 443)
    with (
        socket.create_connection(address, timeout=_ANSWER_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as secured,
    ):
        content = secured.getpeercert(binary_form=True)
    if not content:
        raise ValueError("no certificate")
    return x509.load_der_x509_certificate(content)
