"""What operators see of the gateway and do at it, on a real edge: status, refusals, and shares of versions."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from rapport.gateway.v1 import gateway_service_pb2 as pb
from rapport.gateway.v1 import gateway_service_pb2_grpc as rpc

from cli.gateway_status import problems
from tests.gateway.stack import Stack, free_port, wait_until
from tests.gateway.upstream import GOOD_KEY

OPERATOR = {"sub": "operator:tester", "tid": "", "scope": "gateway.read gateway.write"}


@pytest.fixture(scope="module")
def edge() -> Iterator[Stack]:
    """An edge of its own with two versions of the probe service and a page of figures."""
    whole = Stack()
    services = json.loads(whole.settings["SERVICES"])
    one, other = services["probe"]
    whole.settings["SERVICES"] = json.dumps(services | {"probe": [one], "probe@green": [other]})
    whole.settings["METRICS_LISTEN"] = f"127.0.0.1:{free_port()}"
    try:
        yield whole.start()
    finally:
        whole.stop()


def call(edge: Stack, method: str, request: Any, **claims: str) -> Any:
    """Call the control plane with a token of an operator, or of somebody else."""
    token = edge.tokens.token(seconds=60, **(OPERATOR | claims))
    return edge.loop.run(_call(edge, method, request, (("authorization", f"Bearer {token}"),)))


async def _call(edge: Stack, method: str, request: Any, metadata: tuple[tuple[str, str], ...]) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.ads}") as channel:
        stub = rpc.GatewayServiceStub(channel)
        return await getattr(stub, method)(request, metadata=metadata, timeout=20)


def status(edge: Stack) -> dict[str, Any]:
    """Return the status as the command prints it."""
    answer = call(edge, "GetStatus", pb.GetStatusRequest())
    found = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return dict(found)


def answers(edge: Stack, requests: int) -> list[str]:
    """Return which server answered each of so many requests."""
    with edge.client() as client:
        found = [client.get("/v1/things/1", headers={"x-api-key": GOOD_KEY}) for _ in range(requests)]
    assert {answer.status_code for answer in found} == {200}
    return [answer.json()["server"] for answer in found]


def figures(edge: Stack) -> dict[str, float]:
    """Return the control plane's own figures."""
    page = httpx.get(f"http://{edge.settings['METRICS_LISTEN']}/metrics").text
    lines = [line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("rapport_gateway_")]
    return {name: float(value) for name, value in lines}


def test_the_status_tells_what_every_envoy_has(edge: Stack) -> None:
    """Nothing is wrong: the Envoy has all that is wanted, type by type."""
    wait_until(lambda: not problems(status(edge)), "Envoy took everything")
    found = status(edge)
    assert found["wanted_version"] == found["current_version"] == found["last_good_version"]
    (node,) = found["nodes"]
    assert (node["id"], node["connected"], node["protocol"]) == ("gateway", True, "delta")
    wanted = {part["type"]: part["version"] for part in found["parts"] if part["resources"]}
    assert {part["type"]: part["accepted_version"] for part in node["parts"]} == wanted
    assert [(one["service"], one["versions"], one["percent"]) for one in found["shifts"]] == [("probe", ["green"], 0)]
    assert figures(edge)["rapport_gateway_nodes_connected"] == 1


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"scope": "tickets.read"}, grpc.StatusCode.PERMISSION_DENIED),
        ({"scope": "gateway.read"}, grpc.StatusCode.PERMISSION_DENIED),
    ],
    ids=["a shop", "who may only look"],
)
def test_traffic_is_shifted_by_operators_only(edge: Stack, claims: dict[str, str], code: grpc.StatusCode) -> None:
    """A token without the scope is refused, and so is none at all."""
    request = pb.ShiftTrafficRequest(service="probe", percent=10)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        call(edge, "ShiftTraffic", request, **claims)
    assert refused.value.code() is code
    with pytest.raises(grpc.aio.AioRpcError) as stranger:
        edge.loop.run(_call(edge, "ShiftTraffic", request, ()))
    assert stranger.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_all_traffic_goes_where_it_was_sent(edge: Stack) -> None:
    """To the base without a shift, all to the version and back; it is on record, and outlives the process."""
    assert set(answers(edge, 10)) == {"one"}
    assert call(edge, "ShiftTraffic", pb.ShiftTrafficRequest(service="probe", percent=100)).in_effect
    begun, ended = edge.tokens.audited[-2:]
    assert (begun.id, begun.method, begun.outcome) == (ended.id, "rapport.gateway.v1.GatewayService/ShiftTraffic", "")
    assert (ended.subject, ended.resource, ended.outcome) == ("operator:tester", "service=probe", "OK")
    assert set(answers(edge, 10)) == {"two"}
    edge.kill("control")
    edge.start_process("control", "serve")
    wait_until(lambda: edge.log("control").count("control_plane_started") > 1, "another control plane runs")
    wait_until(lambda: well(edge), "Envoy has all of it")
    assert status(edge)["shifts"][0]["percent"] == 100
    assert set(answers(edge, 10)) == {"two"}
    assert call(edge, "ShiftTraffic", pb.ShiftTrafficRequest(service="probe", percent=50)).in_effect
    assert set(answers(edge, 60)) == {"one", "two"}
    assert call(edge, "ShiftTraffic", pb.ShiftTrafficRequest(service="probe", percent=0)).in_effect
    assert set(answers(edge, 10)) == {"one"}


