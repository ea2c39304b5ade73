"""The refusals of this service. Each reason stands in `protos/rapport/tenant/v1/error_reason.proto`.

CREDENTIAL_INVALID, ETAG_MISMATCH and PAGE_TOKEN_INVALID are raised with the classes of servicekit.
"""

from servicekit.errors import (
    AlreadyExistsError,
    FieldViolation,
    InvalidArgumentError,
    NotFoundError,
    PreconditionError,
    QuotaError,
)

_VERIFICATION_SECONDS = 5.0


class TenantNotFoundError(NotFoundError):
    """There is no tenant of this slug or id."""

    def __init__(self) -> None:
        super().__init__("There is no such tenant.")


class TenantAlreadyExistsError(AlreadyExistsError):
    """The slug is taken."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"The slug {slug} is taken.", metadata={"slug": slug})


class TenantDeletedError(PreconditionError):
    """The tenant is deleted and can only be looked at."""

    def __init__(self) -> None:
        super().__init__("The tenant is deleted.")


class TenantSuspendedError(PreconditionError):
    """The tenant is suspended, and no token is made for it."""

    def __init__(self) -> None:
        super().__init__("The tenant is suspended.")


class TenantNotDeletedError(PreconditionError):
    """The tenant is not deleted."""

    def __init__(self) -> None:
        super().__init__("The tenant is not deleted.")


class TenantErasedError(PreconditionError):
    """The erasure of the tenant has begun."""

    def __init__(self) -> None:
        super().__init__("The tenant is being erased or is gone; nothing brings it back.")


class ErasureNotFoundError(NotFoundError):
    """The tenant was not erased."""

    def __init__(self) -> None:
        super().__init__("The tenant was not erased.")


class SlugInvalidError(InvalidArgumentError):
    """The slug has another form than a slug may have."""

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The slug cannot be used: {description}.", violations=[FieldViolation("tenant.slug", description)]
        )


class NameMissingError(InvalidArgumentError):
    """The tenant would lose its name."""

    def __init__(self) -> None:
        super().__init__("A tenant has a name.", violations=[FieldViolation("tenant.name", "must not be empty")])


class FeatureUnknownError(InvalidArgumentError):
    """The feature is not declared."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no feature {name}.",
            metadata={"feature": name},
            violations=[FieldViolation(f"tenant.features.{name}", "is not declared")],
        )


class SettingUnknownError(InvalidArgumentError):
    """The setting is not declared."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no setting {name}.",
            metadata={"setting": name},
            violations=[FieldViolation(f"tenant.settings.{name}", "is not declared")],
        )


class SettingInvalidError(InvalidArgumentError):
    """The value is not one that the setting may have."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(
            f"The setting {name} is {expected}.",
            metadata={"setting": name, "expected": expected},
            violations=[FieldViolation(f"tenant.settings.{name}", f"must be {expected}")],
        )


class NothingToChangeError(InvalidArgumentError):
    """The update names nothing that could change."""

    def __init__(self) -> None:
        super().__init__(
            "The update holds no value to set; check the spelling of its fields.",
            violations=[FieldViolation("tenant", "holds no value to set")],
        )


class UpdateMaskInvalidError(InvalidArgumentError):
    """The mask names a field that does not exist or never changes."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"The update mask cannot hold {path}.",
            metadata={"path": path},
            violations=[FieldViolation("update_mask", f"{path} does not exist or never changes")],
        )


class RequestIdReusedError(InvalidArgumentError):
    """The request id belongs to another request."""

    def __init__(self) -> None:
        super().__init__(
            "The request id came before with other content.",
            violations=[FieldViolation("request_id", "came before with other content")],
        )


class ApiKeyNotFoundError(NotFoundError):
    """There is no key of this id in the caller's tenant."""

    def __init__(self) -> None:
        super().__init__("There is no such API key.")


