"""Expecting an error of a call: its status, its reason, and that gRPC and REST are told the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson
import pytest
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
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield refused
    error = raised.value
    status: Any = rpc_status.from_call(error)
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    problem = orjson.loads(dict(error.trailing_metadata() or ())["problem-bin"])
    assert (error.code(), info.reason, len(infos)) == (code, reason, 1)
    assert problem["reason"] == reason
    refused.details, refused.problem = error.details() or "", problem
