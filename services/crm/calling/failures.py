"""What went wrong with a call, as a fixed reason: whether it may work later, and when."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from services.crm.calling.pace import LONGEST_WAIT
from services.crm.providers.api import ApiError, Call, Pace, Reply

_FORBIDDEN = 403
_TOO_MANY = 429
_UNAVAILABLE = 503
_SERVER_ERRORS = 500

_REASONS = {
    400: "CALL_REFUSED",
    401: "CREDENTIALS_REFUSED",
    403: "PERMISSION_MISSING",
    404: "NOT_FOUND",
    409: "CONFLICT",
    410: "NOT_FOUND",
    422: "CALL_REFUSED",
}


class CallError(ApiError):
    """A call did not come to an answer that its steps could use; `reason` and `detail` hold nothing secret.

    Unlike an `ApiError` of the steps themselves it says something about the connection, and so goes into its health.
    """


class OutOfReachError(CallError):
    """Nothing is wrong with what was asked: it may work later, after `retry_after` seconds if the vendor said so.

    `done` says whether the vendor may have done what was asked although nobody heard of it.
    """

    def __init__(self, reason: str, detail: str = "", *, retry_after: float | None = None, done: bool = False) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after
        self.done = done


def retry_after(reply: Reply, now: datetime) -> float | None:
    """Return the seconds that the vendor asks to wait, at most LONGEST_WAIT; None when it asks for none."""
    text = reply.headers.get("retry-after", "").strip()
    if text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdecimal():
        return min(float(text), LONGEST_WAIT)
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), LONGEST_WAIT)


def failure_of(call: Call, reply: Reply, now: datetime, pace: Pace | None = None) -> CallError | None:
    """Return what is wrong with a reply; None when the call's steps are to see it.

    `pace` is what the reply says about the limit: a refusal with nothing left is for that, as Salesforce's is.
    """
    status = reply.status
    if 200 <= status < 300 or status in call.expects:  # noqa: PLR2004 - the statuses of success
        return None
    detail = f"{call.method} {call.path or 'the next page'} was answered with {status}"
    wait = retry_after(reply, now)
    used_up = status == _FORBIDDEN and pace is not None and pace.remaining <= 0
    if status == _TOO_MANY or used_up:
        return OutOfReachError("RATE_LIMITED", detail, retry_after=wait)
    if status >= _SERVER_ERRORS:
        # A 503 that says when to come again was not worked on; of all others nobody knows.
        done = not (status == _UNAVAILABLE and wait is not None)
        return OutOfReachError("VENDOR_FAILING", detail, retry_after=wait, done=done)
    if 300 <= status < 400:  # noqa: PLR2004 - redirects
        return CallError("REDIRECTED", f"{detail}; redirects are not followed")
    return CallError(_REASONS.get(status, "CALL_REFUSED"), detail)