class ScopeNotGrantableError(InvalidArgumentError):
    """The scope is not a shop's, or the caller does not hold it."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"The scope {scope} cannot be given to a key: it is not a shop's or you do not hold it.",
            metadata={"scope": scope},
            violations=[FieldViolation("api_key.scopes", f"{scope} cannot be given")],
        )


class ExpireTimePastError(InvalidArgumentError):
    """The key would have ended already."""

    def __init__(self) -> None:
        super().__init__(
            "The key would have ended already.",
            violations=[FieldViolation("api_key.expire_time", "must be in the future")],
        )


class ApiKeyLimitReachedError(PreconditionError):
    """The tenant has as many live keys as it can have."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The tenant has {limit} keys that are neither revoked nor expired, which is as many as it can have: "
            "revoke one, or rotate without overlap.",
            metadata={"limit": str(limit)},
        )


class ApiKeyNotLiveError(PreconditionError):
    """The key is revoked or has expired."""

    def __init__(self) -> None:
        super().__init__("The key is revoked or has expired; make a new one instead.")


class ApiKeyAlreadyRotatedError(PreconditionError):
    """Another key has taken the key's place already."""

    def __init__(self) -> None:
        super().__init__("Another key has taken this one's place already; rotate that one, or make a new key.")


class ScopeNotForBrowsersError(InvalidArgumentError):
    """A browser key cannot hold the scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"A browser key cannot hold the scope {scope}: it stands in a public page.",
            metadata={"scope": scope},
            violations=[FieldViolation("api_key.scopes", f"{scope} cannot be given to a browser key")],
        )


class OriginsMissingError(InvalidArgumentError):
    """A browser key says from which origins it may be used."""

    def __init__(self) -> None:
        super().__init__(
            "A browser key needs the origins of the pages that may use it.",
            violations=[FieldViolation("api_key.allowed_origins", "must not be empty for a browser key")],
        )


class OriginInvalidError(InvalidArgumentError):
    """The origin is not one that a key can be bound to."""

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The allowed origins cannot be used: {description}.",
            violations=[FieldViolation("api_key.allowed_origins", description)],
        )


class NextSigningKeyTooNewError(PreconditionError):
    """The next signing key is not known to everybody yet."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            "The next signing key was published a moment ago and must be known to everybody before it signs; "
            f"try again in {seconds:.0f} seconds.",
            retry_after=seconds,
        )


class DomainInvalidError(InvalidArgumentError):
    """The name is no domain that can be a tenant's own; `description` completes "the name …"."""

    def __init__(self, description: str) -> None:
        super().__init__(
            f"The domain cannot be used: its name {description}.",
            violations=[FieldViolation("domain.name", description)],
        )


class DomainNotFoundError(NotFoundError):
    """The caller's tenant has no such domain, or awaits its proof no longer."""

    def __init__(self) -> None:
        super().__init__("There is no such domain; add it first.")


class DomainLimitReachedError(PreconditionError):
    """The tenant has as many domains as it can have."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The tenant has {limit} domains, which is as many as it can have: remove one.",
            metadata={"limit": str(limit)},
        )


class DomainNotProvenError(PreconditionError):
    """The domain does not serve its proof; `found` says in fixed words what there is instead."""

    def __init__(self, name: str, path: str, found: str) -> None:
        where = f"http://{name}{path} (or https)" if path else name
        super().__init__(f"The proof was not found at {where}: {found}.", metadata={"domain": name, "found": found})


class DomainTakenError(AlreadyExistsError):
    """The domain is proven, and it is another tenant's own already."""

    def __init__(self) -> None:
        super().__init__("The domain is another tenant's own; it must be removed there first.")


class DomainVerificationRunningError(QuotaError):
    """The proof of another of the tenant's domains, or of this one, is looked for at this moment."""

    def __init__(self) -> None:
        super().__init__(
            "A proof of this tenant is looked for at this moment: one at a time; try again in some seconds.",
            retry_after=_VERIFICATION_SECONDS,
        )
