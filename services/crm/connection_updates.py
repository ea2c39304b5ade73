"""What an update makes of a connection."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from servicekit.errors import FieldViolation
from services.crm.allowed import SETTING as ALLOWED_ADDRESSES
from services.crm.connections import WEBHOOK_SECRET, Connection, check
from services.crm.errors import ConnectionInvalidError
from services.crm.providers.api import ApiError
from services.crm.providers.provider import Provider

_WHOLE = frozenset({"display_name", "config", "secrets"})


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an update holds; an empty setting or secret removes it."""

    display_name: str
    config: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a connection shall be, which of its credentials are replaced and which go.

    `same_account` says that no setting changes by which an account at the vendor is reached.
    """

    display_name: str
    config: Mapping[str, str]
    replaced: Mapping[str, str] = field(repr=False)
    removed: Collection[str]
    same_account: bool


def decide(provider: Provider, connection: Connection, wishes: Wishes, paths: Sequence[str]) -> Wanted:
    """Return what the connection becomes by the wishes that the mask `paths` lets through; no mask lets all through.

    Raises:
        ConnectionInvalidError: the mask names nothing that changes, a name or a value does not fit the provider, or
            credentials would go to a host that they were not entered for.
        SecretPublicError: a secret is published in the provider's documentation.
    """
    _require_known(paths)
    name = wishes.display_name if "display_name" in paths else wishes.display_name or connection.display_name
    if paths and "display_name" not in paths:
        name = connection.display_name
    config = {} if "config" in paths else dict(connection.config)
    config |= _chosen("config", wishes.config, paths)
    secrets = _chosen("secrets", wishes.secrets, paths)
    if WEBHOOK_SECRET in secrets:
        violation = FieldViolation(f"secrets.{WEBHOOK_SECRET}", "Is changed by RotateWebhookSecret, with an overlap.")
        raise ConnectionInvalidError("The webhook secret is rotated.", violations=[violation])
    replaced = {key: text for key, text in secrets.items() if text}
    stored = {state.name for state in connection.secrets}
    kept = check(provider, config, replaced, stored=stored)
    removed = secrets.keys() - replaced.keys()
    _require_same_host(provider, connection, kept, stored - {WEBHOOK_SECRET} - secrets.keys())
    same_account = _reaching(kept) == _reaching(connection.config)
    return Wanted(name, kept, replaced, removed & stored, same_account)


def _reaching(config: Mapping[str, str]) -> dict[str, str]:
    """Return the settings by which an account is reached: all but the allow-list, which is for webhooks."""
    return {name: value for name, value in config.items() if name != ALLOWED_ADDRESSES}


def _require_known(paths: Sequence[str]) -> None:
    for path in paths:
        whole, _, entry = path.partition(".")
        if path not in _WHOLE and not (whole in {"config", "secrets"} and entry):
            violation = FieldViolation("update_mask", "Names something else than display_name, config and secrets.")
            raise ConnectionInvalidError("The update mask does not fit.", violations=[violation])


def _chosen(field_name: str, given: Mapping[str, str], paths: Sequence[str]) -> dict[str, str]:
    """Return those of the given values that the mask lets through; one that it names and that is missing is empty."""
    if not paths or field_name in paths:
        return dict(given)
    entries = [path.removeprefix(f"{field_name}.") for path in paths if path.startswith(f"{field_name}.")]
    return {entry: given.get(entry, "") for entry in entries}


def _require_same_host(
    provider: Provider, connection: Connection, config: Mapping[str, str], staying: Collection[str]
) -> None:
    """Refuse to send credentials that stay to another host: whoever may change settings may not read secrets so."""
    if not staying or _origin(provider, connection.config) in {"", _origin(provider, config)}:
        return
    violations = [FieldViolation(f"secrets.{name}", "Must be given again: another host is called.") for name in staying]
    raise ConnectionInvalidError("Credentials go to no host that they were not entered for.", violations=violations)


def _origin(provider: Provider, config: Mapping[str, str]) -> str:
    """Return the address that is called by these settings; "" when they name none."""
    try:
        return provider.api.origin(config) if provider.api else ""
    except ApiError:
        return ""
