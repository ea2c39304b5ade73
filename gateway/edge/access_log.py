"""What is written down of each request, and what is not."""

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    HeaderFilter,
    NotHealthCheckFilter,
)
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.google.protobuf import Any

from gateway.edge import messages


def access_logs(*others: AccessLog, traced: bool = False) -> list[AccessLog]:
    """Return JSON lines without paths as clients sent them: those hold customers' ids and, for webhooks, a credential.

    What a request was about is said by its route and, once it is a call of a service, by the name of that method.
    `others` are written as well. Where requests are `traced`, the trace is named.
    """
    entry = {
        "time": "%START_TIME%",
        "event": "request",
        "route": "%ROUTE_NAME%",
        "verb": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "protocol": "%PROTOCOL%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "upstream": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    if traced:
        entry["trace_id"] = "%TRACE_ID%"
    called = messages.header_matches(":path", "/rapport\\.[a-z.0-9]+\\.[A-Za-z]+/[A-Za-z]+")
    return [
        _access_log(entry | {"method": "%REQ(:PATH)%"}, called),
        _access_log(entry, HeaderMatcher(name=":path", string_match=called.string_match, invert_match=True)),
        *others,
    ]


def _access_log(entry: dict[str, str], only: HeaderMatcher) -> AccessLog:
    log_format = SubstitutionFormatString(json_format=messages.struct(entry))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=both(AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()), header(only)),
        typed_config=Any.pack(StdoutAccessLog(log_format=log_format)),
    )


def header(matcher: HeaderMatcher) -> AccessLogFilter:
    """Return the condition that a header of the request is as described."""
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


def both(one: AccessLogFilter, other: AccessLogFilter) -> AccessLogFilter:
    """Return the condition that both hold."""
    return AccessLogFilter(and_filter=AndFilter(filters=[one, other]))