def test_the_gateway_is_ready_by_the_version_that_carries_the_traffic(edge: Stack) -> None:
    """A base that is down keeps nobody away when the other version has it all."""
    assert call(edge, "ShiftTraffic", pb.ShiftTrafficRequest(service="probe", percent=100)).in_effect
    edge.probe_server.stop()
    try:
        assert set(answers(edge, 10)) == {"two"}
        assert edge.status("/readyz") == 200
    finally:
        edge.probe_server.start()
        wait_until(lambda: call(edge, "ShiftTraffic", pb.ShiftTrafficRequest(service="probe")).in_effect, "back")
    wait_until(lambda: edge.status("/readyz") == 200, "the base is healthy again")


def test_a_refusal_by_envoy_is_an_alert_and_harms_nobody(edge: Stack) -> None:
    """A listener on a port that somebody has: Envoy serves on, and status and figures say who refused what and why."""
    edge.kill("control")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before, edge.settings["HTTP_LISTEN"] = edge.settings["HTTP_LISTEN"], f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        edge.start_process("control", "serve")
        try:
            wait_until(lambda: refusing(edge), "Envoy refused")
            seconds = time.monotonic() - started
            (problem,) = problems(status(edge))
            assert "gateway refuses envoy.config.listener.v3.Listener" in problem
            assert "Address already in use" in problem
            found = figures(edge)
            assert found["rapport_gateway_nodes_refusing"] == 1
            assert found["rapport_gateway_snapshots_refused_total"] >= 1
            assert "snapshot_refused" in edge.log("control")
            assert set(answers(edge, 50)) == {"one"}
            print(f"\nNACK: seen {seconds:.1f} s after the control plane's start; 50 of 50 requests answered")  # noqa: T201
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                call(edge, "ShiftTraffic", pb.ShiftTrafficRequest(service="probe", percent=10))
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert status(edge)["shifts"][0]["percent"] == 0
        finally:
            edge.settings["HTTP_LISTEN"] = before
            edge.kill("control")
            edge.start_process("control", "serve")
    wait_until(lambda: well(edge), "all is well again")
    assert figures(edge)["rapport_gateway_nodes_refusing"] == 0


def well(edge: Stack) -> bool:
    """Tell whether the control plane answers that nothing is wrong."""
    try:
        return not problems(status(edge))
    except grpc.aio.AioRpcError:
        return False


def refusing(edge: Stack) -> bool:
    """Tell whether an Envoy refuses what is wanted."""
    try:
        return any(node["refusing"] for node in status(edge)["nodes"])
    except grpc.aio.AioRpcError:
        return False
