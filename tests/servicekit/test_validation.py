"""The rules of the contracts, checked before a servicer sees a request."""

import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from rapport.tenant.v1.token_service_pb2 import ExchangeApiKeyRequest

from servicekit.layers.validation import strings_with_nul
from tests.servicekit.probe import running


@pytest.mark.parametrize(
    ("request_bytes", "fields"),
    [
        (ExchangeApiKeyRequest().SerializeToString(), ["api_key"]),
        (ExchangeApiKeyRequest(api_key="x" * 257).SerializeToString(), ["api_key"]),
        (ExchangeApiKeyRequest(api_key="a\x00b").SerializeToString(), ["api_key"]),
        (b"\xff\xff\xff", []),
        (b"\x0a\x02\xff\xfe", []),
    ],
    ids=["too short", "too long", "NUL", "no message", "no UTF-8"],
)
async def test_a_request_that_breaks_a_rule_is_refused_with_its_fields(request_bytes: bytes, fields: list[str]) -> None:
    """The refusal is INVALID_ARGUMENT and 400, names the fields, and repeats nothing of their content."""
    async with running() as probe:
        refusal = await probe.refusal(request=request_bytes)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert refusal.problem["status"] == 400
    assert [violation["field"] for violation in refusal.problem.get("violations", [])] == fields
    assert "xxx" not in str(refusal.problem)
    if fields:
        assert refusal.status is not None
        bad_request = error_details_pb2.BadRequest()
        assert refusal.status.details[1].Unpack(bad_request)
        assert [violation.field for violation in bad_request.field_violations] == fields


async def test_each_message_of_a_callers_stream_is_checked() -> None:
    """A stream is refused at the first message that breaks a rule."""

    async def requests() -> "object":
        yield ExchangeApiKeyRequest(api_key="fine")
        yield ExchangeApiKeyRequest()

    async def count(request: "object", _context: object) -> "object":
        async for _ in request:  # type: ignore[attr-defined]  # the behaviour serves every shape
            pass
        raise AssertionError("the stream passed")

    async with running(count) as probe:  # type: ignore[arg-type]  # the same
        refusal = await probe.refusal("Up", requests())
    assert refusal.reason == "REQUEST_INVALID"


def test_nul_is_found_at_any_depth() -> None:
    """Strings in lists, maps and nested messages are looked at; bytes are not text."""
    message = struct_pb2.Struct()
    message.update({"fine": 0, "list": ["a", {"deep": "x\x00"}]})
    assert strings_with_nul(message)
    info = error_details_pb2.ErrorInfo(metadata={"key\x00": "value"})
    assert strings_with_nul(info) == ["metadata"]
    assert strings_with_nul(error_details_pb2.ErrorInfo(metadata={"key": "value"})) == []
