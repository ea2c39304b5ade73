"""What must not happen unseen: acts of administration, and credentials that are refused."""

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from google.api import annotations_pb2
from google.protobuf.message import Message
from prometheus_client import Counter

from servicekit.audit import AuditTrail, Entry, Kind
from servicekit.errors import CredentialInvalidError, DomainError, PermissionDeniedError, UnauthenticatedError
from servicekit.ids import uuid7
from servicekit.methods import find
from servicekit.pipeline import Call, Handler, Layer, Method

_log = structlog.get_logger("rapport.access")
_REFUSED = Counter("rapport_credentials_refused_total", "Calls whose credential was missing or refused.", ["reason"])
_SAMPLE_SECONDS = 1.0
_IN_PATH = re.compile(r"\{([a-z0-9_.]+)[=}]")
_NAMING = ("tenant", "tenant_id", "service")
_LONGEST = 400


class AuditMissingError(Exception):
    """A server offers an act that must be audited, and has nowhere to write it down."""


def refusals(trail: AuditTrail | None) -> Layer:
    """Return the layer around the judgement of credentials: it counts what is refused and, if known, whose it was."""
    last_sample = 0.0

    def anonymous(method: Method, reason: str) -> None:
        nonlocal last_sample
        now = time.monotonic()
        if now - last_sample >= _SAMPLE_SECONDS:
            last_sample = now
            _log.warning("credential_refused", method=method.path, reason=reason)

    def layer(method: Method, proceed: Handler) -> Handler:
        async def handle(call: Call) -> Any:
            try:
                return await proceed(call)
            except (UnauthenticatedError, PermissionDeniedError) as error:
                _REFUSED.labels(error.reason).inc()
                names = _whose(call, error)
                if trail is None or names is None:
                    anonymous(method, error.reason)
                else:
                    trail.refused(*names, method.path[1:], error.reason)
                raise

        return handle

    return layer


def _whose(call: Call, error: DomainError) -> tuple[UUID, str] | None:
    """Return the tenant and the subject of a refused credential; None when it names no tenant."""
    if isinstance(error, CredentialInvalidError) and error.names is not None:
        return error.names
    principal = call.principal
    return (principal.tenant_id, principal.subject) if principal and principal.tenant_id else None


def acts(trail: AuditTrail | None) -> Layer:
    """Return the innermost layer: an audited act is written down before it is done, and again with its outcome."""

    def layer(method: Method, proceed: Handler) -> Handler:
        if not method.audited:
            return proceed
        if trail is None:
            raise AuditMissingError(f"{method.path} is audited, and this server has no audit trail")
        names = _names(method)

        async def handle(call: Call) -> Any:
            act = _act(call, names)
            await trail.begin(act)
            outcome = "INTERNAL"
            try:
                answer = await proceed(call)
                outcome = "OK"
            except DomainError as error:
                outcome = error.reason
                raise
            except asyncio.CancelledError:
                outcome = "CANCELLED"
                raise
            finally:
                # Also a caller who went away must not keep the outcome from being written.
                await asyncio.shield(trail.finish(act, outcome))
            return answer

        return handle

    return layer


def _act(call: Call, names: Sequence[str]) -> Entry:
    principal = call.principal
    named = {name: text for name in names if (text := _text(call.request, name))}
    return Entry(
        entry_id=uuid7(),
        tenant_id=principal.tenant_id if principal else None,
        kind=Kind.ACT,
        create_time=datetime.now(UTC),
        subject=principal.subject if principal else "",
        method=call.method.path[1:],
        resource=", ".join(f"{name}={text}" for name, text in named.items())[:_LONGEST],
        request_id=call.request_id,
        tenant=next((named[name] for name in ("tenant", "tenant.slug", "tenant_id") if name in named), ""),
    )


def _names(method: Method) -> list[str]:
    """Return the fields of the request that name what the act is done to: those of its path, and some by custom."""
    descriptor = find(method.service, method.name)
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    path = getattr(rule, rule.WhichOneof("pattern") or "get")
    custom = [name for name in _NAMING if name in descriptor.input_type.fields_by_name]
    return list(dict.fromkeys([*_IN_PATH.findall(path), *custom, "tenant.slug"]))


def _text(message: Any, path: str) -> str:
    """Return the text of a field, empty where it is none or absent."""
    for name in path.split("."):
        if not isinstance(message, Message) or name not in message.DESCRIPTOR.fields_by_name:
            return ""
        message = getattr(message, name)
    return message if isinstance(message, str) else ""
