"""A tenant, and what may become of it. Plain values in, plain values out; the store makes them last."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from servicekit.etag import etag as make_etag
from servicekit.etag import require as require_etag
from services.tenant.configuration import SettingValue, checked_features, checked_settings
from services.tenant.errors import (
    NameMissingError,
    NothingToChangeError,
    SlugInvalidError,
    TenantDeletedError,
    TenantErasedError,
    TenantNotDeletedError,
    UpdateMaskInvalidError,
)

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?", re.ASCII)
_CHANGEABLE = ("name", "environment", "features", "settings")
_OUTPUT_ONLY = frozenset(
    {"id", "state", "create_time", "update_time", "delete_time", "purge_time", "erase_time", "etag"}
)

Value = TypeVar("Value")


class State(StrEnum):
    """Whether a tenant is served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Environment(StrEnum):
    """What a tenant is used for."""

    PRODUCTION = "production"
    STAGING = "staging"
    DEVELOPMENT = "development"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A shop. `features` and `settings` hold only what was chosen; `version` counts the changes, from 1.

    A deleted one says what it was before, when it is to be erased (until nothing is left) and since when it is erased.
    `hosts` are its own verified domains, where they were read along.
    """

    tenant_id: UUID
    slug: str
    name: str
    state: State
    environment: Environment
    features: Mapping[str, bool]
    settings: Mapping[str, SettingValue]
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    version: int
    state_before: State | None = None
    purge_time: datetime | None = None
    erase_time: datetime | None = None
    hosts: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """The version as clients see it."""
        return make_etag(self.tenant_id, self.version)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The values of a request, as they came: an empty name and no environment mean "not said"."""

    name: str = ""
    environment: Environment | None = None
    features: Mapping[str, bool] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


def is_slug(text: str) -> bool:
    """Tell whether a text has the form of a slug; an id in small letters has it as well."""
    return bool(_SLUG.fullmatch(text))


def require_slug(slug: str) -> str:
    """Return the slug if a tenant can have it.

    Raises:
        SlugInvalidError: it breaks the form, or it looks like an id, which stands for a tenant as well.
    """
    if not is_slug(slug):
        raise SlugInvalidError("lower-case letters, digits and inner hyphens, at most 50 characters")
    if as_id(slug):
        raise SlugInvalidError("it has the form of an id")
    return slug


def as_id(reference: str) -> UUID | None:
    """Return the id that a reference to a tenant is; None when it is a slug."""
    try:
        return UUID(reference)
    except ValueError:
        return None


def new_tenant(tenant_id: UUID, slug: str, wishes: Wishes, now: datetime) -> Tenant:
    """Return a tenant that starts its life now; one that says no environment is a production tenant.

    Raises:
        SlugInvalidError, NameMissingError, FeatureUnknownError, SettingUnknownError, SettingInvalidError: as named.
    """
    if not wishes.name:
        raise NameMissingError
    return Tenant(
        tenant_id=tenant_id,
        slug=require_slug(slug),
        name=wishes.name,
        state=State.ACTIVE,
        environment=wishes.environment or Environment.PRODUCTION,
        features=_merged({}, checked_features(wishes.features)),
        settings=_merged({}, checked_settings(wishes.settings)),
        create_time=now,
        update_time=now,
        delete_time=None,
        version=1,
    )


def update(tenant: Tenant, wishes: Wishes, paths: Sequence[str], etag: str, now: datetime) -> Tenant:
    """Return the tenant with what the update mask `paths` takes from the wishes; no paths take all that was said.

    Raises:
        TenantDeletedError: it cannot change any more.
        EtagMismatchError: it changed since the caller read it.
        NothingToChangeError, UpdateMaskInvalidError: the mask or the wishes name nothing, or nothing that can change.
        NameMissingError, FeatureUnknownError, SettingUnknownError, SettingInvalidError: the wishes cannot be had.
    """
    effective = _effective_paths(wishes, paths)
    _require_changeable(tenant, etag)
    features: dict[str, bool] = dict(tenant.features)
    settings: dict[str, SettingValue] = dict(tenant.settings)
    name, environment = tenant.name, tenant.environment
    for path in effective:
        part, _, single = path.partition(".")
        if part == "name":
            name = wishes.name
        elif part == "environment":
            environment = wishes.environment or Environment.PRODUCTION
        elif part == "features":
            chosen = {single: wishes.features.get(single)} if single else wishes.features
            features = _merged(features if single else {}, checked_features(chosen))
        else:
            wanted = {single: wishes.settings.get(single)} if single else wishes.settings
            settings = _merged(settings if single else {}, checked_settings(wanted))
    if not name:
        raise NameMissingError
    return _stamped(
        tenant, replace(tenant, name=name, environment=environment, features=features, settings=settings), now
    )


