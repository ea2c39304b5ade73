"""The predecessor's credentials: opened with its Fernet key, and put into the names of Rapport's connections.

They are in memory only while a connection is made; nothing of them is printed, logged or written to a plan.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cli.errors import CommandError
from cli.migration.mapping import IDENTIFIERS

_CONFIG: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "gorgias": {"domain": "domain", "username": "email", "email": "email"},
        "zendesk": {"subdomain": "subdomain", "email": "email", "account_id": "account_id"},
        "salesforce": {
            "org_id": "org_id",
            "organization_id": "org_id",
            "instance_url": "instance_url",
            "client_id": "client_id",
            "username": "username",
        },
        "helpshift": {"domain": "domain"},
        "intercom": {"app_id": "app_id", "workspace_id": "app_id"},
        "freshdesk": {"domain": "domain"},
    }
)
_SECRETS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "gorgias": {"api_key": "api_key"},
        "zendesk": {"token": "api_token", "api_token": "api_token"},
        "salesforce": {"client_secret": "client_secret", "refresh_token": "refresh_token"},
        "helpshift": {"api_key": "api_key"},
        "intercom": {"access_token": "access_token"},
        "freshdesk": {"api_key": "api_key"},
    }
)
_FROM_IDENTIFIER: Mapping[str, str] = MappingProxyType(
    {
        "gorgias_domain": "domain",
        "zendesk_subdomain": "subdomain",
        "salesforce_org_id": "org_id",
        "intercom_workspace_id": "app_id",
        "freshdesk_domain": "domain",
    }
)
_WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - the name of a secret
_HOST = re.compile(r"^(?:https?://)?([A-Za-z0-9-]+)\.(?:gorgias|zendesk|freshdesk|helpshift)\.com/?$")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection of Rapport is made of.

    Attributes:
        config: what is not secret.
        secrets: what is; never print it.
        unknown: names of the predecessor's that have no counterpart and stay behind.
    """

    config: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    unknown: tuple[str, ...] = ()


class CredentialsError(Exception):
    """The credentials do not open; the text says why and holds nothing of them."""


def read_key(path: Path) -> str:
    """Return the Fernet key (ENCRYPTION_KEY) that stands in a file, alone or as a line of an env file.

    Raises:
        CommandError: the file cannot be read, or holds no such key.
    """
    from cryptography.fernet import Fernet

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read the file of the key {path}.", reason="FILE_UNREADABLE") from error
    lines = [line.strip().removeprefix("export ") for line in text.splitlines()]
    named = [line.partition("=")[2].strip("\"' ") for line in lines if line.startswith("ENCRYPTION_KEY=")]
    key = named[-1] if named else text.strip()
    try:
        Fernet(key)
    except ValueError:
        raise CommandError(f"{path} holds no Fernet key of 44 characters.", reason="KEY_INVALID") from None
    return key


def open_credentials(token: str, key: str) -> dict[str, str]:
    """Return the configuration that a token holds, by the predecessor's names.

    Raises:
        CredentialsError: the key is another one, or the token was changed or holds no object.
    """
    from cryptography.fernet import Fernet, InvalidToken

    try:
        found = json.loads(Fernet(key).decrypt(token.encode()))
    except InvalidToken:
        raise CredentialsError("it does not open with this key") from None
    except ValueError:
        raise CredentialsError("what it holds is no JSON") from None
    if not isinstance(found, dict):
        raise CredentialsError("what it holds is no object")
    return {str(name): str(value) for name, value in found.items() if value not in (None, "")}


def translated(provider: str, found: Mapping[str, str], identifiers: Mapping[str, str]) -> Credentials:
    """Return the credentials in Rapport's names; the account may come from the webhook identifiers as well.

    Raises:
        CredentialsError: Rapport does not know the provider.
    """
    if provider not in _CONFIG:
        raise CredentialsError(f"the predecessor never called {provider or 'a provider without a name'}")
    config: dict[str, str] = {}
    for name, of in IDENTIFIERS.items():
        if of == provider and name in _FROM_IDENTIFIER and (value := identifiers.get(name)):
            config[_FROM_IDENTIFIER[name]] = _label(value)
    secrets: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in found.items():
        if name == _WEBHOOK_SECRET:
            secrets[name] = value
        elif ours := _SECRETS[provider].get(name):
            secrets[ours] = value
        elif (ours := _CONFIG[provider].get(name)) and (ours != "email" or "@" in value):
            config[ours] = _label(value)
        else:
            unknown.append(name)
    return Credentials(config, secrets, tuple(unknown))


def _label(value: str) -> str:
    """Return an account without its provider's host."""
    found = _HOST.match(value.strip())
    return found.group(1).lower() if found else value.strip()
