"""Calls to the services of a running suite with the operator's key."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from rapport.tenant.v1 import token_service_pb2, token_service_pb2_grpc

from cli import elsewhere
from cli.errors import CommandError
from cli.suite.certificates import operator_tls
from cli.suite.control import grpc_addresses, require_running
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import operator_key
from servicekit.channel import open_channel
from servicekit.peers import PeerTls

_TOKEN_SECONDS = 60.0
"""How long a token is used; it is valid for twice as long."""

Stub = TypeVar("Stub")
Result = TypeVar("Result")


class Operator:
    """Channels to the services, and tokens for calls to them."""

    def __init__(self, addresses: dict[str, str], key: str, tls: PeerTls | None = None) -> None:
        self._key = key
        self._channels = {service: open_channel(address, service, tls) for service, address in addresses.items()}
        self._tokens: dict[str, tuple[str, float]] = {}

    def stub(self, kind: Callable[[grpc.aio.Channel], Stub], service: str) -> Stub:
        """Return a stub of that kind on the service's channel."""
        return kind(self._channels[service])

    async def metadata(self, tenant: str = "") -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call: a token bound to the tenant with that slug, or unbound without one."""
        token, ends = self._tokens.get(tenant, ("", 0.0))
        if time.monotonic() > ends:
            tokens = self.stub(token_service_pb2_grpc.TokenServiceStub, "tenant")
            request = token_service_pb2.ExchangeOperatorKeyRequest(operator_key=self._key, tenant=tenant)
            answer = await tokens.ExchangeOperatorKey(request, timeout=10)
            token = answer.token
            self._tokens[tenant] = (token, time.monotonic() + _TOKEN_SECONDS)
        return (("authorization", f"Bearer {token}"),)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()


@contextlib.asynccontextmanager
async def operator_of(folder: SuiteFolder) -> AsyncIterator[Operator]:
    """Give an operator of the suite that runs on the folder, or of the deployment elsewhere that the environment names.

    A refused call leaves as CommandError.

    Raises:
        CommandError: no suite runs there, or a service refused a call.
    """
    operator = _elsewhere() or _here(folder)
    try:
        yield operator
    except grpc.aio.AioRpcError as error:
        raise command_error(error) from error
    finally:
        await operator.close()


def _here(folder: SuiteFolder) -> Operator:
    running = require_running(folder)
    if running.phase != "running":
        raise CommandError(
            f"The suite on {folder.root} is {running.phase}: try again in a moment.", reason="NOT_RUNNING"
        )
    return Operator(grpc_addresses(running), operator_key(folder.secrets), operator_tls(folder))


def _elsewhere() -> Operator | None:
    settings = elsewhere.elsewhere()
    return Operator(settings.services, elsewhere.key(settings), settings.peer_tls()) if settings else None


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's work to its end."""
    return asyncio.run(work)


def command_error(error: grpc.aio.AioRpcError) -> CommandError:
    """Return what a refused call means, in one line."""
    problem = _problem(error)
    detail = str(problem.get("detail") or error.details() or "no details").rstrip(".")
    violations = [one for one in problem.get("violations") or () if str(one.get("description")) not in detail]
    if violations:
        fields = "; ".join(f"{one.get('field', '')}: {one.get('description', '')}".rstrip(".") for one in violations)
        detail = f"{detail} ({fields})"
    reason = str(problem.get("reason") or error.code().name)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not problem:
        detail = "A service does not answer: see `rapport status` and `rapport logs`"
    return CommandError(f"{detail}.", reason=reason)


def _problem(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the problem document that our services send along with an error, or an empty one."""
    for key, value in error.trailing_metadata() or ():
        if key == "problem-bin":
            with contextlib.suppress(ValueError):
                found = json.loads(value)
                if isinstance(found, dict):
                    return found
    return {}


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message as our REST interface shows it: snake_case names, defaults included."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
