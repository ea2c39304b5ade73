"""Logging in at a provider's API: the settings and secrets that it takes, and the headers made of them."""

from base64 import b64encode
from collections.abc import Mapping

from services.crm.providers.api import ApiError, Config, Credentials, CredentialShape


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
