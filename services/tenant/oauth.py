"""OAuth 2.0 client credentials (RFC 6749): what a client sent, read strictly, and what it is told.

Whatever bytes a client sends become a request or one of the errors of section 5.2, never anything else.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes
from uuid import UUID

from servicekit.identity import HostRules

GRANT_TYPE = "client_credentials"
FORM = "application/x-www-form-urlencoded"
CHALLENGE = 'Basic realm="rapport", charset="UTF-8"'
"""What a client is told that did not prove who it is (RFC 7617)."""

_LONGEST_FORM = 16 << 10
_MOST_PARAMETERS = 64
_LONGEST_CREDENTIAL = 256
_HALF_A_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*", re.ASCII)
_BASIC = re.compile(r"[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9+/]+={0,2}) *", re.ASCII)
_AUTHORITY = re.compile(r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9a-f:.]{2,45}\](?::[0-9]{1,5})?", re.ASCII)


class OAuthError(Exception):
    """A refusal: `error` is a code of RFC 6749, section 5.2, and `description` says in ASCII what to do.

    `names` are the tenant and the subject whose credential was refused, where that is known: for the audit log only.
    """

    def __init__(self, error: str, description: str, names: tuple[UUID, str] | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.names = names

    @property
    def document(self) -> bytes:
        """The refusal as JSON; the gateway knows it by its first member."""
        return json.dumps({"error": self.error, "error_description": self.description}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Client:
    """Who a client says it is, and its proof."""

    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token; `scopes` are those that the client narrows the token to, None where it does not."""

    client: Client
    scopes: tuple[str, ...] | None


def token_request(content_type: str, body: bytes, authorizations: Sequence[str]) -> TokenRequest:
    """Return what a request asks for; `authorizations` are the values of its Authorization headers.

    Raises:
        OAuthError: the request is none that can be answered with a token.
    """
    form = _form(content_type, body)
    if not (grant_type := form.get("grant_type")):
        raise OAuthError("invalid_request", "The parameter grant_type is missing.")
    if grant_type != GRANT_TYPE:
        raise OAuthError("unsupported_grant_type", f"The only grant_type is {GRANT_TYPE}.")
    client = _client(form, authorizations)
    return TokenRequest(client, _scopes(form.get("scope")))


def granted(asked: Collection[str] | None, held: Collection[str]) -> frozenset[str]:
    """Return the scopes of a token for a client that holds these.

    Raises:
        OAuthError: the client asks for a scope that it does not hold.
    """
    if asked is None:
        return frozenset(held)
    if not set(asked) <= set(held):
        raise OAuthError("invalid_scope", "The key does not hold all of the scopes that are asked for.")
    return frozenset(asked)


def invalid_client(names: tuple[UUID, str] | None = None) -> OAuthError:
    """Return the refusal of a client that did not prove who it is; it never says what was wrong."""
    return OAuthError("invalid_client", "The client is unknown, or its secret is not valid.", names)


def answer(token: str, seconds: int, scopes: str) -> bytes:
    """Return the answer of section 5.1 as JSON."""
    return json.dumps(
        {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scopes}, separators=(",", ":")
    ).encode()


def authorization_server(host: str, hosts: HostRules, scopes: Collection[str]) -> bytes:
    """Return the description of the authorization server (RFC 8414) as it is seen by clients of this host.

    Clients of a host that is not the suite's own, which anybody may claim to have asked for, go to the base domain.
    """
    ours = _AUTHORITY.fullmatch(host) and hosts.is_ours(host)
    issuer = f"https://{host if ours else hosts.base_domain}"
    document: Mapping[str, object] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth2/token",
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "grant_types_supported": [GRANT_TYPE],
        "response_types_supported": [],
        "scopes_supported": sorted(scopes),
        "service_documentation": f"{issuer}/docs",
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decoded(text: str) -> str:
    """Return a text without its form encoding (RFC 6749, appendix B): "+" is a space, the rest UTF-8 in percents.

    Raises:
        ValueError: it is not encoded like that.
    """
    if _HALF_A_PERCENT.search(text) or not text.isascii():
        raise ValueError("not form-encoded")
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")


def _form(content_type: str, body: bytes) -> Mapping[str, str]:
    """Return the parameters of a form; those without a value count as left out."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise OAuthError("invalid_request", f"The body must be a form of the type {FORM}.")
    if len(body) > _LONGEST_FORM:
        raise OAuthError("invalid_request", "The body is too long.")
    pieces = body.split(b"&")
    if len(pieces) > _MOST_PARAMETERS:
        raise OAuthError("invalid_request", "There are too many parameters.")
    form: dict[str, str] = {}
    for piece in pieces:
        try:
            name, _, value = piece.decode("ascii").partition("=")
            name, value = decoded(name), decoded(value)
        except ValueError:
            raise OAuthError("invalid_request", "The body is not form-encoded UTF-8.") from None
        if name in form:
            raise OAuthError("invalid_request", "A parameter stands there twice.")
        if name:
            form[name] = value
    return form


def _client(form: Mapping[str, str], authorizations: Sequence[str]) -> Client:
    """Return who the client says it is, in exactly one of the two ways."""
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if len(authorizations) > 1:
        raise OAuthError("invalid_request", "There are several Authorization headers.")
    if authorizations:
        client = _basic(authorizations[0])
        if secret:
            raise OAuthError("invalid_request", "The client proves itself in two ways; choose one.")
        if client_id and client_id != client.client_id:
            raise OAuthError("invalid_request", "The client names itself in two ways that differ.")
    else:
        client = Client(client_id, secret)
    sizes = len(client.client_id), len(client.secret)
    if not all(sizes) or max(sizes) > _LONGEST_CREDENTIAL:
        raise invalid_client()
    return client


def _basic(authorization: str) -> Client:
    """Return the client of an Authorization header: id and secret are form-encoded each (section 2.3.1)."""
    found = _BASIC.fullmatch(authorization)
    if found is None:
        raise invalid_client()
    try:
        client_id, colon, secret = b64decode(found[1], validate=True).decode("ascii").partition(":")
        client = Client(decoded(client_id), decoded(secret))
    except (binascii.Error, ValueError):
        raise invalid_client() from None
    if not colon:
        raise invalid_client()
    return client


def _scopes(scope: str | None) -> tuple[str, ...] | None:
    """Return the scopes of the parameter; None when it is left out or empty."""
    if not scope:
        return None
    if not _SCOPE.fullmatch(scope):
        raise OAuthError("invalid_scope", "The parameter scope is not a list with single spaces between scopes.")
    return tuple(dict.fromkeys(scope.split(" ")))
