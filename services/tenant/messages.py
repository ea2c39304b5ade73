"""Between the messages of the contract and the values of the subject. Nothing is decided here."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf import json_format
from rapport.tenant.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    domain_pb2,
    erasure_pb2,
    signing_key_pb2,
    tenant_pb2,
    token_service_pb2,
)

from servicekit.timestamps import moment, timestamp
from services.tenant import configuration
from services.tenant.domains import Domain
from services.tenant.erasure import Erasure
from services.tenant.errors import SettingInvalidError
from services.tenant.keys import DEFAULT_OVERLAP, LATEST_END, ApiKey, Kind
from services.tenant.registry import Environment, State, Tenant, Wishes
from services.tenant.signing import SigningKeyLife
from services.tenant.tokens import AccessToken
from services.tenant.trust import TrustSet

_STATES = {
    State.ACTIVE: tenant_pb2.Tenant.STATE_ACTIVE,
    State.SUSPENDED: tenant_pb2.Tenant.STATE_SUSPENDED,
    State.DELETED: tenant_pb2.Tenant.STATE_DELETED,
}
_KINDS = {Kind.SECRET: api_key_pb2.ApiKey.KIND_SECRET, Kind.BROWSER: api_key_pb2.ApiKey.KIND_BROWSER}
_SLOTS = {
    "current": signing_key_pb2.SigningKey.SLOT_CURRENT,
    "next": signing_key_pb2.SigningKey.SLOT_NEXT,
    "previous": signing_key_pb2.SigningKey.SLOT_PREVIOUS,
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
        purge_time=timestamp(tenant.purge_time),
        erase_time=timestamp(tenant.erase_time),
        etag=tenant.etag,
    )
    message.settings.update(dict(configuration.all_settings(tenant.settings)))
    return message


def erasure_message(erasure: Erasure) -> erasure_pb2.Erasure:
    """Return the report of an erasure."""
    return erasure_pb2.Erasure(
        tenant_id=str(erasure.tenant_id),
        slug=erasure.slug,
        requester=erasure.requester,
        start_time=timestamp(erasure.start_time),
        complete_time=timestamp(erasure.complete_time),
        removed=[
            erasure_pb2.ErasedRows(service=service, table=table, row_count=count)
            for (service, table), count in erasure.removed.items()
        ],
    )


def domain_message(domain: Domain) -> domain_pb2.Domain:
    """Return a domain and how it is proven."""
    return domain_pb2.Domain(
        name=domain.name,
        state=domain_pb2.Domain.STATE_VERIFIED if domain.verify_time else domain_pb2.Domain.STATE_PENDING,
        proof_path=domain.proof_path,
        proof_text=domain.proof_text,
        create_time=timestamp(domain.create_time),
        expire_time=timestamp(domain.expire_time),
        verify_time=timestamp(domain.verify_time),
    )


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
        kind=_KINDS[key.kind],
        allowed_origins=key.allowed_origins,
        requests_per_minute=key.requests_per_minute or 0,
        last_use_time=timestamp(key.last_use_time),
        rotated_from=str(key.rotated_from) if key.rotated_from else "",
    )


def kind_of(message: api_key_pb2.ApiKey) -> Kind:
    """Return the kind of key that is asked for: a secret key where the request does not say."""
    return Kind.BROWSER if message.kind == api_key_pb2.ApiKey.KIND_BROWSER else Kind.SECRET


def overlap_of(message: api_key_service_pb2.RotateApiKeyRequest) -> timedelta:
    """Return how long a rotated key goes on working; the contract has bounded it."""
    return message.overlap.ToTimedelta() if message.HasField("overlap") else DEFAULT_OVERLAP


def signing_key_message(life: SigningKeyLife) -> signing_key_pb2.SigningKey:
    """Return what anybody may know of a signing key."""
    return signing_key_pb2.SigningKey(
        kid=life.kid,
        slot=_SLOTS[life.slot],
        create_time=timestamp(life.create_time),
        activate_time=timestamp(life.activate_time),
        retire_time=timestamp(life.retire_time),
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


def trust_change_message(before: TrustSet, now: TrustSet) -> token_service_pb2.TrustSet:
    """Return what has changed between two trust sets."""
    return token_service_pb2.TrustSet(
        jwks_json=now.jwks_json,
        partial=True,
        refused_tenant_ids=sorted(str(tenant_id) for tenant_id in now.refused_tenants - before.refused_tenants),
        restored_tenant_ids=sorted(str(tenant_id) for tenant_id in before.refused_tenants - now.refused_tenants),
        revoked_key_ids=sorted(now.revoked_keys - before.revoked_keys),
        restored_key_ids=sorted(before.revoked_keys - now.revoked_keys),
        read_time=timestamp(now.read_time),
    )


def end_of_key(message: api_key_pb2.ApiKey | api_key_service_pb2.RotateApiKeyRequest) -> datetime | None:
    """Return when a key shall end; None when the request says nothing of it."""
    end = moment(message, "expire_time")
    # The last microsecond of the calendar is what the database's driver takes for "never".
    return None if end is None else min(end, LATEST_END)


def request_id(text: str) -> UUID | None:
    """Return the id of a request, whose form has been validated; None when it has none."""
    return UUID(text) if text else None
