"""One call over HTTP: bounded in time and size, without redirects, proxies or cookies."""

import asyncio
import ssl
from collections.abc import Mapping

import httpcore
import httpx

from services.crm.calling.failures import CallError, OutOfReachError
from services.crm.calling.guard import GuardedNetwork
from services.crm.providers.api import Call, Reply

CONNECT_SECONDS = 5.0
"""How long a connection may take to be made."""

CALL_SECONDS = 20.0
"""How long a call may take in all."""

MOST_BYTES = 8 * 1024 * 1024
"""The largest answer that is read, in bytes."""

MOST_HELD = 128 * 1024 * 1024
"""How many bytes of answers a process holds while it reads them; more than that come another time."""

BUSY = "TOO_MANY_CALLS"
"""The reason of a call that found no room in this process; it says nothing about the vendor."""

_MOST_CONNECTIONS = 200
_KEEP_SECONDS = 30.0
_HEADERS = {"user-agent": "rapport", "accept": "application/json", "accept-encoding": "identity"}


class Sender:
    """Sends calls over kept connections."""

    def __init__(self, network: GuardedNetwork, *, seconds: float = CALL_SECONDS, most_held: int = MOST_HELD) -> None:
        self._seconds = seconds
        self._most_held = most_held
        self._held = 0
        # The pool keeps connections by the host's name, so that one is only used again for whom its certificate is.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEEP_SECONDS,
            network_backend=network,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def send(self, call: Call, address: str, headers: Mapping[str, str]) -> Reply:
        """Send a call to an address; return the reply, whatever its status.

        Raises:
            CallError: the address may not be connected to or does not prove who it is, or the answer is too large.
            OutOfReachError: there was no answer.
        """
        request = httpx.Request(
            call.method,
            httpx.URL(address, params=list(call.query)) if call.query else address,
            headers=_headers({**_HEADERS, **headers, **call.headers}),
            json=call.json,
            data=dict(call.form) if call.form else None,
        )
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(request)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout) as error:
            raise OutOfReachError("VENDOR_TOO_SLOW", f"no answer within {self._seconds:g} s", done=True) from error
        except httpcore.LocalProtocolError:
            raise _malformed() from None
        except httpcore.PoolTimeout as error:
            raise OutOfReachError(BUSY, "this process makes too many calls at once", retry_after=1) from error
        except (httpcore.ConnectTimeout, httpcore.ConnectError) as error:
            if _is_distrust(error):
                raise CallError(
                    "CERTIFICATE_INVALID", "the host does not prove by its certificate who it is"
                ) from error
            raise OutOfReachError("VENDOR_UNREACHABLE", "no connection could be made") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise OutOfReachError("ANSWER_LOST", "the connection broke before the answer", done=True) from error

    async def _exchange(self, request: httpx.Request) -> Reply:
        timeouts = {"connect": CONNECT_SECONDS, "read": self._seconds, "write": self._seconds, "pool": CONNECT_SECONDS}
        async with self._pool.stream(
            request.method,
            str(request.url),
            headers=request.headers.raw,
            content=request.content,
            extensions={"timeout": timeouts},
        ) as response:
            body = await self._body(response)
            found = {name.decode("ascii").lower(): value.decode("latin-1") for name, value in response.headers}
            return Reply(response.status, found, body)

    async def _body(self, response: httpcore.Response) -> bytes:
        """Read an answer's body, while all that are being read do not hold too much."""
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in response.aiter_stream():
                chunks.append(chunk)
                size += len(chunk)
                self._held += len(chunk)
                if size > MOST_BYTES:
                    raise CallError("ANSWER_TOO_LARGE", f"the answer has more than {MOST_BYTES} bytes")
                if self._held > self._most_held:
                    raise OutOfReachError(BUSY, "this process reads too much at once", retry_after=1, done=True)
            return b"".join(chunks)
        finally:
            self._held -= size


def _headers(texts: Mapping[str, str]) -> httpx.Headers:
    """Return headers as they are sent, which are ASCII.

    Raises:
        CallError: a credential in them is not (`CREDENTIALS_MALFORMED`).
    """
    try:
        return httpx.Headers(texts)
    except UnicodeEncodeError:
        raise _malformed() from None


def _malformed() -> CallError:
    """Return the error of a credential that cannot be sent; whatever found that out quotes it, and is left out."""
    return CallError("CREDENTIALS_MALFORMED", "a credential holds characters that no header may have")


def _is_distrust(error: BaseException | None) -> bool:
    """Return whether a connection failed because of the other side's certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
