"""Moving shops' requests from the predecessor to Rapport, step by step, and back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from rapport.gateway.v1 import gateway_service_pb2 as pb
from rapport.gateway.v1 import gateway_service_pb2_grpc as rpc
from rapport.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

from cli.errors import CommandError
from cli.migration.plan import Plan
from cli.operator import Operator, as_dict, command_error, operator_of
from cli.suite.folder import SuiteFolder

STEPS = (1, 5, 10, 25, 50, 75, 100)
"""The shares at which a cut-over stops to be watched, unless somebody says others."""
_LOOK_SECONDS = 0.5
_EFFECT_SECONDS = 30.0
_SHIFT_SECONDS = 20
_ANSWER_SECONDS = 10
_WHOLE = 100
_UNITS = {"shop": pb.CUTOVER_UNIT_SHOP, "client": pb.CUTOVER_UNIT_CLIENT}

Told = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator wants of a cut-over.

    Attributes:
        to: Rapport's share at the end, in percent.
        steps: the shares on the way there.
        watch: for how many seconds each step is watched.
        max_errors: the rate of failures in percent beyond which everything goes back.
        unit: "shop" or "client"; empty for shops where the plan has several, and clients where it has one, which would
            move as a whole with the first percent.
    """

    to: int
    steps: Sequence[int] = STEPS
    watch: float = 300.0
    max_errors: float = 0.5
    unit: str = ""

    def shares(self, now: int) -> list[int]:
        """Return the shares to go through from this one on; the way back is one step."""
        if self.to <= now:
            return [self.to]
        return sorted({one for one in self.steps if now < one < self.to} | {self.to})


async def cut_over(folder: SuiteFolder, plan: Plan, wish: Wish, told: Told) -> dict[str, Any]:
    """Go through the steps; `told` hears the state at each look, and the last state is returned.

    Raises:
        CommandError: a shop is not there, the gateway refuses, everything went back by itself, or somebody else set
            another share meanwhile, which stays as it is.
    """
    async with _gateway(folder) as (operator, gateway):
        tenants = await _tenants(operator, plan)
        state = await _state(operator, gateway)
        for share in wish.shares(int(state.get("percent", 0))):
            request = pb.CutOverRequest(
                percent=share,
                tenants=tenants,
                unit=_UNITS[wish.unit or ("shop" if len(tenants) > 1 else "client")],
                max_error_percent=wish.max_errors,
                window_seconds=max(1, round(wish.watch)) if wish.watch else 0,
            )
            await gateway.CutOver(request, metadata=await operator.metadata(), timeout=_SHIFT_SECONDS)
            await _in_effect(operator, gateway)
            # It ends with a look, so that the next step is not taken after somebody else's.
            state = await watched(operator, gateway, share, wish.watch if share else 0.0, told)
    return state


async def take_back(folder: SuiteFolder, plan: Plan) -> dict[str, Any]:
    """Send all requests of the plan's shops back to the predecessor, and return the state.

    It answers when every Envoy does so. It does not ask what the gateway believes: a control plane that lost its file
    has forgotten the cut-over. Where no predecessor is set there is nothing to do: the state is empty then.

    Raises:
        CommandError: a shop is not there, the gateway refuses, or an Envoy does not do as told.
    """
    async with _gateway(folder) as (operator, gateway):
        request = pb.CutOverRequest(percent=0, tenants=await _tenants(operator, plan))
        try:
            await gateway.CutOver(request, metadata=await operator.metadata(), timeout=_SHIFT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if command_error(error).reason == "PREDECESSOR_NOT_FOUND":
                return {}
            raise
        await _in_effect(operator, gateway)
        return await _state(operator, gateway)


def shops_moved(state: dict[str, Any]) -> str:
    """Return how many whole shops Rapport answers, in words; empty where clients are divided."""
    if state["unit"] != pb.CutoverUnit.Name(pb.CUTOVER_UNIT_SHOP):
        return ""
    count, percent = int(state["tenant_count"]), int(state["percent"])
    moved = sum(at * _WHOLE // count < percent for at in range(count))
    return f"{moved} of {count} shops"


async def cutover_state(folder: SuiteFolder) -> dict[str, Any]:
    """Return how far a cut-over is; empty when there is none."""
    async with _gateway(folder) as (operator, gateway):
        return await _state(operator, gateway)


def rate(side: dict[str, Any], *, window: bool = False) -> float:
    """Return the failures of a side in percent; 0 without requests."""
    prefix = "window_" if window else ""
    requests = int(side[f"{prefix}request_count"])
    return int(side[f"{prefix}failure_count"]) * 100 / requests if requests else 0.0


@asynccontextmanager
async def _gateway(folder: SuiteFolder) -> AsyncIterator[tuple[Operator, Any]]:
    async with operator_of(folder) as operator:
        yield operator, operator.stub(rpc.GatewayServiceStub, "gateway")


async def _tenants(operator: Operator, plan: Plan) -> list[str]:
    """Return the ids of the plan's shops, the one with the fewest tickets first: it risks the least."""
    stub = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
    found = []
    for shop in sorted(plan.shops, key=lambda one: (one.counts.get("tickets", 0), one.slug)):
        request = tenant_service_pb2.GetTenantRequest(tenant=shop.slug)
        tenant = await stub.GetTenant(request, metadata=await operator.metadata(), timeout=_ANSWER_SECONDS)
        found.append(str(tenant.id))
    if not found:
        raise CommandError("The plan has no shops: there is nothing to cut over.", reason="PLAN_INVALID")
    return found


async def _state(operator: Operator, gateway: Any) -> dict[str, Any]:
    answer = await gateway.GetStatus(pb.GetStatusRequest(), metadata=await operator.metadata(), timeout=_ANSWER_SECONDS)
    return as_dict(answer.cutover) if answer.HasField("cutover") else {}


async def _in_effect(operator: Operator, gateway: Any) -> None:
    end = time.monotonic() + _EFFECT_SECONDS
    while not (await _state(operator, gateway)).get("in_effect"):
        if time.monotonic() > end:
            raise CommandError(
                "Not every Envoy does as told yet: see `rapport gateway status`, then run this again.",
                reason="CUTOVER_PENDING",
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def watched(operator: Operator, gateway: Any, share: int, seconds: float, told: Told) -> dict[str, Any]:
    """Look at a step for as long; the gateway judges by itself, whether anybody looks or not."""
    end = time.monotonic() + seconds
    while True:
        state = await _state(operator, gateway)
        told(state)
        if state["return_detail"]:
            raise CommandError(
                f"Everything went back to the predecessor by itself: {state['return_detail']}. Find the cause "
                "(`rapport logs`), then run this again.",
                reason="CUTOVER_RETURNED",
            )
        if state["percent"] != share:
            raise CommandError(
                f"Somebody else set the share to {state['percent']} % meanwhile: it stays so. Run this again to go on.",
                reason="CUTOVER_CHANGED",
            )
        if time.monotonic() >= end:
            return state
        await asyncio.sleep(min(_LOOK_SECONDS, seconds))
