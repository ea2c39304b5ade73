"""The OAuth endpoints in the OpenAPI document: their shapes follow the RFCs, which no message of ours can say."""

from collections.abc import Mapping
from typing import Any

from gateway.edge import problems
from tools import openapi_errors

FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


def _text(description: str, **rules: Any) -> dict[str, Any]:
    return {"type": "string", **rules, "description": description}


def _texts(description: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def _object(description: str, required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties, "required": required.split()}


_REQUEST = _object(
    "Asks for a token (RFC 6749, section 4.4.2).",
    "grant_type",
    grant_type=_text("The only kind of grant.", enum=["client_credentials"]),
    scope=_text("The scopes that the token is narrowed to, with single spaces between them; absent for all."),
    client_id=_text("The tenant's slug, unless HTTP Basic says it.", maxLength=256),
    client_secret=_text("A secret key of the tenant, unless HTTP Basic says it.", maxLength=256, format="password"),
)
_TOKEN = _object(
    "A token (RFC 6749, section 5.1).",
    "access_token token_type expires_in scope",
    access_token=_text("The token; it goes into `authorization: Bearer …`."),
    token_type=_text("How the token is used.", enum=["Bearer"]),
    expires_in={"type": "integer", "minimum": 1, "description": "How long it is accepted, in seconds."},
    scope=_text("The scopes that the token holds, with single spaces between them."),
)
_ERROR = _object(
    "A refusal (RFC 6749, section 5.2).",
    "error",
    error=_text("What is wrong, for programs."),
    error_description=_text("What is wrong, for people."),
)
_SERVER = _object(
    "The token endpoint and what it supports (RFC 8414, section 2).",
    "issuer token_endpoint response_types_supported",
    issuer=_text("The host that was asked, as an address.", format="uri"),
    token_endpoint=_text("Where tokens are asked for.", format="uri"),
    token_endpoint_auth_methods_supported=_texts("How a client proves itself."),
    jwks_uri=_text("The keys that tokens are signed with.", format="uri"),
    grant_types_supported=_texts("The kinds of grants."),
    response_types_supported=_texts("None: there is no authorization endpoint."),
    scopes_supported=_texts("The scopes that a key of a shop can hold."),
    service_documentation=_text("The documentation for people.", format="uri"),
)
_HOST = "https://api.example.com"


def _answer(schema: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": "Done.", "content": {_JSON: {"schema": schema, "example": example}}}


def _refusal(error: str) -> dict[str, Any]:
    return {
        "description": f"Refused as RFC 6749, section 5.2, says: {error}, for example.",
        "content": {
            _JSON: {"schema": _ERROR, "example": {"error": error}},
            problems.MEDIA_TYPE: {"schema": openapi_errors.SCHEMA},
        },
    }


_FORM_EXAMPLE = {
    "grant_type": "client_credentials",
    "scope": "tickets.read",
    "client_id": "acme",
    "client_secret": "rpk_ThisIsAnExampleAndNoKeyAtAllXXXX_000000",
}
BODIES: Mapping[str, dict[str, Any]] = {
    "OAuthService.IssueToken": {"content": {FORM: {"schema": _REQUEST, "example": _FORM_EXAMPLE}}},
}
"""Request bodies by method."""
RESPONSES: Mapping[str, dict[str, Any]] = {
    "OAuthService.IssueToken": {
        "200": _answer(
            _TOKEN,
            {"access_token": "eyJ…", "token_type": "Bearer", "expires_in": 120, "scope": "tickets.read"},
        ),
        "400": _refusal("unsupported_grant_type"),
        "401": _refusal("invalid_client"),
    },
    "OAuthService.GetAuthorizationServer": {
        "200": _answer(
            _SERVER,
            {
                "issuer": _HOST,
                "token_endpoint": f"{_HOST}/oauth2/token",
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "jwks_uri": f"{_HOST}/.well-known/jwks.json",
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": [],
                "scopes_supported": ["tickets.read", "tickets.write"],
                "service_documentation": f"{_HOST}/docs",
            },
        ),
    },
}
"""Answers by method and status."""
