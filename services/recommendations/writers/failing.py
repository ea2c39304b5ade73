"""What the errors of the vendors' SDKs mean: both raise the same kinds, under the same names."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import ModuleType
from typing import Any

import httpx2

from services.recommendations.writers.provider import Fault, ProviderError
from services.recommendations.writers.transport import AnswerTooLongError

_CREDENTIAL = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PAYMENT_REQUIRED})
_OVERLOADED = 529
_NOT_BEGUN = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, _OVERLOADED})
"""Answers by which a provider turns a question away. Behind any other 5xx the model may have written, and be paid."""

_LONGEST_WAIT = 3600.0


@contextmanager
def translated(sdk: ModuleType) -> Iterator[None]:
    """Raise a ProviderError in the place of whatever an SDK raises, bad answers that it trips over included."""
    try:
        yield
    except (ProviderError, asyncio.CancelledError, GeneratorExit):
        raise
    except TimeoutError as error:
        raise ProviderError("timeout") from error
    except Exception as error:  # noqa: BLE001 - an SDK trips over a bad answer in any way it likes
        # Without the cause: an SDK's error holds the answer, and a log of the chain would hold it too.
        raise _meaning(error, sdk) from None


def _meaning(error: Exception, sdk: ModuleType) -> ProviderError:
    if _caused_by(error, AnswerTooLongError):
        return ProviderError("too_long")
    if isinstance(error, sdk.APIStatusError):
        return _of_status(error)
    if isinstance(error, sdk.APITimeoutError) or _caused_by(error, httpx2.TimeoutException):
        return ProviderError("timeout", free=_caused_by(error, httpx2.ConnectTimeout))
    if _caused_by(error, httpx2.ConnectError):
        return ProviderError("unreachable", free=True)
    return ProviderError("broken")


def _of_status(error: Any) -> ProviderError:
    status = error.status_code
    if status == HTTPStatus.OK:
        # An error that the provider told within a stream that had begun well.
        return ProviderError("unavailable")
    wait = _seconds(error.response.headers.get("retry-after", ""))
    fault: Fault = "rejected"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        fault = "busy"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fault = "unavailable"
    elif status in _CREDENTIAL:
        fault = "credential"
    return ProviderError(
        fault, retry_after=wait, free=status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_BEGUN
    )


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, _LONGEST_WAIT) if seconds >= 0 else None


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
