"""The life of a tenant: slugs, changes, states."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from buf.validate import validate_pb2
from hypothesis import given
from hypothesis import strategies as st
from rapport.tenant.v1 import tenant_pb2

from servicekit.etag import EtagMismatchError
from services.tenant import registry
from services.tenant.errors import (
    FeatureUnknownError,
    NameMissingError,
    NothingToChangeError,
    SettingInvalidError,
    SettingUnknownError,
    SlugInvalidError,
    TenantDeletedError,
    TenantErasedError,
    TenantNotDeletedError,
    UpdateMaskInvalidError,
)
from services.tenant.registry import Environment, State, Tenant, Wishes

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def make(slug: str = "acme", **said: object) -> Tenant:
    """A new tenant; `said` are its wishes."""
    return registry.new_tenant(uuid4(), slug, Wishes(**{"name": "Acme", **said}), NOW)  # type: ignore[arg-type]


def change(tenant: Tenant, *paths: str, etag: str = "", **said: object) -> Tenant:
    """The tenant after an update an hour later."""
    return registry.update(tenant, Wishes(**said), paths, etag, LATER)  # type: ignore[arg-type]


@pytest.mark.parametrize("slug", ["a", "7", "acme", "a-b", "a--b", "0" * 50, "x" * 49 + "9"])
def test_a_slug_is_lower_case_with_inner_hyphens(slug: str) -> None:
    """These can be slugs."""
    assert registry.require_slug(slug) == slug


@pytest.mark.parametrize(
    "slug",
    ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "a\n", "x" * 51, "0190163d-8694-739b-aea5-966c26f8ad90", "0" * 32],
)
def test_other_texts_are_no_slugs(slug: str) -> None:
    """These cannot: wrong characters, wrong length, or the form of an id."""
    with pytest.raises(SlugInvalidError):
        registry.require_slug(slug)


@given(text=st.text("abz09-A_.", max_size=52))
def test_the_contract_and_the_registry_agree_on_slugs(text: str) -> None:
    """The pattern in the proto accepts what the registry accepts, ids apart."""
    field = tenant_pb2.Tenant.DESCRIPTOR.fields_by_name["slug"]
    pattern = field.GetOptions().Extensions[validate_pb2.field].string.pattern
    in_contract = re.search(pattern.replace("$", r"\Z"), text) is not None
    assert in_contract == (registry._SLUG.fullmatch(text) is not None)


def test_a_new_tenant_is_active_and_in_production_unless_it_says_otherwise() -> None:
    """The defaults of a new tenant."""
    tenant = make()
    assert (tenant.state, tenant.environment, tenant.version) == (State.ACTIVE, Environment.PRODUCTION, 1)
    assert make(environment=Environment.DEMO).environment is Environment.DEMO


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param({"name": ""}, NameMissingError, id="no name"),
        pytest.param({"features": {"teleport": True}}, FeatureUnknownError, id="unknown feature"),
        pytest.param({"settings": {"origins": []}}, SettingUnknownError, id="unknown setting"),
        pytest.param({"settings": {"cors_origins": ["https://a.example/path"]}}, SettingInvalidError, id="a path"),
        pytest.param({"settings": {"cors_origins": ["https://*"]}}, SettingInvalidError, id="any origin"),
        pytest.param({"settings": {"cors_origins": "https://a.example"}}, SettingInvalidError, id="wrong type"),
        pytest.param({"settings": {"cors_origins": [1]}}, SettingInvalidError, id="wrong type inside"),
        pytest.param({"settings": {"requests_per_minute": 3}}, SettingInvalidError, id="too few"),
        pytest.param({"settings": {"requests_per_minute": 60.5}}, SettingInvalidError, id="not whole"),
    ],
)
def test_wishes_that_cannot_be_had_are_refused(said: dict[str, object], error: type[Exception]) -> None:
    """A new tenant and an update refuse the same wishes."""
    with pytest.raises(error):
        registry.new_tenant(uuid4(), "acme", Wishes(**{"name": "Acme", **said}), NOW)  # type: ignore[arg-type]
    with pytest.raises(error):
        registry.update(make(), Wishes(**said), tuple(said), "", LATER)  # type: ignore[arg-type]


def test_an_update_without_mask_sets_what_is_said_and_keeps_the_rest() -> None:
    """Unsaid values stay, also other entries of the same map."""
    before = make(features={"demo": True}, settings={"requests_per_minute": 60})
    after = change(before, settings={"cors_origins": ["https://a.example"]})
    assert after.features == {"demo": True}
    assert after.settings == {"requests_per_minute": 60, "cors_origins": ["https://a.example"]}
    assert after.name == "Acme"
    assert (after.version, after.update_time, after.create_time) == (2, LATER, NOW)
    assert after.etag != before.etag


def test_a_mask_takes_only_what_it_names() -> None:
    """Values that are said and not named stay as they were."""
    after = change(make(), "name", name="Acme & Sons", environment=Environment.STAGING)
    assert (after.name, after.environment) == ("Acme & Sons", Environment.PRODUCTION)


def test_a_named_map_is_replaced_and_a_named_entry_is_set() -> None:
    """`settings` forgets what the request leaves out; `settings.cors_origins` touches that one."""
    origins: dict[str, object] = {"cors_origins": ["https://a.example"]}
    before = make(features={"demo": True}, settings={"requests_per_minute": 60, **origins})
    assert change(before, "settings", settings=origins).settings == origins
    assert change(before, "settings.requests_per_minute").settings == origins
    assert change(before, "features.demo").features == {}
    assert change(before, "features.demo", features={"demo": False}).features == {"demo": False}


def test_a_null_takes_a_setting_back_to_its_default() -> None:
    """A null, with or without mask, forgets the choice."""
    before = make(settings={"requests_per_minute": 60})
    assert change(before, settings={"requests_per_minute": None}).settings == {}
    assert change(before, "settings.requests_per_minute").settings == {}


def test_a_star_replaces_everything_that_can_change() -> None:
    """What a full replacement leaves out goes back to its default."""
    before = make(features={"demo": True}, environment=Environment.DEMO)
    after = change(before, "*", name="New")
    assert (after.name, after.environment, after.features) == ("New", Environment.PRODUCTION, {})


@pytest.mark.parametrize("paths", [(), ("state", "etag", "create_time")], ids=["nothing said", "output-only paths"])
def test_an_update_that_names_nothing_is_refused(paths: tuple[str, ...]) -> None:
    """A misspelt JSON field vanishes on its way, so an empty update is a mistake."""
    with pytest.raises(NothingToChangeError):
        change(make(), *paths)


@pytest.mark.parametrize("path", ["slug", "colour", "name.first", "environment.x"])
def test_a_mask_with_an_impossible_path_is_refused(path: str) -> None:
    """Paths that do not exist or never change are refused by name."""
    with pytest.raises(UpdateMaskInvalidError) as refusal:
        change(make(), "name", path, name="New")
    assert refusal.value.metadata == {"path": path}


def test_an_update_to_the_same_values_makes_no_new_version() -> None:
    """Repeating an update changes nothing, not even its time."""
    before = make(settings={"requests_per_minute": 60})
    assert change(before, name="Acme", settings={"requests_per_minute": 60}) is before


def test_an_etag_of_an_older_version_is_refused_and_the_present_one_accepted() -> None:
    """Whoever read an older version cannot overwrite the newer one."""
    first = make()
    second = change(first, name="Second", etag=first.etag)
    with pytest.raises(EtagMismatchError):
        change(second, name="Third", etag=first.etag)
    with pytest.raises(EtagMismatchError):
        registry.suspend(second, first.etag, LATER)


def test_a_tenant_can_be_suspended_and_resumed_any_number_of_times() -> None:
    """Each is repeatable and counts a version only when something changes."""
    suspended = registry.suspend(make(), "", LATER)
    assert (suspended.state, suspended.version) == (State.SUSPENDED, 2)
    assert registry.suspend(suspended, "", LATER) is suspended
    resumed = registry.resume(suspended, "", LATER)
    assert (resumed.state, resumed.version) == (State.ACTIVE, 3)
    assert registry.resume(resumed, "", LATER) is resumed


GRACE = timedelta(days=30)


def test_a_deleted_tenant_stays_deleted() -> None:
    """Deleting twice is one deletion, and nothing but undoing it is possible any more."""
    deleted = registry.delete(make(), "", LATER, GRACE)
    assert (deleted.state, deleted.delete_time, deleted.purge_time) == (State.DELETED, LATER, LATER + GRACE)
    assert registry.delete(deleted, "", LATER + timedelta(days=1), GRACE) is deleted
    with pytest.raises(TenantDeletedError):
        registry.resume(deleted, "", LATER)
    with pytest.raises(TenantDeletedError):
        registry.suspend(deleted, "", LATER)
    with pytest.raises(TenantDeletedError):
        change(deleted, name="New")


@pytest.mark.parametrize("suspended", [False, True])
def test_a_deletion_can_be_undone_until_its_time_is_over(suspended: bool) -> None:
    """The tenant comes back as it was, suspended too; at its purge time there is no way back."""
    before = make(features={"demo": True})
    if suspended:
        before = registry.suspend(before, "", NOW)
    deleted = registry.delete(before, "", NOW, GRACE)
    back = registry.undelete(deleted, deleted.etag, NOW + GRACE - timedelta(seconds=1))
    assert (back.state, back.name, back.features) == (before.state, before.name, before.features)
    assert (back.delete_time, back.purge_time, back.state_before) == (None, None, None)
    with pytest.raises(TenantErasedError):
        registry.undelete(deleted, "", NOW + GRACE)


def test_an_erasure_takes_the_content_and_the_way_back() -> None:
    """From its begin on only the slug is left, asking again changes nothing, and the end says that all is gone."""
    deleted = registry.delete(make(features={"demo": True}, settings={"requests_per_minute": 60}), "", NOW, GRACE)
    erased = registry.begin_erasure(deleted, deleted.etag, LATER)
    assert (erased.slug, erased.name, erased.features, erased.settings) == ("acme", "", {}, {})
    assert (erased.state, erased.erase_time, erased.purge_time) == (State.DELETED, LATER, LATER)
    assert registry.begin_erasure(erased, "", LATER + GRACE) is erased
    with pytest.raises(TenantErasedError):
        registry.undelete(erased, "", NOW)
    gone = registry.end_erasure(erased, LATER + GRACE)
    assert (gone.purge_time, gone.erase_time) == (None, LATER)
    assert registry.delete(gone, "", LATER + GRACE, GRACE) is gone
    with pytest.raises(TenantErasedError):
        registry.undelete(gone, "", LATER + GRACE)


def test_a_tenant_that_was_brought_back_meanwhile_is_not_erased_by_itself() -> None:
    """Between being found due and being erased it may have been undeleted, and deleted anew with a new time."""
    anew = registry.delete(make(), "", NOW, GRACE)
    for tenant in (make(), anew):
        with pytest.raises(TenantNotDeletedError):
            registry.begin_due_erasure(tenant, LATER)
    assert registry.begin_due_erasure(anew, NOW + GRACE).erase_time == NOW + GRACE
    begun = registry.begin_erasure(anew, "", LATER)
    assert registry.begin_due_erasure(begun, LATER) is begun


@pytest.mark.parametrize("served", [make(), registry.suspend(make(), "", NOW)], ids=["active", "suspended"])
def test_only_a_deleted_tenant_is_brought_back_or_erased(served: Tenant) -> None:
    """A slip of the tongue must not cost a shop its data."""
    with pytest.raises(TenantNotDeletedError):
        registry.undelete(served, "", LATER)
    with pytest.raises(TenantNotDeletedError):
        registry.begin_erasure(served, "", LATER)


def test_whoever_saw_another_version_undoes_and_erases_nothing() -> None:
    """The etag counts here as well."""
    deleted = registry.delete(make(), "", NOW, GRACE)
    with pytest.raises(EtagMismatchError):
        registry.undelete(deleted, "yesterday", LATER)
    with pytest.raises(EtagMismatchError):
        registry.begin_erasure(deleted, "yesterday", LATER)
