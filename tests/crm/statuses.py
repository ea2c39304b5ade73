"""Expecting an error of a call: its status, its reason, and that gRPC and REST are told the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Refused:
    """What a caller was told."""

    details: str = ""
    problem: dict[str, Any] = field(default_factory=dict)


@contextmanager
def require_status(code: grpc.StatusCode, reason: str) -> Iterator[Refused]:
    """Expect that the call inside fails with this status and exactly one ErrorInfo of this reason."""
    refused = Refused()
    try:
        yield refused
    except grpc.aio.AioRpcError as error:
        status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]  # it reads the trailers of any call
        infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        info = error_details_pb2.ErrorInfo()
        infos[0].Unpack(info)
        problem = orjson.loads(dict(error.trailing_metadata() or ())["problem-bin"])
        assert (error.code(), info.reason, len(infos)) == (code, reason, 1)
        assert problem["reason"] == reason
        refused.details, refused.problem = error.details() or "", problem
    else:
        raise AssertionError(f"the call succeeded; {code.name} {reason} was expected")
