"""The gateway's own errors as problem details (RFC 9457): one text per status, whoever answers."""

from dataclasses import dataclass

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """What people and programs are told: title and detail for people, a reason that never changes for programs."""

    status: int
    title: str
    reason: str
    detail: str

    def document(self) -> dict[str, str | int]:
        """Return the problem as the members of its JSON object."""
        return {
            "type": f"urn:rapport:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }


PROBLEMS = (
    Problem(400, "Bad Request", "REQUEST_MALFORMED", "The request could not be read."),
    Problem(401, "Unauthorized", "CREDENTIAL_INVALID", "The request needs a valid API key or access token."),
    Problem(403, "Forbidden", "PERMISSION_DENIED", "The credential does not allow this."),
    Problem(404, "Not Found", "ROUTE_NOT_FOUND", "There is nothing at this address."),
    Problem(405, "Method Not Allowed", "METHOD_NOT_ALLOWED", "This address does not take this HTTP method."),
    Problem(408, "Request Timeout", "REQUEST_TIMEOUT", "The request took too long to arrive."),
    Problem(413, "Content Too Large", "BODY_TOO_LARGE", "The body of the request is too large."),
    Problem(414, "URI Too Long", "ADDRESS_TOO_LONG", "The address of the request is too long."),
    Problem(
        415,
        "Unsupported Media Type",
        "MEDIA_TYPE_UNSUPPORTED",
        "The body of the request has a media type that is not taken here.",
    ),
    Problem(
        421,
        "Misdirected Request",
        "PROXY_REQUIRED",
        "This address serves what trusted proxies pass on, with the scheme that they were asked by.",
    ),
    Problem(426, "Upgrade Required", "UPGRADE_REQUIRED", "The request needs a newer version of HTTP."),
    Problem(429, "Too Many Requests", "RATE_LIMITED", "Too many requests; try again later."),
    Problem(431, "Request Header Fields Too Large", "HEADERS_TOO_LARGE", "The headers of the request are too large."),
    Problem(499, "Client Closed Request", "CANCELLED", "The request was cancelled."),
    Problem(500, "Internal Server Error", "INTERNAL", "Internal error."),
    Problem(501, "Not Implemented", "UNIMPLEMENTED", "This is not available here."),
    Problem(
        502, "Bad Gateway", "BAD_GATEWAY", "The service behind this address gave an answer that could not be read."
    ),
    Problem(
        503,
        "Service Unavailable",
        "UNAVAILABLE",
        "The service behind this address cannot be reached at the moment; try again later.",
    ),
    Problem(504, "Gateway Timeout", "DEADLINE_EXCEEDED", "The service behind this address did not answer in time."),
)
"""Every status that Envoy may answer by itself."""

OVERLOADED = Problem(
    503,
    "Service Unavailable",
    "OVERLOADED",
    "The service behind this address has as many requests under way as it may; try again later.",
)
"""What is said when a service has no room left: Envoy refuses at once instead of letting requests pile up."""

PASSING = frozenset({503, 504})
"""The statuses of failures that pass by themselves: the client is told to come again in a second."""

BY_STATUS = {problem.status: problem for problem in PROBLEMS}
OTHER = BY_STATUS[500]
