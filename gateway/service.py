"""What operators see and do at the control plane: `rapport.gateway.v1.GatewayService`."""

from datetime import datetime
from typing import Any

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.gateway.v1 import gateway_service_pb2 as pb
from rapport.gateway.v1 import gateway_service_pb2_grpc as rpc

from gateway.ads.cache import NodeState, SnapshotCache, TypeState
from gateway.ads.resources import ORDER, PREFIX
from gateway.ads.snapshot import EMPTY, Snapshot
from gateway.control import ControlPlane
from gateway.predecessor import MAX_ERROR_PERCENT, WINDOW_SECONDS, Cutover, Unit, check_tenants, now
from gateway.shifts import Shift, choose, versions
from gateway.sides import Side
from servicekit.identity import caller

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class GatewayServicer(rpc.GatewayServiceServicer):
    """Answers for one control plane."""

    def __init__(self, cache: SnapshotCache, plane: ControlPlane) -> None:
        self._cache = cache
        self._plane = plane

    async def GetStatus(self, _request: pb.GetStatusRequest, _context: Context) -> pb.GatewayStatus:
        """Return the state of everything."""
        cache, cutover = self._cache, self._plane.cutover
        in_effect = _in_effect(cache)
        return pb.GatewayStatus(
            wanted_version=_version(cache.wanted),
            current_version=_version(cache.current),
            last_good_version=_version(cache.last_good),
            refused_count=cache.refused,
            nodes=[_node(name, cache.nodes[name], cache.wanted) for name in sorted(cache.nodes)],
            shifts=[
                _shift(service, found, self._plane.shifts.get(service), in_effect=in_effect)
                for service, found in versions(self._plane.names).items()
            ],
            parts=[
                pb.ConfigurationPart(
                    type=_type(type_url),
                    version=cache.wanted.versions[type_url],
                    resources=len(cache.wanted.resources[type_url]),
                )
                for type_url in ORDER
            ],
            cutover=self._cutover(cutover, in_effect=in_effect) if cutover is not None else None,
        )

    async def ShiftTraffic(self, request: pb.ShiftTrafficRequest, _context: Context) -> pb.Shift:
        """Send a share of a service's requests to another version of it."""
        wanted = choose(self._plane.names, request.service, request.version, request.percent)
        in_effect = await self._plane.shift(wanted)
        log.info(
            "traffic_shifted",
            service=wanted.service,
            version=wanted.version,
            percent=wanted.percent,
            in_effect=in_effect,
            subject=caller().subject,
        )
        return _shift(wanted.service, versions(self._plane.names)[wanted.service], wanted, in_effect=in_effect)

    async def CutOver(self, request: pb.CutOverRequest, _context: Context) -> pb.Cutover:
        """Set the share of a cut-over from the predecessor."""
        before = self._plane.cutover
        wanted = Cutover(
            percent=request.percent,
            tenants=check_tenants(request.tenants, before),
            unit=_UNITS.get(request.unit) or (before.unit if before else Unit.SHOP),
            max_error_percent=request.max_error_percent or MAX_ERROR_PERCENT,
            window_seconds=request.window_seconds or WINDOW_SECONDS,
            shifted=now(),
        )
        in_effect = await self._plane.cut_over(wanted)
        log.info(
            "cut_over",
            percent=wanted.percent,
            tenants=len(wanted.tenants),
            unit=wanted.unit,
            in_effect=in_effect,
            subject=caller().subject,
        )
        return self._cutover(wanted, in_effect=in_effect)

    def _cutover(self, cutover: Cutover, *, in_effect: bool) -> pb.Cutover:
        sides = self._plane.sides
        window = sides.window(cutover.window_seconds)
        return pb.Cutover(
            percent=cutover.percent,
            tenant_count=len(cutover.tenants),
            unit=next(number for number, unit in _UNITS.items() if unit is cutover.unit),
            max_error_percent=cutover.max_error_percent,
            window_seconds=cutover.window_seconds,
            shift_time=_time(datetime.fromisoformat(cutover.shifted)),
            return_detail=cutover.returned,
            in_effect=in_effect,
            rapport=_side(sides.rapport, window["rapport"]),
            predecessor=_side(sides.predecessor, window["predecessor"]),
        )


_UNITS = {pb.CUTOVER_UNIT_SHOP: Unit.SHOP, pb.CUTOVER_UNIT_CLIENT: Unit.CLIENT}


def _side(side: Side, window: tuple[int, int]) -> pb.CutoverSide:
    return pb.CutoverSide(
        request_count=side.requests,
        failure_count=side.failures,
        window_request_count=window[0],
        window_failure_count=window[1],
    )


def _in_effect(cache: SnapshotCache) -> bool:
    connected = [node for node in cache.nodes.values() if node.streams]
    # Before anything was published every Envoy has "it": nothing.
    return cache.wanted is not EMPTY and bool(connected) and all(node.has(cache.wanted) for node in connected)


def _shift(service: str, found: list[str], shift: Shift | None, *, in_effect: bool) -> pb.Shift:
    return pb.Shift(
        service=service,
        versions=found,
        version=shift.version if shift is not None and shift.percent else "",
        percent=shift.percent if shift is not None else 0,
        in_effect=in_effect,
    )


def _node(name: str, node: NodeState, wanted: Snapshot) -> pb.Node:
    return pb.Node(
        id=name,
        connected=node.streams > 0,
        protocol=node.variant,
        state_time=_time(node.since),
        up_to_date=wanted is not EMPTY and node.has(wanted),
        refusing=bool(node.refusals(wanted)),
        resources_sent=node.sent,
        parts=[_part(type_url, node.types[type_url]) for type_url in ORDER if type_url in node.types],
    )


def _part(type_url: str, state: TypeState) -> pb.NodePart:
    return pb.NodePart(
        type=_type(type_url),
        accepted_version=state.accepted,
        accept_time=_time(state.accept_time),
        refused_version=state.refused,
        refuse_time=_time(state.refuse_time),
        refuse_detail=state.detail,
    )


def _type(type_url: str) -> str:
    return type_url.removeprefix(PREFIX)


def _version(snapshot: Snapshot) -> str:
    return "" if snapshot is EMPTY else snapshot.version


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message
