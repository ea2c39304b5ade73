"""Asks each process of each service how it is, and compares the clocks."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import grpc
from rapport.diagnosis.v1 import diagnosis_service_pb2 as pb
from rapport.diagnosis.v1 import diagnosis_service_pb2_grpc as rpc

from cli.doctor.report import Located, at
from cli.operator import Operator, command_error
from servicekit.channel import open_channel
from servicekit.diagnosis import CLOCK_FAILED_SECONDS, CLOCK_WARNING_SECONDS, Finding, State, graded
from servicekit.peers import PeerTls

Clock = Callable[[], datetime]

_ANSWER_SECONDS = 8.0
_AHEAD = "let all machines follow the same time server (NTP); tokens and signatures are judged by these clocks"


async def ask_all(
    operator: Operator, addresses: dict[str, list[str]], tls: PeerTls | None, clock: Clock
) -> list[Located]:
    """Ask every process, side by side; one that does not answer is a finding.

    Args:
        operator: who asks.
        addresses: the gRPC addresses by service or further version of one.
        tls: what is shown to the processes.
        clock: this machine's clock.
    """
    try:
        metadata = await operator.metadata()
    except grpc.aio.AioRpcError as error:
        finding = Finding(
            "operator",
            State.FAILED,
            f"No operator's token was given: {command_error(error).message}",
            "the services cannot be asked: see `rapport status` and `rapport logs tenant`",
        )
        return at("tenant", [finding])
    asked = [
        _ask(name if len(found) == 1 else f"{name}-{number}", name.partition("@")[0], address, tls, metadata, clock)
        for name, found in addresses.items()
        for number, address in enumerate(found, start=1)
    ]
    return [one for answer in await asyncio.gather(*asked) for one in answer]


async def _ask(
    where: str,
    service: str,
    address: str,
    tls: PeerTls | None,
    metadata: Sequence[tuple[str, str]],
    clock: Clock,
) -> list[Located]:
    before = clock()
    started = datetime.now(UTC)
    try:
        async with open_channel(address, service, tls) as channel:
            stub = rpc.DiagnosisServiceStub(channel)
            answer = await stub.GetDiagnosis(
                pb.GetDiagnosisRequest(), metadata=tuple(metadata), timeout=_ANSWER_SECONDS
            )
    except grpc.aio.AioRpcError as error:
        finding = Finding(
            "process",
            State.FAILED,
            f"The process at {address} does not say how it is: {error.code().name}.",
            f"`rapport status` and `rapport logs {where}`; a process that hangs is ended by kill and started again",
        )
        return at(where, [finding])
    took = (datetime.now(UTC) - started).total_seconds()
    apart = (answer.time.ToDatetime(tzinfo=UTC) - before).total_seconds()
    return at(where, [judge_clock(apart, took), *(_finding(one) for one in answer.findings)])


def judge_clock(ahead: float, took: float) -> Finding:
    """Judge by how many seconds a process's clock is ahead of ours, when it was read at some time of a long answer."""
    # It was read between 0 and `took` seconds after we looked at ours: whatever lies in between is no difference.
    apart = ahead if ahead < 0 else max(0.0, ahead - took)
    state = graded(abs(apart), warning=CLOCK_WARNING_SECONDS, failed=CLOCK_FAILED_SECONDS)
    summary = f"Its clock and this machine's differ by {abs(apart):.1f} s."
    return Finding("clock", state, summary, "" if state is State.OK else _AHEAD, {"seconds": f"{apart:.3f}"})


def _finding(message: pb.Finding) -> Finding:
    return Finding(message.check, State(message.state), message.summary, message.remedy, dict(message.evidence))
