"""An operator's calls about the models that a shop's customers are judged by."""

import asyncio
import time
from typing import Any

from google.protobuf.message import Message
from rapport.recommendations.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder

_SECONDS = 30
_LOOK_SECONDS = 0.5


async def list_models(folder: SuiteFolder, tenant: str) -> dict[str, Any]:
    """Return all versions, newest first, and how the making of the next one stands."""
    async with operator_of(folder) as operator:
        return as_dict(await _list(operator, tenant))


async def get_model(folder: SuiteFolder, tenant: str, version: int) -> dict[str, Any]:
    """Return a version, 0 for the one that serves."""
    return await _ask(folder, tenant, "GetModel", model_service_pb2.GetModelRequest(version=version))


async def roll_back(folder: SuiteFolder, tenant: str, version: int) -> dict[str, Any]:
    """Let an earlier version serve, 0 for the one that served before."""
    return await _ask(folder, tenant, "RollbackModel", model_service_pb2.RollbackModelRequest(version=version))


async def fit_model(folder: SuiteFolder, tenant: str, *, wait: float) -> dict[str, Any]:
    """Let a model be made; return how its making stands, after it has ended if that is waited for.

    Raises:
        CommandError: it has not ended after `wait` seconds.
    """
    async with operator_of(folder) as operator:
        stub = operator.stub(model_service_pb2_grpc.ModelServiceStub, "recommendations")
        asked: model_pb2.ModelFitting = await stub.FitModel(
            model_service_pb2.FitModelRequest(), metadata=await operator.metadata(tenant), timeout=_SECONDS
        )
        due, until = asked.due_time.ToDatetime(), time.monotonic() + wait
        state = asked
        while wait and (state.running or state.due_time.ToDatetime() <= due):
            if time.monotonic() > until:
                raise CommandError(f"The fit has not ended after {wait:.0f} s; it goes on.", reason="TIMEOUT")
            await asyncio.sleep(_LOOK_SECONDS)
            state = (await _list(operator, tenant)).fitting
        return as_dict(state)


async def _list(operator: Operator, tenant: str) -> model_service_pb2.ListModelsResponse:
    stub = operator.stub(model_service_pb2_grpc.ModelServiceStub, "recommendations")
    found: model_service_pb2.ListModelsResponse = await stub.ListModels(
        model_service_pb2.ListModelsRequest(), metadata=await operator.metadata(tenant), timeout=_SECONDS
    )
    return found


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Message) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        stub = operator.stub(model_service_pb2_grpc.ModelServiceStub, "recommendations")
        call = getattr(stub, method)
        return as_dict(await call(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))
