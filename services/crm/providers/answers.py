"""Reading what a provider's API answered, and the headers that log in there."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import orjson

from services.crm.providers.api import ApiError, Config, Credentials, CredentialShape, Reply


def object_in(reply: Reply) -> Mapping[str, Any]:
    """Return the JSON object that was answered.

    Raises:
        ApiError: it is none (`ANSWER_NOT_UNDERSTOOD`).
    """
    value = _json(reply)
    if not isinstance(value, dict):
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the answer is no JSON object")
    return value


def list_in(reply: Reply) -> list[Any]:
    """Return the JSON array that was answered.

    Raises:
        ApiError: it is none (`ANSWER_NOT_UNDERSTOOD`).
    """
    value = _json(reply)
    if not isinstance(value, list):
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the answer is no JSON array")
    return value


def setting(config: Config, name: str) -> str:
    """Return a setting that a call cannot do without.

    Raises:
        ApiError: it is not set (`SETTING_MISSING`).
    """
    value = config.get(name, "")
    if not value:
        raise ApiError("SETTING_MISSING", f"the setting {name} is missing")
    return value


def complete(shape: CredentialShape, config: Config, credentials: Credentials) -> bool:
    """Return whether all fields of a way to log in are there."""
    return all((credentials if each.secret else config).get(each.name) for each in shape.fields)


def basic(user: str, password: str) -> Mapping[str, str]:
    """Return the header of HTTP Basic."""
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> Mapping[str, str]:
    """Return the header of an access token."""
    return {"authorization": f"Bearer {token}"}


def no_credentials() -> ApiError:
    """Return the error of a connection that cannot log in yet."""
    return ApiError("CREDENTIALS_MISSING", "no way to log in has all its fields")


def _json(reply: Reply) -> Any:
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the answer is no JSON") from error
