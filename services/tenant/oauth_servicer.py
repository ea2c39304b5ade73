"""The servicer of the token endpoint: a form in, one call, JSON out."""

from datetime import UTC, datetime
from typing import Any, NoReturn

import grpc
from google.api import httpbody_pb2
from rapport.tenant.v1 import oauth_service_pb2, oauth_service_pb2_grpc

from servicekit.audit import AuditTrail
from servicekit.believed import believed_metadata
from servicekit.errors import CredentialInvalidError
from servicekit.identity import HOST_HEADER, HostRules
from servicekit.status import PROBLEM_KEY
from services.tenant import oauth, scopes
from services.tenant.exchange import Exchange

_METHOD = "rapport.tenant.v1.OAuthService/IssueToken"
_NO_STORE = (("cache-control", "no-store"), ("pragma", "no-cache"))
_JSON = "application/json"

Context = grpc.aio.ServicerContext[Any, Any]


class OAuthServicer(oauth_service_pb2_grpc.OAuthServiceServicer):
    """Implements `rapport.tenant.v1.OAuthService`."""

    def __init__(self, exchange: Exchange, trail: AuditTrail, hosts: HostRules) -> None:
        self._exchange = exchange
        self._trail = trail
        self._hosts = hosts

    async def IssueToken(self, request: oauth_service_pb2.IssueTokenRequest, context: Context) -> httpbody_pb2.HttpBody:
        """Make a token of client credentials."""
        try:
            asked = oauth.token_request(request.form.content_type, request.form.data, _told(context, "authorization"))
            access = await self._exchange.client_credentials(asked, next(iter(_told(context, HOST_HEADER)), None))
        except oauth.OAuthError as error:
            if error.names is not None:
                self._trail.refused(*error.names, _METHOD, CredentialInvalidError.reason)
            await _refuse(context, error)
        await context.send_initial_metadata(_NO_STORE)
        seconds = max(0, int((access.expire_time - datetime.now(UTC)).total_seconds()))
        return httpbody_pb2.HttpBody(content_type=_JSON, data=oauth.answer(access.token, seconds, access.scope))

    async def GetAuthorizationServer(
        self, _request: oauth_service_pb2.GetAuthorizationServerRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Describe the token endpoint."""
        host = "".join(_told(context, HOST_HEADER))
        document = oauth.authorization_server(host, self._hosts, scopes.SHOP)
        await context.send_initial_metadata(_NO_STORE)
        return httpbody_pb2.HttpBody(content_type=_JSON, data=document)


def _told(context: Context, name: str) -> list[str]:
    """Return the values of a header."""
    found = (value for key, value in believed_metadata(context) if key == name)
    return [value for value in found if isinstance(value, str)]


async def _refuse(context: Context, error: oauth.OAuthError) -> NoReturn:
    """Abort the call; over REST the gateway makes the trailers below the headers and the body of the answer."""
    trailers: tuple[tuple[str, str | bytes], ...] = ((PROBLEM_KEY, error.document), *_NO_STORE)
    code = grpc.StatusCode.INVALID_ARGUMENT
    if error.error == "invalid_client":
        code = grpc.StatusCode.UNAUTHENTICATED
        trailers = (*trailers, ("www-authenticate", oauth.CHALLENGE))
    await context.abort(code, error.description, trailers)
    raise AssertionError("abort returned")
