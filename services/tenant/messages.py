"""Between the messages of the contract and the values of the subject. Nothing is decided here."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tenant.v1 import api_key_pb2, tenant_pb2, token_service_pb2

from services.tenant import configuration
from services.tenant.errors import SettingInvalidError
from services.tenant.keys import ApiKey
from services.tenant.registry import Environment, State, Tenant, Wishes
from services.tenant.tokens import AccessToken
from services.tenant.trust import TrustSet

_DEFAULT_PAGE = 50
_LONGEST_PAGE = 200

_STATES = {
    State.ACTIVE: tenant_pb2.Tenant.STATE_ACTIVE,
    State.SUSPENDED: tenant_pb2.Tenant.STATE_SUSPENDED,
    State.DELETED: tenant_pb2.Tenant.STATE_DELETED,
}
_ENVIRONMENTS = {
    Environment.PRODUCTION: tenant_pb2.Tenant.ENVIRONMENT_PRODUCTION,
    Environment.STAGING: tenant_pb2.Tenant.ENVIRONMENT_STAGING,
    Environment.DEVELOPMENT: tenant_pb2.Tenant.ENVIRONMENT_DEVELOPMENT,
    Environment.DEMO: tenant_pb2.Tenant.ENVIRONMENT_DEMO,
}
_ENVIRONMENTS_BY_NUMBER = {int(number): environment for environment, number in _ENVIRONMENTS.items()}


def tenant_message(tenant: Tenant) -> tenant_pb2.Tenant:
    """Return a tenant with every declared feature and setting."""
    message = tenant_pb2.Tenant(
        id=str(tenant.tenant_id),
        slug=tenant.slug,
        name=tenant.name,
        state=_STATES[tenant.state],
        environment=_ENVIRONMENTS[tenant.environment],
        features=configuration.all_features(tenant.features),
        create_time=timestamp(tenant.create_time),
        update_time=timestamp(tenant.update_time),
        delete_time=timestamp(tenant.delete_time),
        etag=tenant.etag,
    )
    message.settings.update(dict(configuration.all_settings(tenant.settings)))
    return message


def wishes(message: tenant_pb2.Tenant) -> Wishes:
    """Return the values that a request holds.

    Raises:
        SettingInvalidError: a setting is a number that JSON does not have, such as infinity.
    """
    settings: dict[str, Any] = {}
    for name, value in message.settings.fields.items():
        try:
            settings[name] = json_format.MessageToDict(value)
        except (ValueError, json_format.Error) as error:
            raise SettingInvalidError(name, "a value that JSON can hold") from error
    return Wishes(
        name=message.name,
        environment=_ENVIRONMENTS_BY_NUMBER.get(message.environment),
        features=dict(message.features),
        settings=settings,
    )


def api_key_message(key: ApiKey, text: str = "") -> api_key_pb2.ApiKey:
    """Return a key; `text` is what the shop holds, for the one answer that shows it."""
    return api_key_pb2.ApiKey(
        id=str(key.key_id),
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        create_time=timestamp(key.create_time),
        expire_time=timestamp(key.expire_time),
        revoke_time=timestamp(key.revoke_time),
        key=text,
    )


def access_token_message(access: AccessToken) -> token_service_pb2.AccessToken:
    """Return a token and its end."""
    return token_service_pb2.AccessToken(
        token=access.token,
        expire_time=timestamp(access.expire_time),
        tenant_id=str(access.tenant_id) if access.tenant_id else "",
    )


def trust_set_message(trust: TrustSet) -> token_service_pb2.TrustSet:
    """Return a trust set; the same set gives the same message."""
    return token_service_pb2.TrustSet(
        jwks_json=trust.jwks_json,
        refused_tenant_ids=sorted(str(tenant_id) for tenant_id in trust.refused_tenants),
        revoked_key_ids=sorted(trust.revoked_keys),
        read_time=timestamp(trust.read_time),
    )


def timestamp(time: datetime | None) -> Timestamp | None:
    """Return a time as a message; None stays None."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def moment(message: api_key_pb2.ApiKey) -> datetime | None:
    """Return when a key shall end; None when the request says nothing of it."""
    return message.expire_time.ToDatetime(tzinfo=UTC) if message.HasField("expire_time") else None


def request_id(text: str) -> UUID | None:
    """Return the id of a request, whose form has been validated; None when it has none."""
    return UUID(text) if text else None


def page_size(asked: int) -> int:
    """Return how many entries a page holds: 0 is "you choose", too many is as many as there may be."""
    return min(asked or _DEFAULT_PAGE, _LONGEST_PAGE)