def suspend(tenant: Tenant, etag: str, now: datetime) -> Tenant:
    """Return the tenant suspended.

    Raises:
        TenantDeletedError, EtagMismatchError: as for `update`.
    """
    _require_changeable(tenant, etag)
    return _stamped(tenant, replace(tenant, state=State.SUSPENDED), now)


def resume(tenant: Tenant, etag: str, now: datetime) -> Tenant:
    """Return the tenant active.

    Raises:
        TenantDeletedError, EtagMismatchError: as for `update`.
    """
    _require_changeable(tenant, etag)
    return _stamped(tenant, replace(tenant, state=State.ACTIVE), now)


def delete(tenant: Tenant, etag: str, now: datetime, grace: timedelta) -> Tenant:
    """Return the tenant deleted, to be erased after the grace; a deleted one stays as it is.

    Raises:
        EtagMismatchError: it changed since the caller read it.
    """
    require_etag(etag, tenant.etag)
    if tenant.state is State.DELETED:
        return tenant
    after = replace(tenant, state=State.DELETED, state_before=tenant.state, delete_time=now, purge_time=now + grace)
    return _stamped(tenant, after, now)


def undelete(tenant: Tenant, etag: str, now: datetime) -> Tenant:
    """Return the tenant as it was before it was deleted.

    Raises:
        TenantNotDeletedError, TenantErasedError: there is nothing to undo, or nothing that can be undone.
        EtagMismatchError: it changed since the caller read it.
    """
    _require_deleted(tenant)
    if tenant.erase_time is not None or tenant.purge_time is None or tenant.purge_time <= now:
        raise TenantErasedError
    require_etag(etag, tenant.etag)
    state = tenant.state_before or State.ACTIVE
    return _stamped(tenant, replace(tenant, state=state, state_before=None, delete_time=None, purge_time=None), now)


def begin_erasure(tenant: Tenant, etag: str, now: datetime) -> Tenant:
    """Return the deleted tenant without content and without return; one that is being erased stays as it is.

    Raises:
        TenantNotDeletedError: it is being served, or will be again.
        EtagMismatchError: it changed since the caller read it.
    """
    _require_deleted(tenant)
    require_etag(etag, tenant.etag)
    if tenant.erase_time is not None:
        return tenant
    bare = replace(tenant, name="", features={}, settings={}, erase_time=now)
    return _stamped(tenant, replace(bare, purge_time=min(now, tenant.purge_time or now)), now)


def begin_due_erasure(tenant: Tenant, now: datetime) -> Tenant:
    """Return the tenant as `begin_erasure` does, if its time is over; it may have been brought back a moment ago.

    Raises:
        TenantNotDeletedError: it is being served, will be again, or can still be brought back.
    """
    if tenant.erase_time is None and (tenant.purge_time is None or tenant.purge_time > now):
        raise TenantNotDeletedError
    return begin_erasure(tenant, "", now)


def end_erasure(tenant: Tenant, now: datetime) -> Tenant:
    """Return the tenant of which nothing is left but its slug."""
    return _stamped(tenant, replace(tenant, purge_time=None), now)


def _effective_paths(wishes: Wishes, paths: Sequence[str]) -> Sequence[str]:
    """Return the paths that an update follows, each one valid; see `update` for the errors."""
    if not paths:
        effective = [part for part in ("name", "environment") if getattr(wishes, part)]
        effective += [f"features.{name}" for name in wishes.features]
        effective += [f"settings.{name}" for name in wishes.settings]
    elif "*" in paths:
        effective = list(_CHANGEABLE)
    else:
        effective = [path for path in paths if path not in _OUTPUT_ONLY]
    for path in effective:
        part, dot, _ = path.partition(".")
        if part not in _CHANGEABLE or (dot and part in {"name", "environment"}):
            raise UpdateMaskInvalidError(path)
    if not effective:
        raise NothingToChangeError
    return effective


def _require_deleted(tenant: Tenant) -> None:
    if tenant.state is not State.DELETED:
        raise TenantNotDeletedError


def _require_changeable(tenant: Tenant, etag: str) -> None:
    if tenant.state is State.DELETED:
        raise TenantDeletedError
    require_etag(etag, tenant.etag)


def _merged(held: Mapping[str, Value], chosen: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return what is held with what is chosen put over it; None takes an entry away."""
    both: dict[str, Value | None] = {**held, **chosen}
    return {name: value for name, value in both.items() if value is not None}


def _stamped(before: Tenant, after: Tenant, now: datetime) -> Tenant:
    """Return `after` as a new version, or `before` when nothing differs."""
    return before if after == before else replace(after, update_time=now, version=before.version + 1)
