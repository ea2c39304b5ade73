"""A server as a whole: what it refuses to start with, its health, and how it stops."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from rapport.tenant.v1.token_service_pb2 import AccessToken

from servicekit.methods import AccessMissingError
from servicekit.server import AddressInUseError, start_server
from tests.servicekit.probe import FORGETFUL, SERVICE, echo, registration, running
from tests.servicekit.waiting import until
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_method_without_an_access_option_keeps_the_server_from_starting() -> None:
    """A contract that forgets to say who may call is no contract to serve."""
    with pytest.raises(AccessMissingError, match=r"ForgetfulService\.Get"):
        await start_server([registration(echo, FORGETFUL)], trust=Issuer().trust)


async def test_a_port_in_use_is_named() -> None:
    """The error says which address could not be had."""
    async with running() as probe:
        audit, listen = kept_trail()[0], probe.server.address
        with pytest.raises(AddressInUseError, match=str(probe.server.port)):
            await start_server([registration(echo)], trust=Issuer().trust, audit=audit, listen=listen)


async def test_health_follows_the_components() -> None:
    """Serving only while all components are up, for the server and for each service of it."""
    up = {"database": True, "trust": False}

    async def database() -> bool:
        return up["database"]

    components = (("database", database), ("trust", lambda: up["trust"]))
    async with running(components=components) as probe:
        stub = health_pb2_grpc.HealthStub(probe.channel)

        async def status(service: str = "") -> int:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return int(answer.status)

        assert await status() == await status(SERVICE) == NOT_SERVING
        up["trust"] = True
        await probe.server.health.look()
        assert await status() == await status(SERVICE) == SERVING
        up["database"] = False
        async with asyncio.timeout(5):
            async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                if answer.status == NOT_SERVING:
                    break


async def test_a_component_that_fails_to_answer_is_down() -> None:
    """An exception in a component does not end the health loop; it means NOT_SERVING."""

    def broken() -> bool:
        raise RuntimeError("cannot tell")

    async with running(components=(("broken", broken),)) as probe:
        answer = await health_pb2_grpc.HealthStub(probe.channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == NOT_SERVING


async def test_a_hook_that_fails_keeps_the_server_from_serving() -> None:
    """What a process finds wrong with itself at its start ends it."""

    async def refuse() -> None:
        raise RuntimeError("the role is too powerful")

    with pytest.raises(RuntimeError, match="too powerful"):
        await start_server([registration(echo)], trust=Issuer().trust, audit=kept_trail()[0], on_start=[refuse])


async def test_a_stop_flips_the_health_first_and_lets_calls_in_flight_finish() -> None:
    """Watchers hear NOT_SERVING while calls still run, and those end well."""
    started = asyncio.Event()
    finish = asyncio.Event()

    async def slow(_request: Any, _context: Any) -> AccessToken:
        started.set()
        await finish.wait()
        return AccessToken(token="done")

    async with running(slow) as probe:
        heard: list[int] = []

        async def listen() -> None:
            stub = health_pb2_grpc.HealthStub(probe.channel)
            async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                heard.append(answer.status)  # noqa: PERF401 - others look at the list while it grows

        watching = asyncio.create_task(listen())
        call = asyncio.ensure_future(probe.call("Get"))
        await started.wait()
        await until(lambda: bool(heard))
        stopping = asyncio.create_task(probe.server.stop(10, notice=0.1))
        await until(lambda: NOT_SERVING in heard)
        assert not call.done()
        finish.set()
        assert (await call).token == "done"
        await stopping
        with pytest.raises(grpc.aio.AioRpcError):
            await watching


async def test_a_stop_ends_endless_streams_as_unavailable() -> None:
    """A stream does not hold up the stop, and its caller is told to come again."""

    async def endless(_request: Any, _context: Any) -> Any:
        yield AccessToken(token="first")
        await asyncio.Event().wait()

    async with running(endless) as probe:
        call = probe.call("Down")
        assert (await call.read()).token == "first"
        async with asyncio.timeout(5):
            await probe.server.stop(60)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_reflection_lists_the_services() -> None:
    """Tools find out what a server offers."""
    async with running() as probe:

        async def ask() -> Any:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        stub = reflection_pb2_grpc.ServerReflectionStub(probe.channel)
        async for answer in stub.ServerReflectionInfo(ask()):
            names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
