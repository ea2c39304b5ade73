"""How the answers look that Envoy gives by itself."""

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import ResponseMapper

from gateway.edge import access_log, messages, problems
from gateway.edge.filters import ALIVE, READY

NO_ROOM = "UO"
"""Envoy's flag for an overflow: more requests under way to a service than its circuit breakers let pass."""


def mappers() -> list[ResponseMapper]:
    """Return how Envoy's own answers look: problem+json for errors, a word for health."""
    full = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[NO_ROOM]))
    made = [
        mapper
        for only, problem in [
            (full, problems.OVERLOADED),
            *((_status(ComparisonFilterOp.EQ, one.status), one) for one in problems.PROBLEMS),
        ]
        for mapper in (_grpc_mapper(only, problem), _mapper(only, problem))
    ]
    health = messages.header_matches(":path", f"{ALIVE}|{READY}")
    well = access_log.both(_status(ComparisonFilterOp.EQ, 200), access_log.header(health))
    body = SubstitutionFormatString(json_format=messages.struct({"status": "ok"}), content_type="application/json")
    made.append(ResponseMapper(filter=well, body_format_override=body))
    made.append(_mapper(_status(ComparisonFilterOp.GE, 400), problems.OTHER, title="Error", status="%RESPONSE_CODE%"))
    # What Envoy itself has not implemented is an encoding of the transfer: the client's mistake, in this suite.
    unread = _mapper(_status(ComparisonFilterOp.EQ, 501), problems.BY_STATUS[400])
    unread.status_code = 400
    return [unread, *made]


def _grpc_mapper(only: AccessLogFilter, problem: problems.Problem) -> ResponseMapper:
    """Return the text of a refusal over gRPC, which becomes its grpc-message."""
    # A transcoded request looks like gRPC by now; what it came as is told by the path that it came with.
    called = access_log.both(
        access_log.header(messages.header_starts("content-type", "application/grpc")),
        access_log.header(HeaderMatcher(name="x-envoy-original-path", present_match=False)),
    )
    text = SubstitutionFormatString(text_format_source=DataSource(inline_string=problem.detail))
    return ResponseMapper(filter=access_log.both(only, called), body_format_override=text)


def _mapper(only: AccessLogFilter, problem: problems.Problem, **changed: str) -> ResponseMapper:
    document = problem.document() | changed
    if problem.status == 400:  # noqa: PLR2004 - the transcoder says what is wrong with the JSON, and only there
        document["detail"] = f"{problem.detail} %LOCAL_REPLY_BODY%"
    return ResponseMapper(
        filter=only,
        headers_to_add=[messages.header("retry-after", "1")] if problem.status in problems.PASSING else [],
        body_format_override=SubstitutionFormatString(
            json_format=messages.struct(document), content_type=problems.MEDIA_TYPE
        ),
    )


def _status(op: ComparisonFilterOp, status: int) -> AccessLogFilter:
    value = RuntimeUInt32(default_value=status, runtime_key=f"gateway.reply.{status}")
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=op, value=value)))
